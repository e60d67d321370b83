//! What the fleet knows of one node, for whoever reports it.

use aivonx_state::table::Health;
use aivonx_state::{NodeModel, TableVersion};
use jiff::Timestamp;
use std::sync::Arc;

/// All that status can say of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeObservation {
    /// The generation of the [`DesiredNode`](crate::node::DesiredNode) this was observed under.
    pub generation: i64,
    /// What the probes say.
    pub health: HealthReport,
    /// What `/api/version` said last.
    pub version: Option<String>,
    /// The models, after the node's allow and deny lists.
    pub inventory: InventoryReport,
    /// Whether the data planes can know the node as it is now.
    pub published: PublishReport,
    /// The last change of health.
    pub last_transition: Option<Transition>,
}

/// The health of a node, and since when.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthReport {
    /// The verdict.
    pub state: Health,
    /// A condition reason: [`reason::REACHABLE`], [`reason::PENDING`], [`reason::RESTORED`], or that of a
    /// [`FailureReason`](crate::probe::FailureReason).
    pub reason: &'static str,
    /// One sentence for a person.
    pub message: String,
    /// When the state became what it is.
    pub since: Timestamp,
}

/// What is known of a node's models.
#[derive(Clone, Debug, PartialEq)]
pub struct InventoryReport {
    /// Whether the list is current.
    pub state: InventoryState,
    /// A condition reason: one of [`reason`], or that of a [`FailureReason`](crate::probe::FailureReason).
    pub reason: &'static str,
    /// One sentence for a person.
    pub message: String,
    /// The last list that was read. A failure keeps it.
    pub models: Arc<Vec<NodeModel>>,
}

/// Whether a node's model list is current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InventoryState {
    /// Never read.
    #[default]
    Unknown,
    /// The last read succeeded.
    Synced,
    /// The last read failed; the models are those of the last one that succeeded.
    Failed,
}

/// Whether a node's present content has reached the first store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishReport {
    /// Not yet, and nothing is wrong so far.
    Pending,
    /// The store holds it since this version. A version that moves alone is no news: it raises no change.
    Published(TableVersion),
    /// The store cannot be written.
    Failed {
        /// [`reason::STORE_UNAVAILABLE`].
        reason: &'static str,
        /// What the store said.
        message: String,
    },
}

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
    /// When the probe that decided it ended.
    pub at: Timestamp,
    /// Why: a condition reason.
    pub reason: &'static str,
}

/// Condition reasons that do not come from a failed probe. They are API: scripts match on them.
pub mod reason {
    pub use aivonx_crds::reasons::{PENDING, REACHABLE, STORE_UNAVAILABLE, SYNCED};

    /// The health was read from the stored table, and no probe of this process has ended yet.
    pub const RESTORED: &str = "RestoredFromTable";
    /// The model list was read, but not which models are in memory: that part is of an earlier read.
    pub const LOADED_MODELS_STALE: &str = "LoadedModelsStale";
    /// The node had models and now lists none; the old list stands until a second read confirms it.
    pub const EMPTY_LIST_UNCONFIRMED: &str = "EmptyListUnconfirmed";
    /// The node lists more models than are kept.
    pub const TOO_MANY_MODELS: &str = "TooManyModels";
}
