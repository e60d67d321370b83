//! The fleet's metrics. Children are looked up once and held; series of a node go with it.

use crate::probe::{FailureReason, ProbeFailure};
use aivonx_state::table::Health;
use aivonx_state::{NodeId, RoutingTable, TableVersion};
use parking_lot::Mutex;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Nodes that get series of their own. Further ones are probed all the same, and counted.
const MAX_NODE_SERIES: usize = 1_000;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Health,
    Tags,
    Ps,
}

/// All metrics of the fleet.
pub(crate) struct FleetMetrics {
    durations: [Histogram; 3],
    failures: HashMap<FailureReason, IntCounter>,
    nodes: NodeVec,
    models_available: IntGauge,
    models_loaded: IntGauge,
    published_revision: IntGauge,
    published_epoch: IntGauge,
    publish_failures: IntCounterVec,
    store_up: IntGaugeVec,
    pub(crate) history_dropped: IntCounter,
}

impl FleetMetrics {
    /// Creates the metrics in `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let durations = HistogramOpts::new(
            "aivonx_node_probe_duration_seconds",
            "How long nodes took to answer, failures included, by what was asked: health, tags or ps.",
        );
        let durations = HistogramVec::new(durations.buckets(buckets), &["probe"])?;
        let failures = counters(
            "aivonx_node_probe_failures_total",
            "Failed probes by reason, over all nodes.",
            &["reason"],
        )?;
        let models = gauges(
            "aivonx_node_models",
            "Models on all nodes together in the newest table, by state: available or loaded.",
            &["state"],
        )?;
        let up = gauges(
            "aivonx_node_up",
            "1 while the node is healthy, else 0. Only the leading controller has it.",
            &["namespace", "node"],
        )?;
        let unlabelled = IntCounter::new(
            "aivonx_node_series_dropped_total",
            "Nodes that got no series of their own because there are too many.",
        )?;
        let published_revision = IntGauge::new(
            "aivonx_published_revision",
            "The revision of the table that the first store took last.",
        )?;
        let published_epoch = IntGauge::new(
            "aivonx_published_epoch",
            "The epoch of the table that the first store took last.",
        )?;
        let publish_failures = counters(
            "aivonx_publish_failures_total",
            "Failed attempts to write or check a table, by store.",
            &["store"],
        )?;
        let store_up =
            gauges("aivonx_store_up", "1 while the last call to the store succeeded, else 0.", &["store"])?;
        let history_dropped = IntCounter::new(
            "aivonx_history_dropped_total",
            "Health transitions that were not written because the store was away for too long.",
        )?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        registry.register(Box::new(models.clone()))?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(unlabelled.clone()))?;
        registry.register(Box::new(published_revision.clone()))?;
        registry.register(Box::new(published_epoch.clone()))?;
        registry.register(Box::new(publish_failures.clone()))?;
        registry.register(Box::new(store_up.clone()))?;
        registry.register(Box::new(history_dropped.clone()))?;
        Ok(Self {
            durations: ["health", "tags", "ps"].map(|probe| durations.with_label_values(&[probe])),
            failures: FailureReason::ALL
                .iter()
                .map(|reason| (*reason, failures.with_label_values(&[reason.as_str()])))
                .collect(),
            nodes: NodeVec { up, unlabelled, uses: Arc::default() },
            models_available: models.with_label_values(&["available"]),
            models_loaded: models.with_label_values(&["loaded"]),
            published_revision,
            published_epoch,
            publish_failures,
            store_up,
            history_dropped,
        })
    }

    /// Counts one probe.
    pub(crate) fn probed(&self, probe: Probe, took: Duration, failure: Option<&ProbeFailure>) {
        self.durations[probe as usize].observe(took.as_secs_f64());
        if let Some(counter) = failure.and_then(|failure| self.failures.get(&failure.reason)) {
            counter.inc();
        }
    }

    /// The series of a node, for as long as the value lives.
    pub(crate) fn node(&self, id: &NodeId) -> NodeSeries {
        self.nodes.open(id)
    }

    /// The series of a store.
    pub(crate) fn store(&self, name: &str) -> StoreSeries {
        StoreSeries {
            up: self.store_up.with_label_values(&[name]),
            failures: self.publish_failures.with_label_values(&[name]),
        }
    }

    /// Tells of a table that was built.
    pub(crate) fn built(&self, table: &RoutingTable) {
        let models = || table.nodes.values().flat_map(|node| &node.models);
        self.models_available.set(gauge(models().count() as u64));
        self.models_loaded.set(gauge(models().filter(|model| model.loaded.is_some()).count() as u64));
    }

    /// Tells of a table that the first store took.
    pub(crate) fn published(&self, version: TableVersion) {
        self.published_revision.set(gauge(version.revision));
        self.published_epoch.set(gauge(version.epoch));
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The series of one store.
#[derive(Clone)]
pub(crate) struct StoreSeries {
    up: IntGauge,
    failures: IntCounter,
}

impl StoreSeries {
    pub(crate) fn succeeded(&self) {
        self.up.set(1);
    }

    pub(crate) fn failed(&self) {
        self.up.set(0);
        self.failures.inc();
    }
}

#[derive(Clone)]
struct NodeVec {
    up: IntGaugeVec,
    unlabelled: IntCounter,
    // A node that changes its address has two workers for a moment: the series goes with the last of them.
    uses: Arc<Mutex<HashMap<NodeId, usize>>>,
}

impl NodeVec {
    fn open(&self, id: &NodeId) -> NodeSeries {
        let mut uses = self.uses.lock();
        if uses.len() >= MAX_NODE_SERIES && !uses.contains_key(id) {
            self.unlabelled.inc();
            return NodeSeries(None);
        }
        *uses.entry(id.clone()).or_default() += 1;
        let up = self.up.with_label_values(&[id.namespace(), id.name()]);
        NodeSeries(Some((up, id.clone(), self.clone())))
    }

    fn close(&self, id: &NodeId) {
        let mut uses = self.uses.lock();
        let Some(count) = uses.get_mut(id) else { return };
        *count -= 1;
        if *count == 0 {
            uses.remove(id);
            // It is only missing if somebody else removed it.
            let _ = self.up.remove_label_values(&[id.namespace(), id.name()]);
        }
    }
}

/// The series of one node; they are removed when this is dropped.
pub(crate) struct NodeSeries(Option<(IntGauge, NodeId, NodeVec)>);

impl NodeSeries {
    pub(crate) fn set_up(&self, health: Health) {
        if let Some((up, ..)) = &self.0 {
            up.set(i64::from(health == Health::Healthy));
        }
    }
}

impl Drop for NodeSeries {
    fn drop(&mut self) {
        if let Some((_, id, nodes)) = &self.0 {
            nodes.close(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::TextEncoder;

    fn scrape(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn the_series_of_a_node_goes_with_its_last_user() {
        let registry = Registry::new();
        let metrics = FleetMetrics::register(&registry).unwrap();
        let line = r#"aivonx_node_up{namespace="ai",node="gpu-1"} 1"#;
        let id = NodeId::new("ai", "gpu-1");
        let (old, new) = (metrics.node(&id), metrics.node(&id));
        new.set_up(Health::Healthy);
        drop(old);
        assert!(scrape(&registry).contains(line));
        drop(new);
        assert!(!scrape(&registry).contains("aivonx_node_up{"));
    }

    #[test]
    fn nodes_beyond_the_bound_are_counted_and_get_no_series() {
        let registry = Registry::new();
        let metrics = FleetMetrics::register(&registry).unwrap();
        let ids = (0..=MAX_NODE_SERIES).map(|n| NodeId::new("ai", &n.to_string()));
        let series: Vec<_> = ids.map(|id| metrics.node(&id)).collect();
        let text = scrape(&registry);
        assert_eq!(text.matches("aivonx_node_up{").count(), MAX_NODE_SERIES);
        assert!(text.contains("aivonx_node_series_dropped_total 1"));
        drop(series);
        let _one = metrics.node(&NodeId::new("ai", "later"));
        assert_eq!(scrape(&registry).matches("aivonx_node_up{").count(), 1);
    }

    #[test]
    fn failures_are_counted_by_reason() {
        let registry = Registry::new();
        let metrics = FleetMetrics::register(&registry).unwrap();
        let failure = ProbeFailure::new(FailureReason::DnsFailed, "gpu has no address");
        metrics.probed(Probe::Ps, Duration::from_millis(3), Some(&failure));
        let text = scrape(&registry);
        assert!(text.contains(r#"aivonx_node_probe_failures_total{reason="DnsFailed"} 1"#), "{text}");
        assert!(text.contains(r#"aivonx_node_probe_duration_seconds_count{probe="ps"} 1"#), "{text}");
    }
}
