//! The metrics of reconciling. Children are looked up once and held.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

const KIND: &str = "OllamaNode";

/// All metrics of reconciling.
#[derive(Clone, Debug)]
pub struct ReconcileMetrics {
    reconciles: IntCounterVec,
    succeeded: IntCounter,
    status_writes: IntCounter,
    watch_failures: IntCounter,
}

impl ReconcileMetrics {
    /// Creates the metrics in `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reconciles = IntCounterVec::new(
            Opts::new(
                "aivonx_reconciles_total",
                "Reconciles by kind and result: ok, or the category of the error.",
            ),
            &["kind", "result"],
        )?;
        let status_writes = IntCounterVec::new(
            Opts::new("aivonx_status_writes_total", "Statuses written to the API server, by kind."),
            &["kind"],
        )?;
        let watch_failures = IntCounter::new(
            "aivonx_watch_failures_total",
            "Failed attempts to list or watch resources; each is tried again.",
        )?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(status_writes.clone()))?;
        registry.register(Box::new(watch_failures.clone()))?;
        Ok(Self {
            succeeded: reconciles.with_label_values(&[KIND, "ok"]),
            status_writes: status_writes.with_label_values(&[KIND]),
            reconciles,
            watch_failures,
        })
    }

    pub(super) fn reconciled(&self) {
        self.succeeded.inc();
    }

    pub(super) fn failed(&self, category: &'static str) {
        self.reconciles.with_label_values(&[KIND, category]).inc();
    }

    pub(super) fn status_written(&self) {
        self.status_writes.inc();
    }

    pub(super) fn watch_failed(&self) {
        self.watch_failures.inc();
    }
}
