//! The metrics of the data plane. Families are registered once; what a request touches are handles that were looked up
//! when the routing table was prepared.

use crate::record::Outcome;
use crate::request::routes::ROUTES;
use aivonx_state::table::NodeId;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The label of a model that is not in the table.
const OTHER: &str = "other";
/// The label of a request that names no model.
const NONE: &str = "none";
/// The label of a path that is not in the table of routes.
pub(crate) const UNKNOWN_ROUTE: &str = "unknown";
/// From a cached answer to a long generation, in seconds.
const SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// All families.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    in_flight: IntGaugeVec,
    upstream_errors: IntCounterVec,
    retries: IntCounterVec,
    disconnects: IntCounterVec,
    /// By place in [`ROUTES`]; the last one is for paths that are no route.
    durations: Vec<RouteDurations>,
    /// The revision of the table in use.
    pub table_revision: IntGauge,
    /// Seconds since a store last confirmed the table in use.
    pub table_age: Gauge,
    other: Arc<ModelSeries>,
    none: Arc<ModelSeries>,
}

/// The histograms of one route.
#[derive(Debug)]
pub(crate) struct RouteDurations {
    /// From the request's head to the end of the response.
    pub whole: Histogram,
    /// From the request's head to the head of the response.
    pub first_byte: Histogram,
}

