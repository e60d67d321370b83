//! Slots: held to the end of the stream, freed in every way it can end, and never more than a node has.

use crate::kit::{
    Act, Gateway, Node, chunk, entry, eventually, json_answer, last_chunk, limits, model, ndjson, post,
    request, stream,
};
use aivonx_state::table::Strategy;
use http::Method;
use std::sync::Arc;
use tokio::sync::Semaphore;

const ASK: &str = r#"{"model":"m"}"#;

async fn held() -> (Node, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let node = Node::start("a", move |_| {
        vec![
            ndjson(),
            chunk("{\"done\":false}\n"),
            Act::Gate(inner.clone()),
            chunk("{\"done\":true}\n"),
            last_chunk(),
        ]
    })
    .await;
    (node, gate)
}

#[tokio::test]
async fn a_full_node_is_busy_until_a_stream_ends() {
    let (node, gate) = held().await;
    let mut two_slots = entry(&node);
    two_slots.max_concurrent = 2;
    let gateway = Gateway::with_entries(limits(), vec![two_slots]).await;
    let ask = || stream(gateway.address, request(Method::POST, "/api/chat", ASK));
    let (first, second) = (ask().await, ask().await);
    for path in ["/api/chat", "/v1/chat/completions"] {
        let busy = post(gateway.address, path, ASK).await;
        assert_eq!((busy.status.as_u16(), busy.header("retry-after")), (503, Some("1")));
        assert!(busy.text().contains("server busy, please try again.  maximum pending requests exceeded"));
    }
    assert_eq!(node.count(), 2);
    gate.add_permits(2);
    assert!(first.rest().await.whole && second.rest().await.whole);
    gateway.idle().await;
    gate.add_permits(1);
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 200);
}

#[tokio::test]
async fn a_limit_for_a_model_leaves_the_others_alone() {
    let (node, gate) = held().await;
    let mut one_each = entry(&node);
    one_each.max_concurrent_per_model = 1;
    one_each.models.push(model("n:latest"));
    let gateway = Gateway::with_entries(limits(), vec![one_each]).await;
    let ask = |model: &str| {
        stream(gateway.address, request(Method::POST, "/api/chat", format!("{{\"model\":\"{model}\"}}")))
    };
    let (m, n) = (ask("m").await, ask("n").await);
    assert_eq!((m.status.as_u16(), n.status.as_u16()), (200, 200));
    assert_eq!(ask("m").await.status, 503);
    gate.add_permits(2);
    assert!(m.rest().await.whole && n.rest().await.whole);
    gateway.idle().await;
}

#[tokio::test]
async fn requests_under_way_count_across_tables() {
    let (node, gate) = held().await;
    let mut one_slot = entry(&node);
    one_slot.max_concurrent = 1;
    let gateway = Gateway::with_entries(limits(), vec![one_slot.clone()]).await;
    let streaming = stream(gateway.address, request(Method::POST, "/api/chat", ASK)).await;
    one_slot.weight = 7;
    gateway.publish(vec![one_slot]).await;
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 503);
    gate.add_permits(1);
    assert!(streaming.rest().await.whole);
    gateway.idle().await;
}

#[tokio::test]
async fn load_is_spread_over_the_nodes() {
    let gate = Arc::new(Semaphore::new(0));
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let inner = gate.clone();
        nodes.push(
            Node::start(name, move |_| [vec![Act::Gate(inner.clone())], json_answer("{}")].concat()).await,
        );
    }
    for (strategy, weights, expected) in [
        (Strategy::LeastActive, [1, 1, 1], [4, 4, 4]),
        (Strategy::LeastActive, [2, 1, 1], [6, 3, 3]),
        (Strategy::RoundRobin, [2, 1, 1], [6, 3, 3]),
        (Strategy::LowestLatency, [1, 1, 1], [4, 4, 4]),
    ] {
        let entries = nodes.iter().zip(weights).map(|(node, weight)| {
            let mut entry = entry(node);
            entry.weight = weight;
            entry
        });
        let gateway = Gateway::without_table(limits()).await;
        gateway.publish_with(strategy, entries.collect()).await;
        let before: Vec<_> = nodes.iter().map(Node::count).collect();
        let mut asking = Vec::new();
        for sent in 1..=12 {
            asking.push(tokio::spawn(post(gateway.address, "/api/chat", ASK)));
            eventually("it is under way", || {
                gateway.metric("aivonx_inflight_requests", &[]) == f64::from(sent)
            })
            .await;
        }
        let count =
            || nodes.iter().zip(&before).map(|(node, before)| node.count() - before).collect::<Vec<_>>();
        eventually("all have arrived", || count().iter().sum::<usize>() == 12).await;
        assert_eq!(count(), expected, "{strategy:?} {weights:?}");
        gate.add_permits(12);
        for asking in asking {
            assert_eq!(asking.await.unwrap().status, 200);
        }
        gateway.idle().await;
    }
}

#[tokio::test]
async fn the_series_of_a_node_and_a_model_go_with_them() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 200);
    eventually("counted", || gateway.ended("completed") == 1.0).await;
    assert!(gateway.metrics().contains("m:latest") && gateway.metrics().contains("ai/a"));
    gateway.publish(vec![]).await;
    assert!(!gateway.metrics().contains("m:latest") && !gateway.metrics().contains("ai/a"));
}
