//! Passive health: dead nodes are left out without a controller, and come back.

use crate::kit::{Act, Gateway, Node, entry, json_answer, post};
use aivonx_state::table::NodeEntry;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ASK: &str = r#"{"model":"m"}"#;

#[tokio::test]
async fn a_dead_node_is_left_out_and_comes_back_by_itself() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let preferred = NodeEntry { priority: 1, ..entry(&a) };
    let gateway = Gateway::with_entries(crate::kit::limits(), vec![preferred, entry(&b)]).await;
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "a");
    a.stop().await;
    for _ in 0..10 {
        assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "b");
    }
    let refused = || gateway.metric("aivonx_upstream_errors_total", &[("node", "ai/a")]);
    assert!(refused() <= 2.0, "one failure is enough to leave it out, and a pooled connection may add one");
    a.restart().await;
    asked_again(&gateway, &a, 1).await;
    gateway.idle().await;
}

#[tokio::test]
async fn a_suspect_is_asked_when_nothing_else_is_left() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let preferred = NodeEntry { priority: 1, ..entry(&a) };
    let gateway = Gateway::with_entries(crate::kit::limits(), vec![preferred, entry(&b)]).await;
    a.stop().await;
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "b");
    a.restart().await;
    b.stop().await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!(reply.json()["node"], "a", "the suspect was well again and nobody else was there");
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.header("x-aivonx-attempts"), Some("1"));
}

#[tokio::test]
async fn a_node_that_keeps_breaking_connections_is_left_out() {
    let (a, b) = (Node::start("a", |_| vec![Act::Reset]).await, Node::answering("b").await);
    let preferred = NodeEntry { priority: 1, ..entry(&a) };
    let gateway = Gateway::with_entries(crate::kit::limits(), vec![preferred, entry(&b)]).await;
    for _ in 0..10 {
        assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 200);
    }
    assert_eq!(a.count(), 3);
    a.script(|_| json_answer("{}"));
    // Its health path answers, so it is back soon.
    asked_again(&gateway, &a, 3).await;
}

/// Sends requests until the node has had more than `so_far` of them.
async fn asked_again(gateway: &Gateway, node: &Node, so_far: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.count() <= so_far {
        assert!(Instant::now() < deadline, "the node is still left out");
        assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 200);
        sleep(Duration::from_millis(20)).await;
    }
}
