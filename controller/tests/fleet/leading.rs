//! What a leader does with its nodes, and what happens when the leader changes.

use crate::node::{Answer, StubNode, list};
use crate::store::{Mood, ScriptedStore};
use crate::system::{System, desired, holds, holds_node, is_serving, settings, stores_of, until};
use aivonx_controller::fleet::{FleetSettings, PublishReport, Stores, Term};
use aivonx_state::store::history::MemoryHistory;
use aivonx_state::table::{Health, Strategy};
use aivonx_state::{NodeId, RoutingTable, TableVersion};
use prometheus::TextEncoder;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_healthy_node_comes_into_the_table_with_its_models() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["llama3.2:latest", "b:1"]).await);
    node.answer("/api/ps", list(&["b:1"]));
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    let entry = holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let models: Vec<_> =
        entry.models.iter().map(|model| (model.name.as_str(), model.loaded.is_some())).collect();
    assert_eq!(models, [("b:1", true), ("llama3.2:latest", false)]);
    assert_eq!((entry.url, entry.version.as_deref()), (node.url(), Some("0.12.3")));
    let seen = system.sees_published("ai/gpu-1").await;
    assert_eq!((seen.health.reason, seen.inventory.reason), ("Reachable", "Synced"));
    assert!(store.held().await.unwrap().is_whole());
}

#[tokio::test]
async fn a_killed_node_is_unhealthy_in_the_table_within_its_thresholds() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    let mut slow = desired("ai/gpu-1", &node.url());
    slow.health.interval = Duration::from_secs(2);
    system.fleet.apply(slow);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let killed = Instant::now();
    node.kill();
    let entry =
        holds_node(&store, "ai/gpu-1", "it is unhealthy", |entry| entry.health == Health::Unhealthy).await;
    assert!(killed.elapsed() < Duration::from_secs(6), "three intervals: {:?}", killed.elapsed());
    assert_eq!(entry.reason.as_deref(), Some("ConnectionRefused"));
    assert_eq!(entry.models.len(), 1, "its models are kept");
    let transition = system.observed("ai/gpu-1").last_transition.unwrap();
    assert_eq!((transition.from, transition.to), (Health::Healthy, Health::Unhealthy));
}

#[tokio::test]
async fn a_removed_node_leaves_the_table_and_is_probed_no_more() {
    let (store, node, other) =
        (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await, StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.apply("ai/gpu-2", &other);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.fleet.remove(&NodeId::from("ai/gpu-1"));
    holds(&store, "it is gone", |table| !table.nodes.contains_key(&NodeId::from("ai/gpu-1"))).await;
    assert_eq!(system.fleet.observation(&NodeId::from("ai/gpu-1")), None);
    let hits = node.hits("/api/version");
    let others = other.hits("/api/version");
    until("the other node was probed five more times", async || {
        (other.hits("/api/version") >= others + 5).then_some(())
    })
    .await;
    assert!(node.hits("/api/version") <= hits + 1, "one probe may have been under way");
}

#[tokio::test]
async fn nothing_is_published_before_the_source_has_listed_all() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    until("the node was probed five times", async || (node.hits("/api/version") >= 5).then_some(())).await;
    assert_eq!((store.publications(), system.observed("ai/gpu-1").published), (0, PublishReport::Pending));
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
}

#[tokio::test]
async fn without_a_term_nothing_is_probed_or_published() {
    let (store, node, witness) =
        (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await, StubNode::start(&["a:1"]).await);
    let follower = System::start_with(settings(), None, stores_of(&[&store]));
    follower.apply("ai/gpu-1", &node);
    follower.fleet.listed();
    let leader = System::start(1, &[]);
    leader.apply("ai/witness", &witness);
    until("another fleet probed five times", async || (witness.hits("/api/version") >= 5).then_some(()))
        .await;
    assert_eq!((node.hits("/api/version"), store.publications()), (0, 0));
    follower.term.send_replace(Some(Term { epoch: 1 }));
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
}

