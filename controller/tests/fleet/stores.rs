//! Stores that are flushed, stopped, slow or written by others.

use crate::node::StubNode;
use crate::store::{Mood, ScriptedStore};
use crate::system::{System, desired, holds, holds_node, is_serving, until};
use aivonx_controller::fleet::PublishReport;
use aivonx_state::table::Strategy;
use aivonx_state::{NodeId, RoutingTable, TableVersion};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_flushed_store_is_whole_again_within_two_seconds() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    let mut rare = desired("ai/gpu-1", &node.url());
    rare.health.interval = Duration::from_secs(3_600);
    system.fleet.apply(rare);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let flushed = Instant::now();
    store.flush();
    let table = holds(&store, "the table is back", |_| true).await;
    assert!(is_serving(&table.nodes[&NodeId::from("ai/gpu-1")]));
    assert!(flushed.elapsed() < Duration::from_secs(2), "{:?}", flushed.elapsed());
}

#[tokio::test]
async fn a_store_that_went_back_to_an_older_table_gets_the_newest() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(5, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let old = TableVersion { epoch: 4, revision: 99 };
    store
        .put(&RoutingTable::new(old, jiff::Timestamp::UNIX_EPOCH, Strategy::default(), Default::default()))
        .await;
    holds_node(&store, "ai/gpu-1", "the node serves again", is_serving).await;
}

#[tokio::test]
async fn a_table_that_somebody_edited_is_published_over() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let version = store.held().await.unwrap().head.version;
    for edited in [version, TableVersion { revision: version.revision + 50, ..version }] {
        let table =
            RoutingTable::new(edited, jiff::Timestamp::UNIX_EPOCH, Strategy::RoundRobin, Default::default());
        store.put(&table).await;
        let table = holds(&store, "a table above the edited one", |table| table.head.version > edited).await;
        assert!(is_serving(&table.nodes[&NodeId::from("ai/gpu-1")]));
    }
}

#[tokio::test]
async fn a_node_says_that_the_store_is_away_and_when_it_is_back() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    store.be(Mood::Down);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    let seen = system
        .sees("the failure shows", "ai/gpu-1", |seen| matches!(seen.published, PublishReport::Failed { .. }))
        .await;
    let PublishReport::Failed { reason, message } = seen.published else { panic!("not failed") };
    assert_eq!(reason, "StoreUnavailable");
    assert!(message.contains("redis:6379") && message.contains("connection refused"), "{message}");
    let back = Instant::now();
    store.be(Mood::Well);
    system.sees_published("ai/gpu-1").await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    assert!(store.held().await.is_some());
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_no_other_up() {
    for silent_first in [true, false] {
        let (first, second) = (ScriptedStore::new("redis"), ScriptedStore::new("postgres"));
        let node = StubNode::start(&["a:1"]).await;
        let system = System::start(1, &[&first, &second]);
        system.apply("ai/gpu-1", &node);
        system.fleet.listed();
        for store in [&first, &second] {
            holds_node(store, "ai/gpu-1", "the node serves", is_serving).await;
        }
        let (silent, well) = if silent_first { (&first, &second) } else { (&second, &first) };
        silent.be(Mood::Silent);
        let mut heavier = desired("ai/gpu-1", &node.url());
        for weight in 2..6 {
            heavier.weight = weight;
            let applied = Instant::now();
            system.fleet.apply(heavier.clone());
            holds_node(well, "ai/gpu-1", "the new weight", |entry| entry.weight == weight).await;
            assert!(applied.elapsed() < Duration::from_secs(1), "{:?}", applied.elapsed());
        }
        silent.be(Mood::Well);
        holds_node(silent, "ai/gpu-1", "the newest weight", |entry| entry.weight == 5).await;
    }
}

#[tokio::test]
async fn a_quiet_fleet_publishes_once() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.sees_published("ai/gpu-1").await;
    let (publications, hits) = (store.publications(), node.hits("/api/ps"));
    until("ten more reads", async || (node.hits("/api/ps") >= hits + 10).then_some(())).await;
    assert_eq!(store.publications(), publications);
}

#[tokio::test]
async fn a_change_that_is_taken_back_at_once_is_not_published() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.sees_published("ai/gpu-1").await;
    let publications = store.publications();
    let mut changed = desired("ai/gpu-1", &node.url());
    changed.weight = 9;
    system.fleet.apply(changed);
    system.apply("ai/gpu-1", &node);
    system.sees_published("ai/gpu-1").await;
    assert_eq!(store.publications(), publications);
}
