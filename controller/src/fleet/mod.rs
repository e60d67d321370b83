//! The fleet: keeps what is wanted and what is observed of every node, probes while this process leads, and publishes.
//!
//! [`Fleet`] is the handle. Behind it stand one pure `state`, a `coordinator` that leads, one worker for each node
//! ([`probe`](crate::probe)), and one publisher for each store.

mod coordinator;
mod debounce;
pub mod observation;
mod seed;
mod settings;
pub(crate) mod shared;
mod state;
mod term;
mod workers;

pub use debounce::Debounce;
pub use observation::{
    HealthReport, InventoryReport, InventoryState, NodeObservation, PublishReport, Transition,
};
pub use settings::{FleetSettings, Stores};
pub use term::Term;

use crate::metrics::FleetMetrics;
use crate::node::DesiredNode;
use crate::probe::ProbeClient;
use crate::publish::history::HistoryQueue;
use crate::publish::store::StorePublisher;
use aivonx_state::{NodeId, TableVersion};
use coordinator::Coordinator;
use jiff::Timestamp;
use shared::Shared;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use workers::Workers;

/// Events of the stores that wait for the coordinator; who finds it full waits.
const MAX_STORE_EVENTS: usize = 64;
/// Stores after the first are looked at this much less often.
const LATER_STORES_GUARD: u32 = 10;

/// A store holds a table of a higher epoch: another process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The term that is over.
    pub term: Term,
    /// What the store holds.
    pub held: TableVersion,
    /// The store's name.
    pub store: &'static str,
}

/// Why a fleet could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metrics exist already: a registry serves one fleet.
    #[error("the fleet's metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The TLS library lacks what it is asked for.
    #[error("TLS for probes cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A handle on the running fleet. Clones are handles on the same one.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
    fenced: watch::Receiver<Option<Fenced>>,
    tasks: TaskTracker,
}

impl Fleet {
    /// Starts the tasks of the fleet; they end with `shutdown`. Must be called within a tokio runtime.
    ///
    /// The fleet leads while `term` is `Some`. If the sender is dropped, the last value stands.
    pub fn start(
        settings: FleetSettings,
        stores: Stores,
        term: watch::Receiver<Option<Term>>,
        shutdown: CancellationToken,
        registry: &prometheus::Registry,
    ) -> Result<Self, StartError> {
        let client = ProbeClient::new(Arc::clone(&settings.resolver))?;
        let metrics = FleetMetrics::register(registry)?;
        let tasks = TaskTracker::new();
        let history = stores.history.map(|writer| {
            let queue = HistoryQueue::new(metrics.history_dropped.clone());
            tasks.spawn(queue.clone().drain(writer, settings.call_timeout, shutdown.clone()));
            queue
        });
        let shared = Arc::new(Shared::new(metrics, history));

        let (offers, offered) = watch::channel(None);
        let (events, heard) = mpsc::channel(MAX_STORE_EVENTS);
        for (index, writer) in stores.tables.iter().enumerate() {
            let rarity = if index == 0 { 1 } else { LATER_STORES_GUARD };
            let publisher = StorePublisher {
                index,
                writer: Arc::clone(writer),
                offers: offered.clone(),
                events: events.clone(),
                series: shared.metrics.store(writer.name()),
                guard_interval: settings.guard_interval * rarity,
                call_timeout: settings.call_timeout,
                shutdown: shutdown.clone(),
            };
            tasks.spawn(publisher.run());
        }

        let (fence, fenced) = watch::channel(None);
        let workers =
            Workers::new(Arc::clone(&shared), client, settings.fan_out, tasks.clone(), shutdown.clone());
        let coordinator = Coordinator {
            settings,
            shared: Arc::clone(&shared),
            stores: stores.tables,
            workers,
            term,
            offers,
            events: heard,
            fenced: fence,
            shutdown,
            revision: 0,
            accepted: None,
        };
        tasks.spawn(coordinator.run());
        tasks.close();
        Ok(Self { shared, fenced, tasks })
    }

    /// Adds a node or takes over what changed of it. Idempotent and cheap.
    pub fn apply(&self, node: DesiredNode) {
        if self.shared.with(|state| state.apply(node, Timestamp::now())) {
            self.shared.woken.notify_one();
        }
    }

    /// Drops a node: it is no longer declared, or was rejected. Idempotent and cheap.
    pub fn remove(&self, id: &NodeId) {
        let (removed, leading) = self.shared.with(|state| (state.remove(id), state.is_leading()));
        if !removed {
            return;
        }
        if let Some(history) = self.shared.history.as_ref().filter(|_| leading) {
            history.inventory(id, None);
        }
        self.shared.woken.notify_one();
    }

    /// The source has given its complete first list. Until then no table is published: a partial list never empties it.
    pub fn listed(&self) {
        self.shared.with(|state| state.set_listed());
        self.shared.woken.notify_one();
    }

    /// What is known of a node; `None` if it was not applied.
    pub fn observation(&self, id: &NodeId) -> Option<NodeObservation> {
        self.shared.with(|state| state.observation(id))
    }

    /// Whether observations are current: this process leads, and has taken over what the stored table says of the nodes.
    /// Before that a node may look as if nothing were known of it, and a status that says so would be wrong. When it
    /// becomes true, [`changes`](Self::changes) names every node.
    pub fn is_current(&self) -> bool {
        self.shared.with(|state| state.is_current())
    }

    /// Names each node whose observation changed in a way that status tells: health, version, models, whether it is
    /// published. A receiver that lags looks at all nodes.
    pub fn changes(&self) -> broadcast::Receiver<NodeId> {
        self.shared.changes.subscribe()
    }

    /// Probes a node now, or all of them.
    pub fn refresh(&self, id: Option<&NodeId>) {
        self.shared.with(|state| state.refresh(id));
        self.shared.woken.notify_one();
    }

    /// Becomes `Some` when a store turns out to hold a table of a higher epoch, and `None` when a later term begins. Compare
    /// its `term` with the own one before acting on it.
    pub fn fenced(&self) -> watch::Receiver<Option<Fenced>> {
        self.fenced.clone()
    }

    /// Completes when all tasks have ended after shutdown.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}
