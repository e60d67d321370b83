//! A fleet under test, with quick probes, and the means to wait for what it does.

use crate::node::StubNode;
use crate::store::ScriptedStore;
use aivonx_controller::fleet::{Fleet, FleetSettings, NodeObservation, PublishReport, Stores, Term};
use aivonx_controller::node::{DesiredNode, HealthPolicy, ModelFilter};
use aivonx_state::table::{Health, NodeTimeouts, SchedulingState};
use aivonx_state::{NodeEntry, NodeId, RoutingTable, TableWriter};
use prometheus::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(200);

/// Polls until `check` gives a value.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        // The pause between two looks at the condition.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A node with quick probes.
pub fn desired(id: &str, url: &str) -> DesiredNode {
    DesiredNode {
        id: NodeId::from(id),
        uid: format!("uid of {id}"),
        generation: 1,
        url: url.parse().unwrap(),
        weight: 1,
        priority: 0,
        scheduling_state: SchedulingState::Active,
        max_concurrent: 1,
        max_concurrent_per_model: 0,
        models: ModelFilter::default(),
        timeouts: NodeTimeouts::default(),
        health: HealthPolicy {
            interval: INTERVAL,
            timeout: Duration::from_secs(2),
            ..HealthPolicy::default()
        },
        refresh: None,
    }
}

pub fn settings() -> FleetSettings {
    FleetSettings {
        guard_interval: Duration::from_millis(100),
        call_timeout: Duration::from_secs(2),
        ..FleetSettings::default()
    }
}

pub struct System {
    pub fleet: Fleet,
    pub term: watch::Sender<Option<Term>>,
    pub registry: Registry,
    shutdown: CancellationToken,
}

impl System {
    /// A fleet that leads with this epoch and publishes to these stores.
    pub fn start(epoch: u64, stores: &[&Arc<ScriptedStore>]) -> Self {
        Self::start_with(settings(), Some(Term { epoch }), stores_of(stores))
    }

    pub fn start_with(settings: FleetSettings, term: Option<Term>, stores: Stores) -> Self {
        let (term, received) = watch::channel(term);
        let (registry, shutdown) = (Registry::new(), CancellationToken::new());
        let fleet = Fleet::start(settings, stores, received, shutdown.clone(), &registry).unwrap();
        Self { fleet, term, registry, shutdown }
    }

    pub fn apply(&self, id: &str, node: &StubNode) {
        self.fleet.apply(desired(id, &node.url()));
    }

    pub fn observed(&self, id: &str) -> NodeObservation {
        self.fleet.observation(&NodeId::from(id)).unwrap()
    }

    /// Waits until a node is seen like this.
    pub async fn sees(
        &self,
        what: &str,
        id: &str,
        check: impl Fn(&NodeObservation) -> bool,
    ) -> NodeObservation {
        until(what, async || Some(self.observed(id)).filter(&check)).await
    }

    pub async fn sees_health(&self, id: &str, health: Health) -> NodeObservation {
        self.sees(&format!("{id} is {health:?}"), id, |seen| seen.health.state == health).await
    }

    pub async fn sees_published(&self, id: &str) -> NodeObservation {
        self.sees(&format!("{id} is published"), id, |seen| {
            matches!(seen.published, PublishReport::Published(_))
        })
        .await
    }

    /// Ends all tasks, as a process does that is told to stop.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.fleet.stopped().await;
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn stores_of(stores: &[&Arc<ScriptedStore>]) -> Stores {
    let tables = stores.iter().map(|store| Arc::clone(store) as Arc<dyn TableWriter>).collect();
    Stores { tables, history: None }
}

/// Waits until the store holds a table like this.
pub async fn holds(store: &ScriptedStore, what: &str, check: impl Fn(&RoutingTable) -> bool) -> RoutingTable {
    until(what, async || store.held().await.filter(&check)).await
}

/// Waits until the store's entry of a node is like this.
pub async fn holds_node(
    store: &ScriptedStore,
    id: &str,
    what: &str,
    check: impl Fn(&NodeEntry) -> bool,
) -> NodeEntry {
    let id = NodeId::from(id);
    let table = holds(store, what, |table| table.nodes.get(&id).is_some_and(&check)).await;
    table.nodes[&id].clone()
}

pub fn is_serving(entry: &NodeEntry) -> bool {
    entry.takes_requests() && !entry.models.is_empty()
}
