//! The fast way: a table in Redis as two hashes that a person can read, and a channel that tells of changes.
//!
//! | key | holds |
//! |---|---|
//! | `{aivonx}:table:head` | hash: `epoch revision digest strategy publishedAt` |
//! | `{aivonx}:table:nodes` | hash: node id to its entry as JSON |
//! | `{aivonx}:table:changed` | channel; each message is `<epoch>.<revision>` |
//!
//! Both keys share a hash tag, so one script may write them and one transaction may read them. Redis may be flushed or
//! away at any moment: the next table that is published is written whole.

mod address;
mod changes;
mod connection;
mod keys;
mod notices;
mod reader;
mod script;
mod writer;

use super::StoreError;
use connection::Connection;
use keys::Keys;
use std::sync::Arc;

/// A label in errors.
const STORE: &str = "Redis";

/// A routing table in Redis. Clones share one connection.
#[derive(Clone)]
pub struct RedisStore {
    connection: Connection,
    keys: Arc<Keys>,
}

impl RedisStore {
    /// A store at `url`: `redis://[user:password@]host[:6379][/database]`, or `rediss://` for TLS. It connects when it is
    /// first used, so Redis may be down now. The error says what to write instead.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Ok(Self {
            connection: Connection::new(address::parse(url)?),
            keys: Arc::new(Keys::new(keys::DEFAULT)),
        })
    }

    /// Puts `prefix` in the place of `aivonx` in the names of keys and channel, so that several gateways can share one
    /// Redis. Letters, digits, `-`, `_`, `.` and `:`.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, StoreError> {
        keys::check(prefix).map_err(|reason| StoreError::Address { store: STORE, reason })?;
        self.keys = Arc::new(Keys::new(prefix));
        Ok(self)
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connection, keys } = self;
        f.debug_struct("RedisStore").field("address", &connection.address()).field("keys", keys).finish()
    }
}

fn corrupt(reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { store: STORE, reason: reason.into() }
}
