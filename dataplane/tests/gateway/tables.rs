//! Tables come, stores go, requests are served.

use crate::kit::{Gateway, Node, entry, eventually, get, limits, post};
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::table::{RoutingTable, Strategy, TableHead, TableVersion};
use aivonx_state::{Notice, StoreError, TableReader, TableWriter as _};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

const ASK: &str = r#"{"model":"m"}"#;

/// A store that can be away or empty.
struct Moody {
    store: MemoryStore,
    away: AtomicBool,
    empty: AtomicBool,
}

impl Moody {
    fn mood<T>(&self, value: Option<T>) -> Result<Option<T>, StoreError> {
        if self.away.load(Ordering::Relaxed) {
            let address = "nowhere".to_owned();
            return Err(StoreError::Unavailable { store: "moody", address, reason: "away".into() });
        }
        Ok(value.filter(|_| !self.empty.load(Ordering::Relaxed)))
    }
}

#[async_trait]
impl TableReader for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    async fn head(&self) -> Result<Option<TableHead>, StoreError> {
        self.mood(TableReader::head(&self.store).await?)
    }

    async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
        self.mood(TableReader::read(&self.store).await?)
    }

    fn notices(&self) -> mpsc::Receiver<Notice> {
        self.store.notices()
    }
}

#[tokio::test]
async fn serving_goes_on_without_a_store_and_follows_it_when_it_is_back() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let store = MemoryStore::new();
    let moody =
        Arc::new(Moody { store: store.clone(), away: AtomicBool::new(false), empty: AtomicBool::new(false) });
    let gateway = Gateway::with_reader(limits(), store, moody.clone());
    gateway.publish(vec![entry(&a)]).await;
    let node = async || post(gateway.address, "/api/chat", ASK).await.json()["node"].clone();
    for (away, empty) in [(true, false), (false, true)] {
        moody.away.store(away, Ordering::Relaxed);
        moody.empty.store(empty, Ordering::Relaxed);
        let polled = gateway.metric("aivonx_table_age_seconds", &[]) + 1.5;
        eventually("the store was missed", || gateway.metric("aivonx_table_age_seconds", &[]) > polled).await;
        assert_eq!(node().await, "a");
        assert!(gateway.readiness.is_ready());
    }
    moody.empty.store(false, Ordering::Relaxed);
    gateway.publish(vec![entry(&b)]).await;
    assert_eq!(node().await, "b");
    assert!(get(gateway.address, "/api/tags").await.header("x-aivonx-stale").is_none());
}

#[tokio::test]
async fn a_stream_outlives_its_table() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let inner = gate.clone();
    let a = Node::start("a", move |_| {
        use crate::kit::{Act, chunk, last_chunk, ndjson};
        vec![
            ndjson(),
            chunk("{\"done\":false}\n"),
            Act::Gate(inner.clone()),
            chunk("{\"done\":true}\n"),
            last_chunk(),
        ]
    })
    .await;
    let gateway = Gateway::with_nodes(&[&a]).await;
    let streaming =
        crate::kit::stream(gateway.address, crate::kit::request(http::Method::POST, "/api/chat", ASK)).await;
    gateway.publish(vec![]).await;
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 503);
    gate.add_permits(1);
    assert!(streaming.rest().await.whole);
}

#[tokio::test]
async fn a_deposed_leader_changes_nothing() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let gateway = Gateway::with_nodes(&[&a]).await;
    let table = |epoch, revision, entry: aivonx_state::NodeEntry| {
        let nodes = [(entry.id.clone(), entry)].into();
        let version = TableVersion { epoch, revision };
        RoutingTable::new(version, jiff::Timestamp::now(), Strategy::LeastActive, nodes)
    };
    gateway.store.publish(&table(2, 7, entry(&a)), None).await.unwrap();
    eventually("the new leader's table is in use", || gateway.metric("aivonx_table_revision", &[]) == 7.0)
        .await;
    gateway.store.publish(&table(1, 900, entry(&b)), None).await.unwrap();
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "a");
}