impl Metrics {
    /// Registers the families.
    pub(crate) fn new(registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("aivonx_requests_total", "Requests that ended."),
            &["route", "model", "code", "outcome"],
        )?;
        let whole = HistogramVec::new(
            HistogramOpts::new(
                "aivonx_request_duration_seconds",
                "Time from a request's head to the end of its response.",
            )
            .buckets(SECONDS.to_vec()),
            &["route"],
        )?;
        let first_byte = HistogramVec::new(
            HistogramOpts::new(
                "aivonx_time_to_first_byte_seconds",
                "Time from a request's head to the head of a node's answer.",
            )
            .buckets(SECONDS.to_vec()),
            &["route"],
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new("aivonx_inflight_requests", "Requests that hold a slot of a node."),
            &["node"],
        )?;
        let upstream_errors = IntCounterVec::new(
            Opts::new("aivonx_upstream_errors_total", "Failures of nodes, as requests met them."),
            &["node", "kind"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new("aivonx_retries_total", "Requests that were sent to another node, and why."),
            &["reason"],
        )?;
        let disconnects = IntCounterVec::new(
            Opts::new("aivonx_client_disconnects_total", "Clients that left before the end, and when."),
            &["phase"],
        )?;
        let table_revision = IntGauge::new("aivonx_table_revision", "Revision of the routing table in use.")?;
        let table_age = Gauge::new(
            "aivonx_table_age_seconds",
            "Time since a store last confirmed the routing table in use.",
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(whole.clone()))?;
        registry.register(Box::new(first_byte.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(upstream_errors.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(disconnects.clone()))?;
        registry.register(Box::new(table_revision.clone()))?;
        registry.register(Box::new(table_age.clone()))?;
        let labels = ROUTES.iter().map(|route| route.label).chain([UNKNOWN_ROUTE]);
        let durations = labels
            .map(|route| RouteDurations {
                whole: whole.with_label_values(&[route]),
                first_byte: first_byte.with_label_values(&[route]),
            })
            .collect();
        Ok(Arc::new(Self {
            other: Arc::new(ModelSeries::new(OTHER, requests.clone())),
            none: Arc::new(ModelSeries::new(NONE, requests.clone())),
            requests,
            in_flight,
            upstream_errors,
            retries,
            disconnects,
            durations,
            table_revision,
            table_age,
        }))
    }

    /// The histograms of the route at `place` in [`ROUTES`], or of paths that are no route.
    pub(crate) fn durations(&self, place: Option<usize>) -> &RouteDurations {
        &self.durations[place.unwrap_or(ROUTES.len())]
    }

    /// The series of a model in the table.
    pub(crate) fn model(&self, name: &str) -> Arc<ModelSeries> {
        Arc::new(ModelSeries::new(name, self.requests.clone()))
    }

    /// The series of requests whose model is not in the table.
    pub(crate) fn other_model(&self) -> Arc<ModelSeries> {
        self.other.clone()
    }

    /// Counts a request that ended.
    pub(crate) fn count_request(
        &self,
        model: Option<&ModelSeries>,
        place: Option<usize>,
        status: StatusCode,
        outcome: Outcome,
    ) {
        let series = match model {
            None => &self.none,
            Some(gone) if gone.gone.load(Ordering::Relaxed) => &self.other,
            Some(model) => model,
        };
        series.count(place, status, outcome);
    }

    /// The gauge of a node.
    pub(crate) fn in_flight(&self, node: &NodeId) -> IntGauge {
        self.in_flight.with_label_values(&[node.as_str()])
    }

    /// Counts a failure of a node.
    pub(crate) fn count_upstream_error(&self, node: &NodeId, kind: &'static str) {
        self.upstream_errors.with_label_values(&[node.as_str(), kind]).inc();
    }

    /// Counts a request that goes to another node.
    pub(crate) fn count_retry(&self, reason: &'static str) {
        self.retries.with_label_values(&[reason]).inc();
    }

    /// Counts a client that left.
    pub(crate) fn count_disconnect(&self, phase: &'static str) {
        self.disconnects.with_label_values(&[phase]).inc();
    }

    /// Removes the series of a node that left the table.
    pub(crate) fn forget_node(&self, node: &NodeId) {
        drop(self.in_flight.remove_label_values(&[node.as_str()]));
        for kind in crate::attempt::FailureKind::LABELS {
            drop(self.upstream_errors.remove_label_values(&[node.as_str(), kind]));
        }
    }
}

/// The counters of one model. The usual ending is a handle; the others are looked up when they happen.
#[derive(Debug)]
pub(crate) struct ModelSeries {
    /// The model as nodes spell it, or a stand-in.
    pub label: Arc<str>,
    requests: IntCounterVec,
    completed: [OnceLock<IntCounter>; ROUTES.len()],
    unusual: Mutex<HashSet<(&'static str, StatusCode, Outcome)>>,
    gone: AtomicBool,
}

impl ModelSeries {
    fn new(label: &str, requests: IntCounterVec) -> Self {
        Self {
            label: label.into(),
            requests,
            completed: [const { OnceLock::new() }; ROUTES.len()],
            unusual: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    fn count(&self, place: Option<usize>, status: StatusCode, outcome: Outcome) {
        let route = place.map_or(UNKNOWN_ROUTE, |place| ROUTES[place].label);
        let counter =
            || self.requests.with_label_values(&[route, &self.label, status.as_str(), outcome.as_str()]);
        match place {
            Some(place) if status == StatusCode::OK && outcome == Outcome::Completed => {
                self.completed[place].get_or_init(counter).inc();
            }
            _ => {
                self.unusual.lock().insert((route, status, outcome));
                counter().inc();
            }
        }
    }

    /// Whether these counters belong to one model.
    pub(crate) fn is_own(&self) -> bool {
        !matches!(&*self.label, OTHER | NONE)
    }

    /// Removes the series: the model left the table.
    pub(crate) fn forget(&self) {
        self.gone.store(true, Ordering::Relaxed);
        let usual = ROUTES.iter().map(|route| (route.label, StatusCode::OK, Outcome::Completed));
        for (route, status, outcome) in self.unusual.lock().drain().chain(usual) {
            let labels = [route, &self.label, status.as_str(), outcome.as_str()];
            drop(self.requests.remove_label_values(&labels));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Encoder as _, TextEncoder};

    fn text(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_model_that_left_leaves_no_series_and_counts_as_other() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let model = metrics.model("llama3.2:latest");
        metrics.count_request(Some(&model), Some(0), StatusCode::OK, Outcome::Completed);
        metrics.count_request(Some(&model), Some(1), StatusCode::BAD_GATEWAY, Outcome::UpstreamError);
        assert_eq!(text(&registry).matches("model=\"llama3.2:latest\"").count(), 2);
        model.forget();
        assert!(!text(&registry).contains("llama3.2"));
        metrics.count_request(Some(&model), Some(0), StatusCode::OK, Outcome::Completed);
        assert!(!text(&registry).contains("llama3.2"));
        assert!(text(&registry).contains("model=\"other\""));
    }

    #[test]
    fn a_node_that_left_leaves_no_series() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let node = NodeId::new("ai", "gpu-1");
        metrics.in_flight(&node).inc();
        for kind in crate::attempt::FailureKind::LABELS {
            metrics.count_upstream_error(&node, kind);
        }
        assert!(text(&registry).contains("ai/gpu-1"));
        metrics.forget_node(&node);
        assert!(!text(&registry).contains("ai/gpu-1"));
    }
}
