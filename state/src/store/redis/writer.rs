//! The controller's side.

use super::script::{self, Reply};
use super::{RedisStore, corrupt};
use crate::store::{Published, StoreError, TableWriter};
use crate::table::{RoutingTable, TableHead};
use async_trait::async_trait;

#[async_trait]
impl TableWriter for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        self.held_head().await
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        self.held_table().await
    }

    async fn publish(
        &self,
        table: &RoutingTable,
        before: Option<&RoutingTable>,
    ) -> Result<Published, StoreError> {
        if before.is_some()
            && let Reply::Done(published) = self.put(table, before).await?
        {
            return Ok(published);
        }
        match self.put(table, None).await? {
            Reply::Done(published) => Ok(published),
            Reply::OtherBase => Err(corrupt("the publishing script wanted a base for a whole table")),
        }
    }
}

impl RedisStore {
    /// One call of the script. A call whose answer was lost may be repeated: the same table is accepted twice.
    async fn put(&self, table: &RoutingTable, base: Option<&RoutingTable>) -> Result<Reply, StoreError> {
        let call = script::publish(&self.keys, table, base).map_err(corrupt)?;
        let call = &call;
        let words: Vec<String> =
            self.connection.run(|mut manager| async move { call.invoke_async(&mut manager).await }).await?;
        script::reply(&words)
    }
}