/// Runs a leader until the node serves, and stops it.
async fn publish_once(store: &Arc<ScriptedStore>, node: &StubNode) {
    let system = System::start(1, &[store]);
    system.apply("ai/gpu-1", node);
    system.fleet.listed();
    holds_node(store, "ai/gpu-1", "the node serves", is_serving).await;
    system.stop().await;
}

fn never_missed_the_node(store: &ScriptedStore) {
    for table in store.taken().iter().skip_while(|table| !table.nodes.values().any(is_serving)) {
        assert!(
            table.nodes.get(&NodeId::from("ai/gpu-1")).is_some_and(is_serving),
            "not in {}",
            table.head.version
        );
    }
}

#[tokio::test]
async fn a_change_of_leader_empties_nothing() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    publish_once(&store, &node).await;
    let first = store.held().await.unwrap().head.version;
    // The new leader hears nothing from the node for now; neither has the source listed it yet.
    node.answer_once("/api/version", Answer::Silence);
    let system = System::start(2, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    let table = holds(&store, "the new leader has published", |table| table.head.version.epoch == 2).await;
    assert!(table.head.version.revision > first.revision, "the revision goes on");
    assert_eq!(system.observed("ai/gpu-1").health.reason, "Reachable", "no change of status either");
    let seen = node.hits("/api/tags");
    until("the new leader has read the lists", async || (node.hits("/api/tags") > seen + 1).then_some(()))
        .await;
    never_missed_the_node(&store);
}

#[tokio::test]
async fn observations_are_current_once_the_stored_table_was_taken_over() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    publish_once(&store, &node).await;
    node.answer("/api/version", Answer::Silence);
    let system = System::start_with(settings(), None, stores_of(&[&store]));
    system.apply("ai/gpu-1", &node);
    assert!(!system.fleet.is_current());
    let mut changes = system.fleet.changes();
    system.term.send_replace(Some(Term { epoch: 2 }));
    assert_eq!(changes.recv().await.unwrap(), NodeId::from("ai/gpu-1"));
    assert!(system.fleet.is_current());
    assert_eq!(system.observed("ai/gpu-1").health.state, Health::Healthy);
    system.term.send_replace(None);
    until("they are not after the term", async || (!system.fleet.is_current()).then_some(())).await;
}

#[tokio::test]
async fn a_leader_that_cannot_read_what_is_stored_asks_the_nodes_first() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    publish_once(&store, &node).await;
    let late = Answer::Late(Duration::from_millis(500), r#"{"version":"0.12.3"}"#.to_owned());
    node.answer("/api/version", late);
    store.be(Mood::Unreadable);
    let system = System::start(2, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    let mut changes = system.fleet.changes();
    assert_eq!(changes.recv().await.unwrap(), NodeId::from("ai/gpu-1"));
    assert_eq!(
        system.observed("ai/gpu-1").health.state,
        Health::Healthy,
        "nothing is told before it is known"
    );
    let table = holds(&store, "the new leader has published", |table| table.head.version.epoch == 2).await;
    assert_eq!(table.nodes[&NodeId::from("ai/gpu-1")].health, Health::Healthy);
    assert!(system.fleet.is_current());
}

#[tokio::test]
async fn a_leader_that_cannot_read_what_is_stored_does_not_wait_for_ever() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    node.answer("/api/version", Answer::Silence);
    store.be(Mood::Unreadable);
    let settings = FleetSettings { settle: Duration::from_millis(300), ..settings() };
    let system = System::start_with(settings, Some(Term { epoch: 1 }), stores_of(&[&store]));
    let mut patient = desired("ai/gpu-1", &node.url());
    patient.health.timeout = Duration::from_secs(20);
    system.fleet.apply(patient);
    system.fleet.listed();
    let table = holds(&store, "a table", |_| true).await;
    assert_eq!(table.nodes[&NodeId::from("ai/gpu-1")].health, Health::Unknown);
    assert_eq!(system.observed("ai/gpu-1").health.reason, "Pending", "its first probe has not ended");
}

