//! The last good table.

use super::PostgresStore;
use super::errors::corrupt;
use crate::store::stored::{self, StoredTable};
use crate::store::{Notice, Published, StoreError, TableReader, TableWriter};
use crate::table::{NodeId, RoutingTable, TableHead, TableVersion};
use async_trait::async_trait;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_postgres::Row;

const HEAD: &str = "SELECT epoch, revision, digest, strategy, published_at FROM aivonx.routing_table";

const TABLE: &str =
    "SELECT epoch, revision, digest, strategy, published_at, body::text FROM aivonx.routing_table";

/// Compares and sets in one statement. No row comes back if the table that is held is newer, or is another one of the
/// same version.
const PUBLISH: &str = "\
    INSERT INTO aivonx.routing_table AS held (epoch, revision, digest, strategy, published_at, body) \
    VALUES ($1, $2, $3, $4, $5, $6::text::json) \
    ON CONFLICT (singleton) DO UPDATE SET epoch = excluded.epoch, revision = excluded.revision, \
        digest = excluded.digest, strategy = excluded.strategy, published_at = excluded.published_at, \
        body = excluded.body \
    WHERE (held.epoch, held.revision) < (excluded.epoch, excluded.revision) \
        OR (held.epoch, held.revision, held.digest) = (excluded.epoch, excluded.revision, excluded.digest) \
    RETURNING held.epoch";

#[async_trait]
impl TableWriter for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        self.held_head().await
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        self.held_table().await
    }

    /// Always writes the whole table: it is one value here.
    async fn publish(
        &self,
        table: &RoutingTable,
        _before: Option<&RoutingTable>,
    ) -> Result<Published, StoreError> {
        let RoutingTable { head, nodes } = table;
        let number = |number: u64| {
            i64::try_from(number)
                .map_err(|_| corrupt(format!("table version {} is beyond what a bigint holds", head.version)))
        };
        let (epoch, revision) = (number(head.version.epoch)?, number(head.version.revision)?);
        let strategy = stored::strategy_word(head.strategy).map_err(corrupt)?;
        let body = stored::text(nodes).map_err(corrupt)?;
        let client = self.pool.client().await?;
        let put = async {
            let statement = client.prepare_cached(PUBLISH).await?;
            client
                .query_opt(
                    &statement,
                    &[&epoch, &revision, &head.digest, &strategy, &head.published_at, &body],
                )
                .await
        };
        if self.pool.query(put).await?.is_some() {
            return Ok(Published::Accepted);
        }
        drop(client);
        match self.held_head().await? {
            Some(held) => Ok(Published::Fenced { held: held.version }),
            None => Err(corrupt("the table was taken away while another one was published")),
        }
    }
}

#[async_trait]
impl TableReader for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        self.held_head().await
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        self.held_table().await
    }

    /// Stays silent for as long as it lives: this store is polled. Must be called within a tokio runtime.
    fn notices(&self) -> mpsc::Receiver<Notice> {
        let (silent, receiver) = mpsc::channel(1);
        // The sender lives as long as the receiver: a receiver without a sender is at its end, not silent.
        tokio::spawn(async move { silent.closed().await });
        receiver
    }
}

impl PostgresStore {
    async fn held_head(&self) -> Result<Option<TableHead>, StoreError> {
        self.held_row(HEAD).await?.map(|row| head(&row)).transpose()
    }

    async fn held_table(&self) -> Result<Option<RoutingTable>, StoreError> {
        let Some(row) = self.held_row(TABLE).await? else { return Ok(None) };
        let head = head(&row)?;
        let body: &str = row.try_get(5).map_err(|error| corrupt(error.to_string()))?;
        let nodes: BTreeMap<NodeId, Box<RawValue>> =
            serde_json::from_str(body).map_err(|error| corrupt(format!("the table's body: {error}")))?;
        StoredTable { head, nodes }.open().map(Some).map_err(corrupt)
    }

    async fn held_row(&self, query: &str) -> Result<Option<Row>, StoreError> {
        let client = self.pool.client().await?;
        let get = async {
            let statement = client.prepare_cached(query).await?;
            client.query_opt(&statement, &[]).await
        };
        self.pool.query(get).await
    }
}

/// The first five columns.
fn head(row: &Row) -> Result<TableHead, StoreError> {
    let read = || -> Result<_, tokio_postgres::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
    };
    let (epoch, revision, digest, strategy, published_at): (i64, i64, _, String, _) =
        read().map_err(|error| corrupt(super::errors::chain(&error)))?;
    let number =
        |number: i64| u64::try_from(number).map_err(|_| corrupt(format!("a version with {number} in it")));
    Ok(TableHead {
        version: TableVersion { epoch: number(epoch)?, revision: number(revision)? },
        published_at,
        strategy: stored::strategy(&strategy).map_err(corrupt)?,
        digest,
    })
}
