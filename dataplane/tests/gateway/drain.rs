//! The end of the process.

use crate::kit::{
    Act, Gateway, Node, chunk, entry, eventually, get, last_chunk, limits, ndjson, request, stream,
};
use aivonx_dataplane::Limits;
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

const ASK: &str = r#"{"model":"m"}"#;
const LINE: &str = "{\"done\":false}\n";
const LAST: &str = "{\"done\":true}\n";

async fn gated() -> (Node, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let node = Node::start("a", move |_| {
        vec![ndjson(), chunk(LINE), Act::Gate(inner.clone()), chunk(LAST), last_chunk()]
    })
    .await;
    (node, gate)
}

async fn refuses(gateway: &Gateway) {
    timeout(Duration::from_secs(10), async {
        while TcpStream::connect(gateway.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("connections are refused");
}

#[tokio::test]
async fn streams_finish_and_new_connections_are_refused() {
    let (node, gate) = gated().await;
    let mut gateway = Gateway::with_nodes(&[&node]).await;
    let mut streaming = stream(gateway.address, request(Method::POST, "/api/chat", ASK)).await;
    assert_eq!(streaming.next().await.unwrap().unwrap(), LINE);
    gateway.shutdown.drain();
    refuses(&gateway).await;
    assert_eq!(gateway.readiness.pending(), ["draining"]);
    assert!(!gateway.done.is_finished());
    gate.add_permits(1);
    let rest = streaming.rest().await;
    assert_eq!((rest.text(), rest.whole), (LAST, true));
    timeout(Duration::from_secs(10), &mut gateway.done).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn readiness_is_false_before_connections_are_refused() {
    let slow = Limits { drain_delay: Duration::from_secs(3_600), ..limits() };
    let mut gateway = Gateway::with_entries(slow, vec![]).await;
    assert!(gateway.readiness.is_ready());
    gateway.shutdown.drain();
    eventually("not ready", || !gateway.readiness.is_ready()).await;
    assert_eq!(get(gateway.address, "/").await.status, 200);
    gateway.shutdown.force();
    timeout(Duration::from_secs(10), &mut gateway.done).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn the_deadline_ends_streams_visibly() {
    let (node, _gate) = gated().await;
    let quick = Limits { drain_timeout: Duration::from_millis(50), ..limits() };
    let mut gateway = Gateway::with_entries(quick, vec![entry(&node)]).await;
    let mut streaming = stream(gateway.address, request(Method::POST, "/api/chat", ASK)).await;
    assert_eq!(streaming.next().await.unwrap().unwrap(), LINE);
    gateway.shutdown.drain();
    let rest = streaming.rest().await;
    assert_eq!((rest.text(), rest.whole), ("{\"error\":\"the gateway is shutting down\"}\n", true));
    timeout(Duration::from_secs(10), &mut gateway.done).await.expect("it ends").unwrap();
    assert_eq!(gateway.ended("timed_out"), 1.0);
}

#[tokio::test]
async fn a_second_signal_ends_requests_that_wait_for_a_node() {
    let node = Node::start("a", |_| vec![Act::Hang]).await;
    let mut gateway = Gateway::with_nodes(&[&node]).await;
    let waiting = tokio::spawn(crate::kit::post(gateway.address, "/api/chat", ASK));
    eventually("the node has it", || node.count() == 1).await;
    gateway.shutdown.drain();
    refuses(&gateway).await;
    assert!(!waiting.is_finished());
    gateway.shutdown.force();
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text()), (503, r#"{"error":"the gateway is shutting down"}"#));
    timeout(Duration::from_secs(10), &mut gateway.done).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_end_up() {
    let mut gateway = Gateway::with_entries(limits(), vec![]).await;
    let idle = TcpStream::connect(gateway.address).await.unwrap();
    get(gateway.address, "/").await;
    gateway.shutdown.drain();
    timeout(Duration::from_secs(5), &mut gateway.done).await.expect("it ends").unwrap();
    drop(idle);
}
