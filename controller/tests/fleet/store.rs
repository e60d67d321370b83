//! A store with the fence of the real ones, that can be flushed, stopped and asked what it took.

use aivonx_state::store::Published;
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::{RoutingTable, StoreError, TableHead, TableWriter};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::future::pending;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mood {
    #[default]
    Well,
    /// Every call fails.
    Down,
    /// No call returns.
    Silent,
    /// Tables are taken, but what is held cannot be read.
    Unreadable,
}

#[derive(Default)]
struct Inner {
    memory: MemoryStore,
    mood: Mood,
    taken: Vec<RoutingTable>,
    publications: usize,
}

pub struct ScriptedStore {
    name: &'static str,
    inner: Mutex<Inner>,
}

impl ScriptedStore {
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, inner: Mutex::default() })
    }

    pub fn be(&self, mood: Mood) {
        self.inner.lock().mood = mood;
    }

    /// Loses everything, as `FLUSHALL` does.
    pub fn flush(&self) {
        self.inner.lock().memory = MemoryStore::new();
    }

    /// Puts a table in place past the fence.
    pub async fn put(&self, table: &RoutingTable) {
        let memory = MemoryStore::new();
        memory.publish(table, None).await.unwrap();
        self.inner.lock().memory = memory;
    }

    /// What is held, whatever the mood.
    pub async fn held(&self) -> Option<RoutingTable> {
        let memory = self.inner.lock().memory.clone();
        TableWriter::read(&memory).await.unwrap()
    }

    /// All tables that were taken, in their order.
    pub fn taken(&self) -> Vec<RoutingTable> {
        self.inner.lock().taken.clone()
    }

    /// Publications that were tried.
    pub fn publications(&self) -> usize {
        self.inner.lock().publications
    }

    async fn answer(&self, reads: bool) -> Result<MemoryStore, StoreError> {
        let (mood, memory) = {
            let inner = self.inner.lock();
            (inner.mood, inner.memory.clone())
        };
        match mood {
            Mood::Well => Ok(memory),
            Mood::Unreadable if !reads => Ok(memory),
            Mood::Silent => pending().await,
            Mood::Down | Mood::Unreadable => {
                let (store, address) = ("Redis", "redis:6379".to_owned());
                Err(StoreError::Unavailable { store, address, reason: "connection refused".to_owned() })
            }
        }
    }
}

#[async_trait]
impl TableWriter for ScriptedStore {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        TableWriter::head(&self.answer(false).await?).await
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        TableWriter::read(&self.answer(true).await?).await
    }

    async fn publish(
        &self,
        table: &RoutingTable,
        before: Option<&RoutingTable>,
    ) -> Result<Published, StoreError> {
        self.inner.lock().publications += 1;
        let memory = self.answer(false).await?;
        let published = memory.publish(table, before).await?;
        if published == Published::Accepted {
            self.inner.lock().taken.push(table.clone());
        }
        Ok(published)
    }
}
