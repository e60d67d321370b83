//! The stores a routing table travels through, and the two sides of each.
//!
//! A [`TableWriter`] belongs to the leading controller, a [`TableReader`] to a data plane. Redis is the fast way, Postgres
//! the one that survives a flush, [`memory`] the one of the standalone gateway, where both sides stand in one process.

mod fence;
pub mod history;
pub mod memory;
pub mod postgres;
pub mod redis;
mod stored;

use crate::table::{RoutingTable, TableHead, TableVersion};
use async_trait::async_trait;
use tokio::sync::mpsc;

/// Why a store could not do what was asked. The message names the store and the address without its credentials.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be used at all: a wrong setting, which no retry cures.
    #[error("{store} URL is not usable: {reason}")]
    Address {
        /// `Redis` or `Postgres`.
        store: &'static str,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// The store did not answer, or answered with an error.
    #[error("{store} at {address}: {reason}")]
    Unavailable {
        /// `Redis` or `Postgres`.
        store: &'static str,
        /// `host:port`.
        address: String,
        /// What the driver said.
        reason: String,
    },
    /// The store's schema is missing or is not the one that this program knows: `aivonx migrate` or another version of
    /// the program cures it, no retry does.
    #[error("{store} schema: {reason}")]
    Schema {
        /// `Postgres`.
        store: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// What the store holds is not a routing table.
    #[error("{store} holds something that is not a routing table: {reason}")]
    Corrupt {
        /// `Redis` or `Postgres`.
        store: &'static str,
        /// What was found.
        reason: String,
    },
}

/// What became of a table that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The store holds it now.
    Accepted,
    /// The store holds a table that is as new or newer: the writer is not the leader any more, or starts from an old
    /// revision. Nothing was changed.
    Fenced {
        /// What the store holds.
        held: TableVersion,
    },
}

/// The controller's side of a store.
#[async_trait]
pub trait TableWriter: Send + Sync {
    /// `redis`, `postgres` or `memory`: a metric label.
    fn name(&self) -> &'static str;

    /// The head of the table that the store holds.
    async fn head(&self) -> Result<Option<TableHead>, StoreError>;

    /// The whole table that the store holds, for a new leader that starts from it.
    async fn read(&self) -> Result<Option<RoutingTable>, StoreError>;

    /// Puts `table` in place in one step, if it is newer than what is there. `before` is the table that this writer last
    /// published: when the store still holds exactly that one, only the differences travel.
    async fn publish(
        &self,
        table: &RoutingTable,
        before: Option<&RoutingTable>,
    ) -> Result<Published, StoreError>;
}

/// A hint that the table may have changed. Hints may be lost; readers also poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The store told of this version.
    Changed(TableVersion),
    /// The connection is back after a loss: what was told meanwhile is gone, so read all.
    Reconnected,
}

/// The data plane's side of a store.
#[async_trait]
pub trait TableReader: Send + Sync {
    /// `redis`, `postgres` or `memory`: a metric label.
    fn name(&self) -> &'static str;

    /// The head of the table that the store holds; `None` if it holds none.
    async fn head(&self) -> Result<Option<TableHead>, StoreError>;

    /// The whole table, checked against its digest; `None` if the store holds none.
    async fn read(&self) -> Result<Option<RoutingTable>, StoreError>;

    /// Starts to listen for changes, for as long as the receiver lives. The channel is small; a hint that finds it full
    /// is dropped, since one hint waiting is as good as two.
    fn notices(&self) -> mpsc::Receiver<Notice>;
}
