//! The data plane's side.

use super::{RedisStore, corrupt, notices, script};
use crate::store::stored::{self, StoredTable};
use crate::store::{Notice, StoreError, TableReader};
use crate::table::{NodeId, RoutingTable, TableHead};
use async_trait::async_trait;
use serde_json::value::RawValue;
use std::collections::HashMap;
use tokio::sync::mpsc;

type Fields = HashMap<String, String>;

#[async_trait]
impl TableReader for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        self.held_head().await
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        self.held_table().await
    }

    /// Subscribes on a connection of its own, again after each loss; [`Notice::Reconnected`] comes after every
    /// subscription, the first one included. Must be called within a tokio runtime.
    fn notices(&self) -> mpsc::Receiver<Notice> {
        notices::listen(self.connection.client().clone(), &self.keys.channel, self.connection.address())
    }
}

impl RedisStore {
    pub(super) async fn held_head(&self) -> Result<Option<TableHead>, StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(&self.keys.head);
        let command = &command;
        let fields: Fields =
            self.connection.run(|mut manager| async move { command.query_async(&mut manager).await }).await?;
        head(&fields).map_err(corrupt)
    }

    /// Both hashes in one transaction, so that no table that is published meanwhile comes between them.
    pub(super) async fn held_table(&self) -> Result<Option<RoutingTable>, StoreError> {
        let mut both = redis::pipe();
        both.atomic().hgetall(&self.keys.head).hgetall(&self.keys.nodes);
        let both = &both;
        let (fields, texts): (Fields, Fields) =
            self.connection.run(|mut manager| async move { both.query_async(&mut manager).await }).await?;
        table(&fields, texts).map_err(corrupt)
    }
}

fn head(fields: &Fields) -> Result<Option<TableHead>, String> {
    if fields.is_empty() {
        return Ok(None);
    }
    let field = |name: &str| {
        fields.get(name).map(String::as_str).ok_or_else(|| format!("the head has no field '{name}'"))
    };
    let (epoch, revision, published_at) = (field("epoch")?, field("revision")?, field("publishedAt")?);
    Ok(Some(TableHead {
        version: script::version(epoch, revision)
            .ok_or_else(|| format!("the head's version is {epoch:?}, {revision:?}"))?,
        published_at: published_at.parse().map_err(|error| format!("the head's publishedAt: {error}"))?,
        strategy: stored::strategy(field("strategy")?)?,
        digest: field("digest")?.to_owned(),
    }))
}

fn table(fields: &Fields, texts: Fields) -> Result<Option<RoutingTable>, String> {
    let Some(head) = head(fields)? else { return Ok(None) };
    let nodes = texts
        .into_iter()
        .map(|(id, text)| match RawValue::from_string(text) {
            Ok(text) => Ok((NodeId::from(id.as_str()), text)),
            Err(error) => Err(format!("node {id}: {error}")),
        })
        .collect::<Result<_, _>>()?;
    StoredTable { head, nodes }.open().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Strategy, TableVersion};

    fn fields() -> Fields {
        [
            ("epoch", "3"),
            ("revision", "14"),
            ("digest", "d"),
            ("strategy", "round_robin"),
            ("publishedAt", "2026-11-22T10:00:00.5Z"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn a_head_is_read_from_its_fields() {
        let head = head(&fields()).unwrap().unwrap();
        assert_eq!(head.version, TableVersion { epoch: 3, revision: 14 });
        assert_eq!(head.strategy, Strategy::RoundRobin);
        assert_eq!(head.published_at.to_string(), "2026-11-22T10:00:00.5Z");
        assert_eq!(super::head(&Fields::new()), Ok(None));
    }

    #[test]
    fn a_damaged_head_is_told_by_its_field() {
        for name in ["epoch", "revision", "digest", "strategy", "publishedAt"] {
            let mut without = fields();
            without.remove(name);
            assert_eq!(head(&without), Err(format!("the head has no field '{name}'")));
        }
        for (name, value) in
            [("epoch", "x"), ("revision", "-1"), ("strategy", "best"), ("publishedAt", "now")]
        {
            let mut wrong = fields();
            wrong.insert(name.to_owned(), value.to_owned());
            assert!(head(&wrong).is_err(), "{name} = {value}");
        }
    }

    #[test]
    fn a_node_that_is_no_json_is_told_by_its_id() {
        let texts = Fields::from([("ai/gpu-1".to_owned(), "{".to_owned())]);
        assert!(table(&fields(), texts).unwrap_err().starts_with("node ai/gpu-1: "));
    }
}
