//! What is known of one request, from its head to the end of its response. It moves into the response body and is
//! written exactly once, when that is dropped: as an access log line and as metrics.

use crate::metrics::{Metrics, ModelSeries, UNKNOWN_ROUTE};
use crate::request::routes::{Route, Target};
use crate::table::Endpoint;
use aivonx_process::telemetry::PROXY_TARGET;
use http::{HeaderValue, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The response went out to its end.
    Completed,
    /// The node failed, before its answer or in the middle of it.
    UpstreamError,
    /// The node's answer ended without the sign that it is whole.
    UpstreamTruncated,
    /// The client left.
    ClientGone,
    /// A time limit was reached.
    TimedOut,
    /// The gateway did not take the request on.
    Rejected,
}

impl Outcome {
    /// The label in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::ClientGone => "client_gone",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
        }
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    metrics: Arc<Metrics>,
    span: tracing::Span,
    started: Instant,
    /// The id that the client sent, or one made here.
    pub request_id: HeaderValue,
    method: Method,
    route: Option<(&'static Route, usize)>,
    model: Option<Arc<ModelSeries>>,
    node: Option<Arc<Endpoint>>,
    status: Option<StatusCode>,
    outcome: Option<Outcome>,
    reason: Option<&'static str>,
    attempts: u32,
    first_byte: Option<Duration>,
    bytes_in: u64,
    bytes_out: u64,
    stream: bool,
}

impl RequestRecord {
    /// A request whose head has just been read.
    pub(crate) fn begin(
        metrics: Arc<Metrics>,
        span: tracing::Span,
        request_id: HeaderValue,
        method: Method,
    ) -> Self {
        Self {
            metrics,
            span,
            started: Instant::now(),
            request_id,
            method,
            route: None,
            model: None,
            node: None,
            status: None,
            outcome: None,
            reason: None,
            attempts: 0,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            stream: false,
        }
    }

    /// The path leads to a route.
    pub(crate) fn routed(&mut self, target: &Target<'_>) {
        self.route = Some((target.route, target.place));
    }

    /// The body is here.
    pub(crate) fn received(&mut self, bytes: usize, stream: bool) {
        self.bytes_in = bytes as u64;
        self.stream = stream;
    }

    /// The model is known to the table, or not.
    pub(crate) fn asked_for(&mut self, model: Option<&Arc<ModelSeries>>) {
        self.model = Some(model.cloned().unwrap_or_else(|| self.metrics.other_model()));
    }

    /// The request goes to a node.
    pub(crate) fn attempt(&mut self, node: &Arc<Endpoint>) {
        self.attempts += 1;
        self.node = Some(node.clone());
    }

    /// A node began to answer. Gives the time since the request's head.
    pub(crate) fn first_byte(&mut self) {
        let since = self.elapsed();
        self.first_byte = Some(since);
        self.metrics.durations(self.route.map(|(_, place)| place)).first_byte.observe(since.as_secs_f64());
    }

    /// The status that goes to the client.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Bytes of the body went to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// The request ends in this way, for this reason. The first ending that is told stays.
    pub(crate) fn end(&mut self, outcome: Outcome, reason: Option<&'static str>) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            self.reason = reason;
        }
    }

    /// How the request ended, once that was told.
    #[cfg(test)]
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The route, once the path was matched.
    pub(crate) fn route(&self) -> Option<&'static Route> {
        self.route.map(|(route, _)| route)
    }

    /// The node that was tried last.
    pub(crate) fn node(&self) -> Option<&Arc<Endpoint>> {
        self.node.as_ref()
    }

    /// How many nodes were tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The span of the request; disabled unless traces are on.
    pub(crate) fn span(&self) -> &tracing::Span {
        &self.span
    }

    fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }

    fn write(&self) {
        // A record that nobody told an ending was dropped with its connection.
        let outcome = self.outcome.unwrap_or(Outcome::ClientGone);
        if outcome == Outcome::ClientGone {
            self.metrics.count_disconnect(if self.status.is_some() { "response" } else { "before_response" });
        }
        let status = self.status.unwrap_or(CLIENT_CLOSED_REQUEST);
        let place = self.route.map(|(_, place)| place);
        let whole = self.elapsed();
        self.metrics.count_request(self.model.as_deref(), place, status, outcome);
        self.metrics.durations(place).whole.observe(whole.as_secs_f64());
        if !self.span.is_disabled() {
            self.span.record("http.response.status_code", status.as_u16());
            self.span.record("aivonx.outcome", outcome.as_str());
            self.span.record("aivonx.node", self.node.as_ref().map(|node| node.id.as_str()));
            self.span.record("aivonx.model", self.model.as_ref().map(|model| &*model.label));
            self.span.record("aivonx.attempts", self.attempts);
        }
        tracing::info!(
            target: PROXY_TARGET,
            request_id = self.request_id.to_str().unwrap_or_default(),
            method = self.method.as_str(),
            route = self.route.map_or(UNKNOWN_ROUTE, |(route, _)| route.label),
            model = self.model.as_ref().map(|model| &*model.label),
            node = self.node.as_ref().map(|node| node.id.as_str()),
            status = status.as_u16(),
            outcome = outcome.as_str(),
            reason = self.reason,
            attempts = self.attempts,
            ttfb_ms = self.first_byte.map(milliseconds),
            duration_ms = milliseconds(whole),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            stream = self.stream,
        );
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        self.write();
    }
}

/// Not sent to anybody: what the log says of a request whose client left before the head of a response.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1_000.0
}
