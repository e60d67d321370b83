//! The controller: knows which nodes are wanted, finds out how they are, and publishes both as routing tables.
//!
//! Two halves. The *fleet* half ([`fleet`], `probe`, `publish` and the pure modules beside them) knows no Kubernetes: it is
//! handed [`node::DesiredNode`] values and a term of leadership, and runs the same in a cluster and in `aivonx run`.
//! The *Kubernetes* half (`reconcile`, `lease`, `events`, `conditions`) turns resources into such values, and
//! observations into status.
//!
//! Invariants:
//! - Nothing is published before the source of nodes has listed all of them, nor without a term, nor after a fence.
//! - A change of leader, a failed read and a partial list never take a healthy node out of the table.
//! - Node addresses are untrusted: each is judged after it was resolved, and no redirect or proxy is followed.
//! - Probing needs neither the API server nor a store; a slow node or store delays no other.

pub mod address;
pub mod app;
pub mod conditions;
pub mod events;
pub mod fleet;
mod health;
mod inventory;
pub mod lease;
mod metrics;
mod migrate;
pub mod node;
pub mod probe;
mod publish;
pub mod reconcile;
pub mod running;
pub mod settings;
mod table;
