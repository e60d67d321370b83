//! The store that survives a flush of Redis: the last good table, each node's inventory, and its health history.
//!
//! Everything is in the schema `aivonx`, made by [migrations](PostgresStore::migrate). All tables hold text that a person
//! with `psql` can read. Statements are prepared, and migrations hold a lock for a session: a pooler between must keep a
//! session on one connection (PgBouncer: `pool_mode = session`).

mod address;
mod errors;
mod history;
mod migrations;
mod pool;
mod table;

pub use migrations::MigrationReport;

use super::StoreError;
use super::history::Retention;
use pool::Pool;

/// A label in errors.
const STORE: &str = "Postgres";

/// The routing table and the history in Postgres. Clones share one small pool of connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    retention: Retention,
}

impl PostgresStore {
    /// A store at `url`: `postgres://user:password@host[:5432]/database`. It connects when it is first used, so Postgres
    /// may be down now. The error says what to write instead.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::new(address::parse(url)?)?, retention: Retention::default() })
    }

    /// Keeps another amount of history.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pool, retention } = self;
        f.debug_struct("PostgresStore")
            .field("address", &pool.address())
            .field("retention", retention)
            .finish_non_exhaustive()
    }
}
