//! The store of the standalone gateway: one process, both sides, the same fence as elsewhere.

use super::{Notice, Published, StoreError, TableReader, TableWriter, fence};
use crate::table::{RoutingTable, TableHead};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Clones share one table.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    held: watch::Sender<Option<Arc<RoutingTable>>>,
}

impl MemoryStore {
    /// A store that holds no table.
    pub fn new() -> Self {
        Self::default()
    }

    fn held_head(&self) -> Option<TableHead> {
        self.held.borrow().as_ref().map(|table| table.head.clone())
    }

    fn held_table(&self) -> Option<RoutingTable> {
        self.held.borrow().as_deref().cloned()
    }
}

#[async_trait]
impl TableWriter for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        Ok(self.held_head())
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        Ok(self.held_table())
    }

    async fn publish(
        &self,
        table: &RoutingTable,
        _before: Option<&RoutingTable>,
    ) -> Result<Published, StoreError> {
        let table = Arc::new(table.clone());
        let mut outcome = Published::Accepted;
        self.held.send_if_modified(|held| {
            outcome = fence::admit(held.as_ref().map(|table| &table.head), &table.head);
            let changes = outcome == Published::Accepted;
            if changes {
                *held = Some(table);
            }
            changes
        });
        Ok(outcome)
    }
}

#[async_trait]
impl TableReader for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        Ok(self.held_head())
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        Ok(self.held_table())
    }

    /// Tells of the table that is there, if any, and then of the newest whenever there is room. Nothing is lost here, so
    /// [`Notice::Reconnected`] is never sent. Must be called within a tokio runtime.
    fn notices(&self) -> mpsc::Receiver<Notice> {
        let (notices, receiver) = mpsc::channel(1);
        let mut held = self.held.subscribe();
        held.mark_changed();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = notices.closed() => return,
                    changed = held.changed() => if changed.is_err() { return },
                }
                let version = held.borrow_and_update().as_ref().map(|table| table.head.version);
                if let Some(version) = version
                    && notices.send(Notice::Changed(version)).await.is_err()
                {
                    return;
                }
            }
        });
        receiver
    }
}
