//! What single probes make of strange nodes, and that one node does not harm another.

use crate::node::{Answer, StubNode, list, list_json};
use crate::raw::{self, Then};
use crate::store::ScriptedStore;
use crate::system::{System, desired, holds_node, is_serving, settings, stores_of, until};
use aivonx_controller::address::{Resolve, SystemResolver};
use aivonx_controller::fleet::{FleetSettings, InventoryState, Term};
use aivonx_controller::probe::{FailureReason, ProbeClient};
use aivonx_state::NodeId;
use aivonx_state::table::Health;
use async_trait::async_trait;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(2);
const VERSION: &str = "/api/version";

fn client() -> ProbeClient {
    ProbeClient::new(Arc::new(SystemResolver::default())).unwrap()
}

async fn reason_at(url: &str, path: &str, timeout: Duration) -> FailureReason {
    let url: Url = url.parse().unwrap();
    // Without the probe's own limit some of the servers here would be waited for without end.
    let answer = tokio::time::timeout(TIMEOUT * 5, client().health(&url, path, timeout)).await;
    answer.unwrap().unwrap_err().reason
}

#[tokio::test]
async fn every_failure_has_its_reason() {
    let big = "x".repeat(100 << 10);
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {big}\r\n");
    for (bytes, then, expected) in [
        (raw::ok("Hello"), Then::Close, FailureReason::NotOllama),
        (raw::ok(r#"{"name":"grafana"}"#), Then::Close, FailureReason::NotOllama),
        (raw::ok(&big), Then::Close, FailureReason::NotOllama),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            Then::Close,
            FailureReason::NotOllama,
        ),
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned(), Then::Close, FailureReason::HttpStatus),
        ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_owned(), Then::Close, FailureReason::Unauthorized),
        ("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".to_owned(), Then::Close, FailureReason::Unauthorized),
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), Then::Close, FailureReason::InvalidBody),
        (endless_head, Then::Hold, FailureReason::InvalidBody),
        (String::new(), Then::Close, FailureReason::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{".to_owned(), Then::Close, FailureReason::Reset),
        ("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{".to_owned(), Then::Hold, FailureReason::Timeout),
        (String::new(), Then::Hold, FailureReason::Timeout),
    ] {
        let address = raw::server(bytes.clone(), then).await;
        let timeout = if expected == FailureReason::Timeout { Duration::from_millis(200) } else { TIMEOUT };
        let reason = reason_at(&format!("http://{address}"), VERSION, timeout).await;
        assert_eq!(reason, expected, "{:?}", bytes.chars().take(60).collect::<String>());
    }
}

#[tokio::test]
async fn a_closed_port_refuses_and_a_full_one_times_out_connecting() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    assert_eq!(reason_at(&url, VERSION, TIMEOUT).await, FailureReason::ConnectionRefused);
    // Nobody accepts: once the backlog is full, the kernel answers no further connection.
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        waiting.push(connected.unwrap());
    }
    assert_eq!(reason_at(&url, VERSION, Duration::from_millis(200)).await, FailureReason::ConnectTimeout);
}

#[tokio::test]
async fn plain_http_behind_https_is_a_tls_failure() {
    let node = StubNode::start(&[]).await;
    let url = format!("https://{}", node.address);
    assert_eq!(reason_at(&url, VERSION, TIMEOUT).await, FailureReason::TlsFailed);
}

#[tokio::test]
async fn another_health_path_needs_a_success_and_nothing_more() {
    let node = StubNode::start(&[]).await;
    let url: Url = node.url().parse().unwrap();
    node.answer("/healthz", Answer::Json("x".repeat(1 << 20)));
    assert_eq!(client().health(&url, "/healthz", TIMEOUT).await, Ok(None));
    node.answer("/healthz", Answer::Status(503));
    assert_eq!(
        client().health(&url, "/healthz", TIMEOUT).await.unwrap_err().reason,
        FailureReason::HttpStatus
    );
}

#[tokio::test]
async fn the_version_is_known_whatever_the_health_path() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    node.answer("/healthz", Answer::Json("fine".to_owned()));
    let system = System::start(1, &[&store]);
    let mut other = desired("ai/gpu-1", &node.url());
    other.health.path = "/healthz".to_owned();
    system.fleet.apply(other);
    system.fleet.listed();
    let known = |entry: &aivonx_state::NodeEntry| is_serving(entry) && entry.version.is_some();
    let entry = holds_node(&store, "ai/gpu-1", "the version is known", known).await;
    assert_eq!((entry.version.as_deref(), entry.health_path.as_str()), (Some("0.12.3"), "/healthz"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (node, target) = (StubNode::start(&[]).await, StubNode::start(&[]).await);
    node.answer(VERSION, Answer::Redirect(format!("{}{VERSION}", target.url())));
    assert_eq!(reason_at(&node.url(), VERSION, TIMEOUT).await, FailureReason::Redirected);
    assert_eq!((node.hits(VERSION), target.hits(VERSION)), (1, 0));
}

/// Knows one name.
struct OneName(&'static str, IpAddr);

#[async_trait]
impl Resolve for OneName {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host == self.0 { Ok(vec![self.1]) } else { Err(io::Error::other("no such name")) }
    }
}

#[tokio::test]
async fn an_address_is_judged_after_it_was_resolved() {
    let node = StubNode::start(&[]).await;
    let ask = async |resolves_to: &str, host: &str| {
        let resolver = Arc::new(OneName("gpu.test", resolves_to.parse().unwrap()));
        let url: Url = format!("http://{host}:{}", node.address.port()).parse().unwrap();
        ProbeClient::new(resolver)
            .unwrap()
            .health(&url, VERSION, TIMEOUT)
            .await
            .map_err(|failure| failure.reason)
    };
    assert_eq!(ask("127.0.0.1", "gpu.test").await, Ok(Some("0.12.3".to_owned())));
    for forbidden in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"] {
        assert_eq!(ask(forbidden, "gpu.test").await, Err(FailureReason::AddressForbidden), "{forbidden}");
    }
    assert_eq!(ask("127.0.0.1", "other.test").await, Err(FailureReason::DnsFailed));
    // `0.0.0.0` reaches this very node if it is let through.
    for literal in ["0.0.0.0", "[::]", "169.254.169.254", "metadata.google.internal"] {
        assert_eq!(ask("127.0.0.1", literal).await, Err(FailureReason::AddressForbidden), "{literal}");
    }
    assert_eq!(node.hits(VERSION), 1);
}

