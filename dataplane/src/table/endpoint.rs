//! A node as requests see it: what the table says of it, and what requests have found out.

use crate::attempt::address::{AddressError, Origin};
use crate::attempt::{Connectors, FailureKind, NodeClient};
use crate::health::{Rechecks, Sign, Suspicion};
use crate::metrics::Metrics;
use crate::pick::Latency;
use crate::request::routes::{INFERENCE_ROUTES, ROUTES};
use aivonx_state::ModelKey;
use aivonx_state::table::{Health, NodeEntry, NodeId};
use arc_swap::{ArcSwap, Guard};
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use prometheus::IntGauge;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// What endpoints are made with.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Builds clients.
    pub connectors: Connectors,
    /// Asks suspects again.
    pub rechecks: Rechecks,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
}

/// What one table says of a node. Built with the index, never changed.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Which node.
    pub id: NodeId,
    /// The value of `x-aivonx-node`.
    pub header: HeaderValue,
    /// Where it is.
    pub origin: Origin,
    /// Higher ones are used first.
    pub priority: i32,
    /// Share of the load; 0 is a last resort.
    pub weight: u32,
    /// Requests at once; 0 means no limit.
    pub max_concurrent: u32,
    /// Requests at once for one model; 0 means no limit.
    pub max_concurrent_per_model: u32,
    /// From the end of the request to the head of the answer.
    pub first_byte_timeout: Option<Duration>,
    /// Between two frames of the answer.
    pub idle_timeout: Option<Duration>,
    /// For the whole exchange.
    pub total_timeout: Option<Duration>,
    /// What requests have found out.
    pub state: Arc<EndpointState>,
    uris: Vec<Uri>,
}

impl Endpoint {
    /// The endpoint of a table entry. `before` is the same node in the table before: what requests have found out stays.
    pub(crate) fn new(
        entry: &NodeEntry,
        before: Option<&Endpoint>,
        surroundings: &Surroundings,
    ) -> Result<Arc<Self>, AddressError> {
        let origin = Origin::parse(&entry.url)?;
        let state = match before {
            Some(before) if before.origin == origin && before.state.uid == entry.uid => before.state.clone(),
            _ => EndpointState::new(entry, surroundings),
        };
        state.configure(entry, &origin);
        let limit = |milliseconds: u64| (milliseconds > 0).then(|| Duration::from_millis(milliseconds));
        Ok(Arc::new(Self {
            header: HeaderValue::from_str(entry.id.as_str()).unwrap_or(HeaderValue::from_static("unnamed")),
            priority: entry.priority,
            weight: entry.weight,
            max_concurrent: entry.max_concurrent,
            max_concurrent_per_model: entry.max_concurrent_per_model,
            first_byte_timeout: limit(entry.timeouts.first_byte_ms),
            idle_timeout: limit(entry.timeouts.idle_ms),
            total_timeout: limit(entry.timeouts.total_ms),
            uris: ROUTES[..INFERENCE_ROUTES]
                .iter()
                .map(|route| origin.uri(PathAndQuery::from_static(route.exact_path())))
                .collect(),
            id: entry.id.clone(),
            origin,
            state,
        }))
    }

    /// The URI of the inference route at `place`.
    pub(crate) fn uri(&self, place: usize) -> &Uri {
        &self.uris[place]
    }

    /// The same, with a query.
    pub(crate) fn uri_with_query(&self, place: usize, query: &str) -> Uri {
        let path = format!("{}?{query}", self.uris[place].path());
        // The query comes from a URI, so it is one.
        path.try_into().map_or_else(|_| self.uris[place].clone(), |path| self.origin.uri(path))
    }
}

