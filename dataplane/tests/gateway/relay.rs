//! What a node answers reaches the client as it is, and a broken stream is visibly broken.

use crate::kit::{
    Act, Gateway, Node, chunk, entry, eventually, head, last_chunk, limits, ndjson, post, request, sse,
    stream,
};
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const ASK: &str = r#"{"model":"m"}"#;
const LINE: &str = "{\"response\":\"a\",\"done\":false}\n";
const LAST: &str = "{\"response\":\"\",\"done\":true}\n";

#[tokio::test]
async fn bytes_pass_untouched_however_they_are_cut() {
    let mut body: Vec<u8> = b"{\"response\":\"\xc3\xa9\xff\x00\",\"done\":false}\n\n  ".to_vec();
    body.extend((0..100_000_u32).map(|i| (i % 251) as u8));
    body.extend_from_slice(b"\n{\"done\":true}");
    for size in [1_usize, 7, 4096, 65_537, usize::MAX] {
        let sent = if size == 1 { body[..2_000].to_vec() } else { body.clone() };
        let parts = sent.clone();
        let node = Node::start("a", move |_| {
            let mut acts = vec![ndjson()];
            acts.extend(parts.chunks(size).map(chunk));
            acts.push(last_chunk());
            acts
        })
        .await;
        let gateway = Gateway::with_nodes(&[&node]).await;
        let reply = post(gateway.address, "/api/generate", ASK).await;
        assert!(reply.whole && reply.body == sent, "{size}");
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    }
}

#[tokio::test]
async fn a_line_goes_out_before_the_next_one_is_there() {
    let gate = Arc::new(Semaphore::new(0));
    let node = {
        let gate = gate.clone();
        Node::start("a", move |_| {
            vec![ndjson(), chunk(LINE), Act::Gate(gate.clone()), chunk(LAST), last_chunk()]
        })
        .await
    };
    let gateway = Gateway::with_nodes(&[&node]).await;
    let mut streaming = stream(gateway.address, request(Method::POST, "/api/chat", ASK)).await;
    assert_eq!(streaming.next().await.unwrap().unwrap(), LINE);
    assert_eq!(gateway.metric("aivonx_inflight_requests", &[("node", "ai/a")]), 1.0);
    gate.add_permits(1);
    let rest = streaming.rest().await;
    assert_eq!((rest.text(), rest.whole), (LAST, true));
    gateway.idle().await;
    eventually("counted", || gateway.ended("completed") == 1.0).await;
}

#[tokio::test]
async fn a_cut_ndjson_stream_ends_with_an_error_line() {
    for (cut, end) in [("reset", Act::Reset), ("close", Act::Close)] {
        for sent in [LINE, "{\"response\":\"half", ""] {
            let end = end.clone();
            let node = Node::start("a", move |_| {
                let first = if sent.is_empty() { vec![] } else { vec![chunk(sent)] };
                [vec![ndjson()], first, vec![end.clone()]].concat()
            })
            .await;
            let gateway = Gateway::with_nodes(&[&node]).await;
            let reply = post(gateway.address, "/api/chat", ASK).await;
            assert!(reply.whole && reply.status == 200, "{cut}");
            let text = reply.text();
            assert!(text.starts_with(sent) && text.ends_with('\n'), "{text}");
            let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert!(last["error"].is_string(), "{text}");
            assert!(!text.lines().any(str::is_empty), "{text}");
            eventually("counted", || gateway.ended("upstream_error") == 1.0).await;
            gateway.idle().await;
        }
    }
}

