//! The walk of a request: `accept → head → authenticate → limit → route → admit → pick → attempt → relay → finish`.

use super::answer::{Answer, Content};
use super::limit::HeldBytes;
use super::routes::Kind;
use super::trace::Traces;
use super::{accept, authenticate, body, finish, limit, local, path, route, routes};
use crate::attempt::{self, Budget, Outbound};
use crate::ending::Ending;
use crate::error::ProxyError;
use crate::metrics::Metrics;
use crate::record::{Outcome, RequestRecord};
use crate::settings::Limits;
use crate::table::Current;
use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What requests share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) limits: Limits,
    pub(crate) current: Arc<Current>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ending: Ending,
    pub(crate) budget: Budget,
    pub(crate) traces: Traces,
    pub(crate) held: HeldBytes,
    pub(crate) began: Instant,
}

impl Gateway {
    /// A gateway that takes its table from `current`.
    pub(crate) fn new(limits: Limits, current: Arc<Current>, metrics: Arc<Metrics>, ending: Ending) -> Self {
        let began = Instant::now();
        Self {
            held: HeldBytes::new(limits.max_held_bytes),
            limits,
            current,
            metrics,
            ending,
            budget: Budget::new(began),
            traces: Traces::detect(),
            began,
        }
    }

    /// Answers a request, whatever it is. A panic in it ends it alone.
    pub(crate) async fn serve<B>(&self, request: Request<B>) -> Response<Answer>
    where
        B: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let mut record = RequestRecord::begin(
            self.metrics.clone(),
            self.traces.span(&head),
            accept::request_id(&head.headers),
            head.method.clone(),
        );
        let walked = AssertUnwindSafe(self.walk(head, body, &mut record)).catch_unwind().await;
        let response = match walked {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => finish::error(&error, &mut record),
            Err(_) => {
                tracing::error!(request_id = ?record.request_id, "a request panicked");
                finish::error(&ProxyError::Panicked, &mut record)
            }
        };
        finish::respond(response, record, &self.current)
    }

    /// One line for each phase. Credentials are taken off and limits are held against the head before a byte of the body
    /// is read.
    async fn walk<B>(
        &self,
        mut head: Parts,
        body: B,
        record: &mut RequestRecord,
    ) -> Result<Response<Content>, ProxyError>
    where
        B: Body<Data = Bytes>,
    {
        accept::check_head(&head)?;
        let path = path::canonical(head.uri.path()).map_err(|_| ProxyError::UnknownPath)?;
        let target = routes::find(&head.method, &path)?;
        record.routed(&target);
        authenticate::keep_credentials(&mut head.headers);
        let (inference, family) = match target.route.kind {
            Kind::Inference(inference) => (inference, target.route.family),
            Kind::Management(what) | Kind::Identity(what) => return Err(ProxyError::Disabled { what }),
            Kind::Local(local) => {
                let response = local::answer(local, target.rest, self.current.load().as_deref())?;
                record.end(Outcome::Completed, None);
                return Ok(response);
            }
        };
        let place = target.place;
        let mut allowance = limit::body(&head.headers, self.limits.max_body_bytes, &self.held)?;
        let body = body::read(body, &mut allowance, self.limits.body_timeout).await?;
        let wanted = route::wanted(inference, &body)?;
        record.received(body.len(), wanted.stream);
        let index = self.current.load_full().ok_or(ProxyError::NoTable)?;
        let model = index.model(&wanted.name.key());
        record.asked_for(model.map(|model| &model.series));
        let model = model.ok_or_else(|| match index.any_takes_requests() {
            true => wanted.unknown(inference.unknown),
            false => ProxyError::NoHealthyNode,
        })?;
        let outbound = self.outbound(head, place, body.clone(), record);
        let reply = self.exchange(model, index.strategy(), &outbound, record).await?;
        Ok(self.relay(reply, family, record))
    }

    fn outbound(&self, head: Parts, place: usize, body: Bytes, record: &RequestRecord) -> Outbound {
        let Parts { method, uri, mut headers, .. } = head;
        attempt::headers::strip_request(&mut headers);
        headers.insert(accept::REQUEST_ID, record.request_id.clone());
        self.traces.inject(record.span(), &mut headers);
        Outbound { method, place, query: uri.query().map(Box::from), headers, body }
    }

    /// The time since the gateway began.
    pub(crate) fn uptime(&self) -> Duration {
        Instant::now().saturating_duration_since(self.began)
    }
}

#[cfg(test)]
mod tests;