#[tokio::test]
async fn a_list_that_is_too_large_or_no_list_keeps_the_node_healthy_and_its_models() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    for (answer, reason) in [
        (Answer::Json(format!(r#"{{"models":[],"x":"{}"}}"#, "x".repeat(9 << 20))), "ResponseTooLarge"),
        (Answer::Json("<html>".to_owned()), "InvalidResponse"),
        (Answer::Status(500), "UnexpectedStatus"),
    ] {
        node.answer("/api/tags", answer);
        let seen = system.sees(reason, "ai/gpu-1", |seen| seen.inventory.reason == reason).await;
        assert_eq!((seen.inventory.state, seen.inventory.models.len()), (InventoryState::Failed, 1));
        assert_eq!(seen.health.state, Health::Healthy);
    }
    assert!(is_serving(&store.held().await.unwrap().nodes[&NodeId::from("ai/gpu-1")]));
}

#[tokio::test]
async fn one_empty_list_is_a_glitch_and_two_are_the_truth() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    let (before, hits) = (store.taken().len(), node.hits("/api/tags"));
    node.answer_once("/api/tags", list(&[]));
    until("three more reads", async || (node.hits("/api/tags") >= hits + 3).then_some(())).await;
    assert!(store.taken()[before..].iter().all(|table| is_serving(&table.nodes[&NodeId::from("ai/gpu-1")])));
    node.answer("/api/tags", list(&[]));
    holds_node(&store, "ai/gpu-1", "it has no models", |entry| entry.models.is_empty()).await;
}

#[tokio::test]
async fn a_stalled_ps_makes_its_part_stale_and_not_the_node_dead() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    node.answer("/api/ps", Answer::Status(500));
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    let entry = holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    assert_eq!(entry.models[0].loaded, None);
    assert_eq!(system.observed("ai/gpu-1").inventory.reason, "LoadedModelsStale");
    // While the list stalls, the health check goes on.
    node.answer("/api/ps", Answer::Silence);
    let stalled = node.hits("/api/ps");
    until("the list stalls", async || (node.hits("/api/ps") > stalled).then_some(())).await;
    let hits = node.hits(VERSION);
    until("five more probes", async || (node.hits(VERSION) >= hits + 5).then_some(())).await;
    assert_eq!(system.observed("ai/gpu-1").health.state, Health::Healthy);
}

#[tokio::test]
async fn a_list_may_take_longer_than_a_health_check() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    node.answer("/api/ps", Answer::Late(Duration::from_millis(800), list_json(&["a:1"])));
    let system = System::start(1, &[&store]);
    let mut hasty = desired("ai/gpu-1", &node.url());
    hasty.health.timeout = Duration::from_millis(400);
    system.fleet.apply(hasty);
    system.fleet.listed();
    let is_loaded = |entry: &aivonx_state::NodeEntry| entry.models.iter().any(|model| model.loaded.is_some());
    holds_node(&store, "ai/gpu-1", "the loaded model is known", is_loaded).await;
}

#[tokio::test]
async fn nodes_that_hang_do_not_delay_those_that_answer() {
    let (store, good) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let settings = FleetSettings { fan_out: 1, ..settings() };
    let system = System::start_with(settings, Some(Term { epoch: 1 }), stores_of(&[&store]));
    system.apply("ai/good", &good);
    let mut hanging = Vec::new();
    for n in 0..3 {
        let node = StubNode::start(&[]).await;
        node.answer(VERSION, Answer::Silence);
        let mut desired = desired(&format!("ai/hangs-{n}"), &node.url());
        desired.health.timeout = Duration::from_secs(1);
        system.fleet.apply(desired);
        hanging.push(node);
    }
    system.fleet.listed();
    for n in 0..3 {
        let id = format!("ai/hangs-{n}");
        system.sees("it is known to hang", &id, |seen| seen.health.reason == "Timeout").await;
    }
    // Each of the hanging nodes would hold the only place for a second.
    let (hits, started) = (good.hits(VERSION), Instant::now());
    until("ten more probes", async || (good.hits(VERSION) >= hits + 10).then_some(())).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_node_that_comes_back_serves_again() {
    let (store, node) = (ScriptedStore::new("redis"), StubNode::start(&["a:1"]).await);
    let system = System::start(1, &[&store]);
    system.apply("ai/gpu-1", &node);
    system.fleet.listed();
    holds_node(&store, "ai/gpu-1", "the node serves", is_serving).await;
    node.kill();
    system.sees_health("ai/gpu-1", Health::Unhealthy).await;
    let listener =
        until("the port is free", async || tokio::net::TcpListener::bind(node.address).await.ok()).await;
    let _again = StubNode::start_at(listener, &["a:1"]);
    holds_node(&store, "ai/gpu-1", "the node serves again", is_serving).await;
}
