//! The gateway under test.

use super::{Node, eventually};
use aivonx_dataplane::{Config, Limits, TableSources};
use aivonx_process::readiness::Readiness;
use aivonx_process::shutdown::Shutdown;
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::table::{
    Health, ModelDetails, NodeEntry, NodeId, NodeModel, RoutingTable, Strategy, TableVersion,
};
use aivonx_state::{TableReader, TableWriter as _};
use prometheus::{Encoder as _, Registry, TextEncoder};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A running data plane with a store of its own.
pub struct Gateway {
    pub address: SocketAddr,
    pub store: MemoryStore,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
    pub registry: Registry,
    pub done: JoinHandle<()>,
    revision: AtomicU64,
}

/// Limits for tests: what a test does not look at is out of its way.
pub fn limits() -> Limits {
    Limits { drain_timeout: Duration::from_secs(20), ..Limits::default() }
}

/// A model of the digest `d`.
pub fn model(name: &str) -> NodeModel {
    NodeModel {
        name: name.into(),
        digest: "d".into(),
        size: 1,
        modified_at: "2026-01-01T00:00:00Z".into(),
        details: ModelDetails::default(),
        capabilities: vec![],
        loaded: None,
    }
}

/// A healthy node that has the model `m`.
pub fn entry(node: &Node) -> NodeEntry {
    NodeEntry {
        health: Health::Healthy,
        version: Some("0.32.15".into()),
        models: vec![model("m:latest")],
        ..NodeEntry::new(NodeId::new("ai", node.name), format!("http://{}", node.address))
    }
}

impl Gateway {
    /// With a store that holds no table.
    pub async fn without_table(limits: Limits) -> Self {
        let store = MemoryStore::new();
        Self::with_sources(limits, store.clone(), TableSources { primary: Arc::new(store), fallback: None })
    }

    /// With a primary store of the test's own; `store` is what [`Gateway::publish`] writes to.
    pub fn with_reader(limits: Limits, store: MemoryStore, primary: Arc<dyn TableReader>) -> Self {
        Self::with_sources(limits, store, TableSources { primary, fallback: None })
    }

    fn with_sources(limits: Limits, store: MemoryStore, sources: TableSources) -> Self {
        aivonx_process::tls::install_crypto_provider();
        let (registry, readiness, shutdown) = (Registry::new(), Readiness::new(), Shutdown::new());
        let config = Config { listen: "127.0.0.1:0".parse().unwrap(), limits };
        let running =
            aivonx_dataplane::start(config, sources, &registry, readiness.clone(), shutdown.clone()).unwrap();
        Self {
            address: running.address,
            store,
            readiness,
            shutdown,
            registry,
            done: running.done,
            revision: AtomicU64::new(0),
        }
    }

    /// With a table that lists these nodes, as [`entry`] describes them.
    pub async fn with_nodes(nodes: &[&Node]) -> Self {
        Self::with_entries(limits(), nodes.iter().map(|node| entry(node)).collect()).await
    }

    /// With a table of these entries.
    pub async fn with_entries(limits: Limits, entries: Vec<NodeEntry>) -> Self {
        let gateway = Self::without_table(limits).await;
        gateway.publish(entries).await;
        gateway
    }

    /// Publishes the next table and waits until it is in use.
    pub async fn publish(&self, entries: Vec<NodeEntry>) {
        self.publish_with(Strategy::LeastActive, entries).await;
    }

    pub async fn publish_with(&self, strategy: Strategy, entries: Vec<NodeEntry>) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let nodes = entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        let version = TableVersion { epoch: 1, revision };
        let table = RoutingTable::new(version, jiff::Timestamp::now(), strategy, nodes);
        self.store.publish(&table, None).await.unwrap();
        eventually("the table is in use", || self.metric("aivonx_table_revision", &[]) == revision as f64)
            .await;
        eventually("ready", || self.readiness.is_ready()).await;
    }

    /// The sum of the series of a metric that have these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics()
            .lines()
            .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
            .filter(|line| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\""))))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// All metrics.
    pub fn metrics(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// How many requests ended in this way.
    pub fn ended(&self, outcome: &str) -> f64 {
        self.metric("aivonx_requests_total", &[("outcome", outcome)])
    }

    /// Waits until no request holds a slot.
    pub async fn idle(&self) {
        eventually("no slot is held", || self.metric("aivonx_inflight_requests", &[]) == 0.0).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.done.abort();
    }
}