#[tokio::test]
async fn the_durable_store_seeds_when_the_fast_one_was_flushed() {
    let (redis, postgres) = (ScriptedStore::new("redis"), ScriptedStore::new("postgres"));
    let node = StubNode::start(&["a:1"]).await;
    publish_once(&postgres, &node).await;
    node.answer("/api/version", Answer::Silence);
    let system = System::start(2, &[&redis, &postgres]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&redis, "ai/gpu-1", "the node serves", is_serving).await;
}

fn foreign(version: TableVersion) -> RoutingTable {
    RoutingTable::new(version, jiff::Timestamp::UNIX_EPOCH, Strategy::RoundRobin, BTreeMap::new())
}

#[tokio::test]
async fn a_fenced_leader_stops_until_a_later_term() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let later = foreign(TableVersion { epoch: 9, revision: 1 });
    store.put(&later).await;
    let taken = store.taken().len();
    let fenced = system.fleet.fenced();
    let fence = until("the fence is told", async || *fenced.borrow()).await;
    assert_eq!((fence.term, fence.held, fence.store), (Term { epoch: 1 }, later.head.version, "redis"));

    // What changes now stays here: the next thing that the store takes is of the later term.
    node.kill();
    system.fleet.remove(&NodeId::from("ai/gpu-1"));
    system.term.send_replace(None);
    system.term.send_replace(Some(Term { epoch: 1 }));
    tokio::task::yield_now().await;
    system.term.send_replace(Some(Term { epoch: 10 }));
    holds(&store, "the later term has published", |table| table.head.version.epoch == 10).await;
    assert_eq!(*fenced.borrow(), None);
    let epochs: Vec<_> = store.taken()[taken..].iter().map(|table| table.head.version.epoch).collect();
    assert!(epochs.iter().all(|epoch| *epoch == 10), "{epochs:?}");
}

#[tokio::test]
async fn a_leader_of_an_old_epoch_publishes_nothing_at_all() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let later = foreign(TableVersion { epoch: 9, revision: 1 });
    store.put(&later).await;
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    let fenced = system.fleet.fenced();
    until("the fence is told", async || *fenced.borrow()).await;
    assert_eq!((store.publications(), node.hits("/api/version")), (0, 0));
}

#[tokio::test]
async fn a_leader_that_lost_its_term_stops_and_takes_up_again() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.term.send_replace(None);
    system.term.send_replace(Some(Term { epoch: 3 }));
    holds(&store, "the next term has published", |table| table.head.version.epoch == 3).await;
    never_missed_the_node(&store);
}

#[tokio::test]
async fn what_a_leader_observed_itself_is_not_undone_by_its_own_older_table() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.sees_published("ai/gpu-1").await;
    store.be(Mood::Down);
    node.kill();
    system.sees_health("ai/gpu-1", Health::Unhealthy).await;
    system.term.send_replace(None);
    until("the term is over", async || (!system.fleet.is_current()).then_some(())).await;
    store.be(Mood::Well);
    system.term.send_replace(Some(Term { epoch: 2 }));
    let table = holds(&store, "the next term has published", |table| table.head.version.epoch == 2).await;
    assert_eq!(table.nodes[&NodeId::from("ai/gpu-1")].health, Health::Unhealthy);
    let first = store.taken().into_iter().find(|table| table.head.version.epoch == 2).unwrap();
    assert_eq!(first.nodes[&NodeId::from("ai/gpu-1")].health, Health::Unhealthy);
}

#[tokio::test]
async fn the_last_term_stands_when_its_sender_is_gone() {
    let (store, node) = (ScriptedStore::new("memory"), StubNode::start(&["a:1"]).await);
    let mut system = System::start(1, &[&store]);
    system.term = tokio::sync::watch::channel(None).0;
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
}

