//! Inventory and health history.

use super::PostgresStore;
use super::errors::{self, corrupt};
use crate::store::StoreError;
use crate::store::history::{HealthTransition, HistoryWriter, Retention};
use crate::store::stored;
use crate::table::{Health, NodeId, NodeModel};
use async_trait::async_trait;
use tokio_postgres::Row;

/// Longest message that is kept, in characters.
const MAX_MESSAGE: usize = 1_024;

/// Appends and prunes in one step. The deletion does not see the row that is added beside it, hence the limits less one.
const RECORD: &str = "\
    WITH added AS ( \
        INSERT INTO aivonx.health_transitions (node, at, from_state, to_state, reason, message) \
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING id \
    ) \
    DELETE FROM aivonx.health_transitions \
    WHERE at < $7 \
        OR (node = $1 AND id <= ( \
            SELECT id FROM aivonx.health_transitions WHERE node = $1 ORDER BY id DESC OFFSET $8 LIMIT 1)) \
        OR id <= (SELECT id FROM aivonx.health_transitions ORDER BY id DESC OFFSET $9 LIMIT 1)";

/// Replaces in one step: what is gone, what is new and what changed.
const REPLACE: &str = "\
    WITH gone AS ( \
        DELETE FROM aivonx.node_inventory WHERE node = $1 AND name <> ALL ($2::text[]) \
    ) \
    INSERT INTO aivonx.node_inventory (node, name, digest, model) \
    SELECT DISTINCT ON (name) $1, name, digest, model::json \
    FROM unnest($2::text[], $3::text[], $4::text[]) AS listed (name, digest, model) \
    ON CONFLICT (node, name) DO UPDATE \
    SET digest = excluded.digest, model = excluded.model, recorded_at = now()";

const FORGET: &str = "DELETE FROM aivonx.node_inventory WHERE node = $1";

const TRANSITIONS: &str = "\
    SELECT node, at, from_state, to_state, reason, message FROM aivonx.health_transitions \
    WHERE node = $1 ORDER BY id DESC LIMIT $2";

const INVENTORY: &str = "SELECT model::text FROM aivonx.node_inventory WHERE node = $1 ORDER BY name";

#[async_trait]
impl HistoryWriter for PostgresStore {
    async fn record_transition(&self, transition: &HealthTransition) -> Result<(), StoreError> {
        let HealthTransition { node, at, from, to, reason, message } = transition;
        let Retention { max_age, max_per_node, max_total } = self.retention;
        let oldest = at.checked_sub(max_age).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let less_one = |limit: u32| i64::from(limit.max(1) - 1);
        let message: String = message.chars().take(MAX_MESSAGE).collect();
        let client = self.pool.client().await?;
        let record = async {
            let statement = client.prepare_cached(RECORD).await?;
            client
                .execute(
                    &statement,
                    &[
                        &node.as_str(),
                        at,
                        &health_word(*from),
                        &health_word(*to),
                        &without_nul(reason),
                        &without_nul(&message),
                        &oldest,
                        &less_one(max_per_node),
                        &less_one(max_total),
                    ],
                )
                .await
        };
        self.pool.query(record).await.map(drop)
    }

    async fn replace_inventory(&self, node: &NodeId, models: &[NodeModel]) -> Result<(), StoreError> {
        let names: Vec<_> = models.iter().map(|model| without_nul(&model.name)).collect();
        let digests: Vec<_> = models.iter().map(|model| without_nul(&model.digest)).collect();
        let texts = models.iter().map(stored::text).collect::<Result<Vec<_>, _>>().map_err(corrupt)?;
        let client = self.pool.client().await?;
        let replace = async {
            let statement = client.prepare_cached(REPLACE).await?;
            client.execute(&statement, &[&node.as_str(), &names, &digests, &texts]).await
        };
        self.pool.query(replace).await.map(drop)
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        let client = self.pool.client().await?;
        let forget = async {
            let statement = client.prepare_cached(FORGET).await?;
            client.execute(&statement, &[&node.as_str()]).await
        };
        self.pool.query(forget).await.map(drop)
    }
}

impl PostgresStore {
    /// The newest transitions of `node`, newest first, at most `limit`.
    pub async fn transitions(&self, node: &NodeId, limit: u32) -> Result<Vec<HealthTransition>, StoreError> {
        let client = self.pool.client().await?;
        let list = async {
            let statement = client.prepare_cached(TRANSITIONS).await?;
            client.query(&statement, &[&node.as_str(), &i64::from(limit)]).await
        };
        self.pool.query(list).await?.iter().map(transition).collect()
    }

    /// The models that `node` had on disk when it was last asked, by name.
    pub async fn inventory(&self, node: &NodeId) -> Result<Vec<NodeModel>, StoreError> {
        let client = self.pool.client().await?;
        let list = async {
            let statement = client.prepare_cached(INVENTORY).await?;
            client.query(&statement, &[&node.as_str()]).await
        };
        let model = |row: &Row| {
            let text: &str = row.try_get(0).map_err(|error| corrupt(errors::chain(&error)))?;
            serde_json::from_str(text).map_err(|error| corrupt(format!("inventory of node {node}: {error}")))
        };
        self.pool.query(list).await?.iter().map(model).collect()
    }
}

fn transition(row: &Row) -> Result<HealthTransition, StoreError> {
    let read = || -> Result<_, tokio_postgres::Error> {
        let (node, from, to): (&str, &str, &str) = (row.try_get(0)?, row.try_get(2)?, row.try_get(3)?);
        Ok(HealthTransition {
            node: node.into(),
            at: row.try_get(1)?,
            from: health(from),
            to: health(to),
            reason: row.try_get(4)?,
            message: row.try_get(5)?,
        })
    };
    read().map_err(|error| corrupt(errors::chain(&error)))
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "Unknown",
        Health::Healthy => "Healthy",
        Health::Unhealthy => "Unhealthy",
    }
}

/// A word of a newer program is a state that this one does not know.
fn health(word: &str) -> Health {
    match word {
        "Healthy" => Health::Healthy,
        "Unhealthy" => Health::Unhealthy,
        _ => Health::Unknown,
    }
}

/// Postgres keeps no NUL in a text, and a node may write one.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
