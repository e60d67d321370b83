//! The schema: embedded migrations, run by one process at a time.

use super::errors::{self, chain};
use super::{PostgresStore, STORE};
use crate::store::StoreError;
use deadpool_postgres::{ClientWrapper, Object};
use refinery::error::Kind;
use refinery::{Migration, Runner, Target};
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

mod embedded {
    refinery::embed_migrations!("src/store/postgres/migrations");
}

/// Where it is written down which migrations were applied.
const LEDGER: &str = "aivonx.schema_history";

/// Held while the schema changes; any number that no other program on the same database takes.
const LOCK: i64 = 0x6169_766f_6e78; // "aivonx"

/// How long to wait for another process that is migrating.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// For one statement of a migration.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
/// For all of it, the wait for the lock included.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);

/// What a change of the schema did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// Migrations that this call applied (or marked as applied), in order, such as `V1__routing_table`; none if the
    /// schema was up to date or another process was quicker.
    pub applied: Vec<String>,
    /// The schema's version now; `None` if no migration was ever applied.
    pub version: Option<i32>,
}

impl PostgresStore {
    /// Brings the schema up to date. Several processes may do so at once: one works, the others wait and find it done.
    pub async fn migrate(&self) -> Result<MigrationReport, StoreError> {
        self.alter(Target::Latest).await
    }

    /// Marks the migration `name` (`V2__node_inventory`, `node_inventory` or `2`) and all before it as applied without
    /// running them, for a schema that was made by other means.
    pub async fn fake(&self, name: &str) -> Result<MigrationReport, StoreError> {
        let target = find(embedded::migrations::runner().get_migrations(), name)?;
        self.alter(Target::FakeVersion(target)).await
    }

    /// The version of the newest migration that was applied; `None` if there is no schema.
    pub async fn schema_version(&self) -> Result<Option<i32>, StoreError> {
        let client = self.pool.client().await?;
        let query = format!("SELECT max(version) FROM {LEDGER}");
        match self.pool.query(client.query_one(&query, &[])).await {
            Ok(row) => row.try_get(0).map_err(|error| errors::of_query(self.pool.address(), &error)),
            Err(StoreError::Schema { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The version that this program's migrations lead to.
    pub fn latest_schema_version() -> i32 {
        embedded::migrations::runner()
            .get_migrations()
            .iter()
            .map(Migration::version)
            .max()
            .unwrap_or_default()
    }

    /// Drops the schema and all that is in it. For development: nothing brings it back.
    pub async fn reset(&self) -> Result<(), StoreError> {
        let client = self.lock().await?;
        self.bounded(async {
            let dropped = client.batch_execute("DROP SCHEMA IF EXISTS aivonx CASCADE").await;
            dropped.map_err(|error| errors::of_query(self.pool.address(), &error))
        })
        .await
    }

    async fn alter(&self, target: Target) -> Result<MigrationReport, StoreError> {
        let mut runner = embedded::migrations::runner().set_target(target);
        runner.set_migration_table_name(LEDGER);
        let mut client = self.lock().await?;
        self.bounded(async {
            let of_query = |error| errors::of_query(self.pool.address(), &error);
            // Asked first: a role that may not create schemas may still fill one that was made for it.
            let exists = client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = 'aivonx'", &[]).await;
            if exists.map_err(of_query)?.is_none() {
                client.batch_execute("CREATE SCHEMA aivonx").await.map_err(of_query)?;
            }
            let before = applied(&runner, &mut client).await.unwrap_or_default();
            runner.run_async(&mut *client).await.map_err(|error| self.explain(&error))?;
            let after = applied(&runner, &mut client).await.map_err(|error| self.explain(&error))?;
            let new = after.iter().filter(|migration| !before.contains(migration));
            Ok(MigrationReport {
                applied: new.map(ToString::to_string).collect(),
                version: after.iter().map(Migration::version).max(),
            })
        })
        .await
    }

    /// A connection of its own that holds the lock until it is dropped: it never goes back to the pool, so neither the
    /// lock nor the settings outlive the work, however it ends.
    async fn lock(&self) -> Result<ClientWrapper, StoreError> {
        let client = Object::take(self.pool.client().await?);
        let lock = format!(
            "SET statement_timeout = 0; SET lock_timeout = {}; SELECT pg_advisory_lock({LOCK}); \
             SET statement_timeout = {}",
            LOCK_TIMEOUT.as_millis(),
            STATEMENT_TIMEOUT.as_millis(),
        );
        self.bounded(async {
            client.batch_execute(&lock).await.map_err(|error| match error.code() {
                Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => errors::unavailable(
                    self.pool.address(),
                    format!("another process has been changing the schema for {} s", LOCK_TIMEOUT.as_secs()),
                ),
                _ => errors::of_query(self.pool.address(), &error),
            })
        })
        .await?;
        Ok(client)
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match timeout(TOTAL_TIMEOUT, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(errors::unavailable(
                self.pool.address(),
                format!("the schema was not changed within {} s", TOTAL_TIMEOUT.as_secs()),
            )),
        }
    }

    fn explain(&self, error: &refinery::Error) -> StoreError {
        match error.kind() {
            Kind::Connection(what, cause) => match cause.downcast_ref::<tokio_postgres::Error>() {
                Some(said) if said.as_db_error().is_some() => {
                    errors::schema(format!("{what}: {}", chain(said)))
                }
                Some(error) => errors::of_query(self.pool.address(), error),
                None => errors::schema(chain(error)),
            },
            Kind::MissingVersion(_) | Kind::DivergentVersion(..) => errors::schema(format!(
                "{error}: it was made by another version of aivonx; use that one, or a database of its own"
            )),
            _ => errors::schema(chain(error)),
        }
    }
}

async fn applied(runner: &Runner, client: &mut ClientWrapper) -> Result<Vec<Migration>, refinery::Error> {
    runner.get_applied_migrations_async(&mut **client).await
}

fn find(migrations: &[Migration], name: &str) -> Result<i32, StoreError> {
    let named = |migration: &&Migration| {
        migration.to_string() == name || migration.name() == name || migration.version().to_string() == name
    };
    match migrations.iter().find(named) {
        Some(migration) => Ok(migration.version()),
        None => {
            let known = migrations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(StoreError::Schema {
                store: STORE,
                reason: format!("no migration is named {name:?}; there are {known}"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_count_from_one_without_a_gap() {
        let mut versions: Vec<_> =
            embedded::migrations::runner().get_migrations().iter().map(Migration::version).collect();
        versions.sort_unstable();
        let expected: Vec<_> = (1..=PostgresStore::latest_schema_version()).collect();
        assert_eq!(versions, expected);
    }

    #[test]
    fn a_migration_is_found_by_any_of_its_names() {
        let runner = embedded::migrations::runner();
        for name in ["V2__node_inventory", "node_inventory", "2"] {
            assert_eq!(find(runner.get_migrations(), name).unwrap(), 2);
        }
        let text = find(runner.get_migrations(), "nothing").unwrap_err().to_string();
        assert!(text.contains("\"nothing\"") && text.contains("V1__routing_table"), "{text}");
    }
}