#[tokio::test]
async fn history_gets_transitions_and_inventories_and_forgets_removed_nodes() {
    let history = Arc::new(MemoryHistory::new(100));
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1", "b:1"]).await);
    let stores = Stores { history: Some(Arc::clone(&history) as _), ..stores_of(&[&store]) };
    let system = System::start_with(settings(), Some(Term { epoch: 1 }), stores);
    let mut filtered = desired("ai/gpu-1", &node.url());
    filtered.models.deny = vec!["b*".to_owned()];
    system.fleet.apply(filtered);
    system.fleet.listed();
    let id = NodeId::from("ai/gpu-1");
    let on_disk = until("the inventory is written", async || history.inventory(&id)).await;
    assert_eq!(on_disk.len(), 2, "what is on disk, whatever the filter");
    node.kill();
    let transitions = until("both transitions are written", async || {
        Some(history.transitions(&id)).filter(|transitions| transitions.len() == 2)
    })
    .await;
    assert_eq!((transitions[0].to, transitions[1].to), (Health::Unhealthy, Health::Healthy));
    assert_eq!(transitions[0].reason, "ConnectionRefused");
    system.fleet.remove(&id);
    until("the inventory is forgotten", async || history.inventory(&id).is_none().then_some(())).await;
}

#[tokio::test]
async fn a_new_leader_forgets_nodes_that_were_removed_while_nobody_led() {
    let history = Arc::new(MemoryHistory::new(100));
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    publish_once(&store, &node).await;
    let id = NodeId::from("ai/gpu-1");
    aivonx_state::HistoryWriter::replace_inventory(&*history, &id, &[]).await.unwrap();
    let stores = Stores { history: Some(Arc::clone(&history) as _), ..stores_of(&[&store]) };
    let system = System::start_with(settings(), Some(Term { epoch: 2 }), stores);
    system.fleet.listed();
    holds(&store, "the node is gone", |table| table.nodes.is_empty()).await;
    until("its inventory is forgotten", async || history.inventory(&id).is_none().then_some(())).await;
}

#[tokio::test]
async fn changes_are_announced_and_metrics_follow() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(4, &[&store]);
    let mut changes = system.fleet.changes();
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    assert_eq!(changes.recv().await.unwrap(), NodeId::from("ai/gpu-1"));
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.sees_published("ai/gpu-1").await;
    let scrape = || TextEncoder::new().encode_to_string(&system.registry.gather()).unwrap();
    let up = r#"aivonx_node_up{namespace="ai",node="gpu-1"} 1"#;
    let text = scrape();
    for line in [up, r#"aivonx_store_up{store="redis"} 1"#, "aivonx_published_epoch 4"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.contains(r#"aivonx_node_models{state="available"} 1"#), "{text}");
    system.fleet.remove(&NodeId::from("ai/gpu-1"));
    until("the series is gone", async || (!scrape().contains("aivonx_node_up{")).then_some(())).await;
}

#[tokio::test]
async fn a_refresh_probes_at_once() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    let mut rare = desired("ai/gpu-1", &node.url());
    rare.health.interval = Duration::from_secs(3_600);
    system.fleet.apply(rare.clone());
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    node.answer("/api/tags", list(&["a:1", "new:1"]));
    system.fleet.refresh(Some(&rare.id));
    holds_node(&store, "ai/gpu-1", "the new model", |entry| entry.models.len() == 2).await;
    node.answer("/api/tags", list(&["a:1"]));
    rare.refresh = Some("2026-11-22T10:00:00Z".to_owned());
    system.fleet.apply(rare);
    holds_node(&store, "ai/gpu-1", "one model", |entry| entry.models.len() == 1).await;
}

#[tokio::test]
async fn a_changed_address_is_probed_anew() {
    let (store, old, new) =
        (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await, StubNode::start(&["b:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &old);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    system.apply("ai/gpu-1", &new);
    let entry = holds_node(&store, "ai/gpu-1", "the new node serves", |entry| {
        is_serving(entry) && entry.url == new.url()
    })
    .await;
    assert_eq!(entry.models[0].name, "b:1");
}