#[tokio::test]
async fn a_cut_event_stream_ends_with_an_error_event() {
    let event = "data: {\"choices\":[]}\n\n";
    for end in [Act::Reset, Act::Close, last_chunk()] {
        let clean = matches!(end, Act::Send(_));
        let node = Node::start("a", move |_| vec![sse(), chunk(event), end.clone()]).await;
        let gateway = Gateway::with_nodes(&[&node]).await;
        let reply = post(gateway.address, "/v1/chat/completions", ASK).await;
        let text = reply.text();
        let error = text.strip_prefix(event).unwrap().strip_prefix("data: ").unwrap();
        let error: serde_json::Value = serde_json::from_str(error.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(error["error"]["type"], "api_error");
        assert!(reply.whole && !text.contains("[DONE]"));
        let outcome = if clean { "upstream_truncated" } else { "upstream_error" };
        eventually("counted", || gateway.ended(outcome) == 1.0).await;
    }
    let whole = format!("{event}data: [DONE]\n\n");
    let sent = whole.clone();
    let node = Node::start("a", move |_| vec![sse(), chunk(&sent), last_chunk()]).await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    assert_eq!(post(gateway.address, "/v1/chat/completions", ASK).await.text(), whole);
}

#[tokio::test]
async fn ndjson_that_ends_without_done_passes_as_it_is() {
    let node = Node::start("a", |_| vec![ndjson(), chunk(LINE), last_chunk()]).await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!((reply.text(), reply.whole), (LINE, true));
    eventually("counted", || gateway.ended("upstream_truncated") == 1.0).await;
}

#[tokio::test]
async fn a_cut_document_breaks_the_connection() {
    let with_length =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"embedding\":[";
    let chunked = [head("application/json"), chunk("{\"embedding\":["), Act::Reset];
    for acts in [vec![Act::Send(with_length.into()), Act::Reset], chunked.to_vec()] {
        let node = Node::start("a", move |_| acts.clone()).await;
        let gateway = Gateway::with_nodes(&[&node]).await;
        let reply = post(gateway.address, "/api/embed", ASK).await;
        assert!(!reply.whole, "{}", reply.text());
        assert_eq!(reply.text(), "{\"embedding\":[");
        eventually("counted", || gateway.ended("upstream_error") == 1.0).await;
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_node_connection_at_once() {
    for acts in [vec![ndjson(), chunk(LINE), Act::Hang], vec![Act::Hang]] {
        let (begins, name) = (acts.len() > 1, if acts.len() > 1 { "response" } else { "before_response" });
        let node = Node::start("a", move |_| acts.clone()).await;
        let gateway = Gateway::with_nodes(&[&node]).await;
        let address = gateway.address;
        let asked = request(Method::POST, "/api/chat", ASK);
        let left = if begins {
            let mut streaming = stream(address, asked).await;
            streaming.next().await.unwrap().unwrap();
            drop(streaming);
            Instant::now()
        } else {
            let asking = tokio::spawn(async move { stream(address, asked).await.status });
            eventually("the node has the request", || node.count() == 1).await;
            asking.abort();
            assert!(asking.await.is_err());
            Instant::now()
        };
        eventually("the node sees it", || !node.left().is_empty()).await;
        let took = node.left()[0].saturating_duration_since(left);
        assert!(took < Duration::from_millis(100), "{took:?}");
        gateway.idle().await;
        eventually("counted", || {
            gateway.metric("aivonx_client_disconnects_total", &[("phase", name)]) == 1.0
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_that_falls_silent_is_given_up_after_the_idle_limit() {
    let node = Node::start("a", |_| vec![ndjson(), chunk(LINE), Act::Hang]).await;
    let mut quick = entry(&node);
    quick.timeouts.idle_ms = 50;
    let gateway = Gateway::with_entries(limits(), vec![quick]).await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert!(
        reply.text().ends_with("{\"error\":\"the node sent nothing for too long\"}\n"),
        "{}",
        reply.text()
    );
    eventually("the node is left", || !node.left().is_empty()).await;
    eventually("counted", || gateway.ended("timed_out") == 1.0).await;
}

#[tokio::test]
async fn answers_of_every_status_pass_with_their_headers() {
    for (status, body) in [
        ("400 Bad Request", "{\"error\":\"{\\\"error\\\":1}\"}"),
        ("501 Not Implemented", "{}"),
        ("204 No Content", ""),
    ] {
        let node = Node::start("a", move |_| {
            let length = if status.starts_with("204") {
                String::new()
            } else {
                format!("content-length: {}\r\n", body.len())
            };
            vec![Act::Send(
                format!("HTTP/1.1 {status}\r\nx-own: 1\r\nkeep-alive: timeout=5\r\n{length}\r\n{body}")
                    .into(),
            )]
        })
        .await;
        let gateway = Gateway::with_nodes(&[&node]).await;
        let reply = post(gateway.address, "/api/chat", ASK).await;
        assert!(status.starts_with(reply.status.as_str()));
        assert_eq!((reply.text(), reply.whole), (body, true));
        assert_eq!((reply.header("x-own"), reply.header("keep-alive")), (Some("1"), None));
        eventually("counted", || gateway.ended("completed") == 1.0).await;
        gateway.idle().await;
    }
}