/// What requests have found out about a node. It outlives tables for as long as the node is the same one.
#[derive(Debug)]
pub(crate) struct EndpointState {
    /// Which node.
    pub id: NodeId,
    uid: String,
    /// Its connections.
    pub client: NodeClient,
    /// How soon it begins to answer.
    pub latency: Latency,
    /// Whether it fails requests.
    pub suspicion: Suspicion,
    /// Requests that hold a slot.
    pub in_flight: AtomicU32,
    /// Those of them for each model.
    in_flight_by_model: Mutex<HashMap<ModelKey, Arc<AtomicU32>>>,
    /// The metric of requests that hold a slot.
    pub in_flight_gauge: IntGauge,
    connect_timeout_ms: Arc<AtomicU64>,
    health_check: ArcSwap<HealthCheck>,
    /// Whether the last table called it healthy.
    listed_healthy: AtomicBool,
    recovered: Notify,
    retired: AtomicBool,
    rechecks: Rechecks,
    metrics: Arc<Metrics>,
}

/// How a node is asked whether it is well.
#[derive(Debug)]
pub(crate) struct HealthCheck {
    /// Where.
    pub uri: Uri,
    /// The value of `Host`.
    pub host: HeaderValue,
}

impl EndpointState {
    fn new(entry: &NodeEntry, surroundings: &Surroundings) -> Arc<Self> {
        let connect_timeout_ms = Arc::new(AtomicU64::new(0));
        let unset = HealthCheck { uri: Uri::default(), host: HeaderValue::from_static("") };
        Arc::new(Self {
            id: entry.id.clone(),
            uid: entry.uid.clone(),
            client: surroundings.connectors.client(connect_timeout_ms.clone()),
            latency: Latency::default(),
            suspicion: Suspicion::default(),
            in_flight: AtomicU32::new(0),
            in_flight_by_model: Mutex::default(),
            in_flight_gauge: surroundings.metrics.in_flight(&entry.id),
            connect_timeout_ms,
            health_check: ArcSwap::from_pointee(unset),
            listed_healthy: AtomicBool::new(entry.health == Health::Healthy),
            recovered: Notify::new(),
            retired: AtomicBool::new(false),
            rechecks: surroundings.rechecks.clone(),
            metrics: surroundings.metrics.clone(),
        })
    }

    fn configure(&self, entry: &NodeEntry, origin: &Origin) {
        self.connect_timeout_ms.store(entry.timeouts.connect_ms, Ordering::Relaxed);
        let path = PathAndQuery::try_from(entry.health_path.as_str())
            .unwrap_or_else(|_| PathAndQuery::from_static("/api/version"));
        let check = HealthCheck { uri: origin.uri(path), host: origin.host.clone() };
        self.health_check.store(Arc::new(check));
        let healthy = entry.health == Health::Healthy;
        let was_healthy = self.listed_healthy.swap(healthy, Ordering::Relaxed);
        if healthy && !was_healthy {
            self.recovered.notify_one();
        }
    }

    /// Waits until a table calls the node healthy that the table before did not.
    pub(crate) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// How to ask whether the node is well.
    pub(crate) fn health_check(&self) -> Guard<Arc<HealthCheck>> {
        self.health_check.load()
    }

    /// The counter of requests for one model.
    pub(crate) fn in_flight_for(&self, model: &ModelKey) -> Arc<AtomicU32> {
        self.in_flight_by_model.lock().entry(model.clone()).or_default().clone()
    }

    /// Drops the counters of models that the node does not have any more.
    pub(crate) fn forget_idle_models(&self, still_there: impl Fn(&ModelKey) -> bool) {
        self.in_flight_by_model
            .lock()
            .retain(|model, count| still_there(model) || count.load(Ordering::Relaxed) > 0);
    }

    /// A request failed here. Suspects the node if the failure says so.
    pub(crate) fn failed(self: &Arc<Self>, kind: FailureKind) {
        if self.is_retired() {
            return;
        }
        self.metrics.count_upstream_error(&self.id, kind.as_str());
        if Sign::of(kind).is_some_and(|sign| self.suspicion.failed(sign)) {
            self.rechecks.begin(self.clone());
        }
    }

    /// Whether the node has left the table.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The node left the table.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}
