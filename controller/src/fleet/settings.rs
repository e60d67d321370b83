//! How the fleet works, and where its tables go.

use super::debounce::Debounce;
use crate::address::{Resolve, SystemResolver};
use aivonx_state::table::Strategy;
use aivonx_state::{HistoryWriter, TableWriter};
use std::sync::Arc;
use std::time::Duration;

/// How the fleet works. The defaults suit a cluster and a single machine alike.
#[derive(Clone)]
pub struct FleetSettings {
    /// Goes into every table.
    pub strategy: Strategy,
    /// Probes at once in each of the three lanes: nodes that answer, nodes that do not, and model lists.
    pub fan_out: usize,
    /// Looks node names up.
    pub resolver: Arc<dyn Resolve>,
    /// How long a change waits for others before a table is built.
    pub debounce: Debounce,
    /// Between two looks at the head that the first store holds; other stores are looked at a tenth as often.
    pub guard_interval: Duration,
    /// For one call to a store.
    pub call_timeout: Duration,
    /// For a new leader's reading of what one store holds. No node is probed meanwhile.
    pub seed_timeout: Duration,
    /// How long a new leader that can read no store waits for its own probes before it publishes.
    pub settle: Duration,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            fan_out: 128,
            resolver: Arc::new(SystemResolver::default()),
            debounce: Debounce::default(),
            guard_interval: Duration::from_millis(500),
            call_timeout: Duration::from_secs(5),
            seed_timeout: Duration::from_secs(2),
            settle: Duration::from_secs(10),
        }
    }
}

/// Where tables and history go.
#[derive(Clone, Default)]
pub struct Stores {
    /// Each gets every table, independently of the others. The first is the one whose acceptance makes a node published.
    pub tables: Vec<Arc<dyn TableWriter>>,
    /// Gets health transitions and inventories.
    pub history: Option<Arc<dyn HistoryWriter>>,
}
