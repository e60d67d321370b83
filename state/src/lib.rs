//! What the controller and the data plane share: the routing table, model names, and the stores they travel through.
//!
//! Invariants:
//! - A [`RoutingTable`] is one immutable value per [`TableVersion`]; nobody edits one that others can see.
//! - Versions are compared as `(epoch, revision)`. A store refuses a version that is not newer than the one it holds,
//!   and a reader drops it: a paused leader that wakes up changes nothing.
//! - A reader never sees a half-written table: the digest in the head covers every node entry.
//! - No secret is in a table. Node credentials do not travel through here unsealed.

pub mod name;
pub mod store;
pub mod table;

pub use name::{ModelKey, ModelName, NameError};
pub use store::history::{HealthTransition, HistoryWriter};
pub use store::{Notice, Published, StoreError, TableReader, TableWriter};
pub use table::{NodeEntry, NodeId, NodeModel, RoutingTable, TableHead, TableVersion};
