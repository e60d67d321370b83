//! Limits that hold against clients.

use crate::kit::{
    Act, Gateway, Node, chunk, entry, eventually, get, limits, ndjson, post, raw, request, send,
};
use aivonx_dataplane::Limits;
use http::Method;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ASK: &str = r#"{"model":"m"}"#;

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let node = Node::answering("a").await;
    let quick = Limits { header_timeout: Duration::from_millis(200), ..limits() };
    let gateway = Gateway::with_entries(quick, vec![entry(&node)]).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "POST /api/chat HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        // Bytes that keep dribbling do not prolong it.
        let (mut read, mut write) = stream.into_split();
        let dribble = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !begun.is_empty() && write.write_all(b"X").await.is_ok() {
                tick.tick().await;
            }
            write
        });
        let closed = tokio::time::timeout(Duration::from_secs(10), read.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{begun:?}");
        dribble.abort();
    }
    assert_eq!(node.count(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_kept() {
    let quick = Limits { idle_timeout: Duration::from_millis(300), ..limits() };
    let gateway = Gateway::with_entries(quick, vec![]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = vec![];
        while !answer.ends_with(b"Ollama is running") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
    }
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await;
    assert_eq!(closed.expect("it is closed").unwrap_or(0), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_and_while_it_is_read() {
    let node = Node::answering("a").await;
    let small = Limits { max_body_bytes: 1_000, ..limits() };
    let gateway = Gateway::with_entries(small, vec![entry(&node)]).await;
    for (path, length) in [("/api/chat", 1_001), ("/v1/chat/completions", 1_u64 << 40)] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let answer = raw(gateway.address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("request body too large"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
    let mut chunked = b"POST /api/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"64\r\n");
        chunked.extend_from_slice(&[b' '; 100]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert!(raw(gateway.address, &chunked).await.starts_with("HTTP/1.1 413 "));
    let fits = format!("{ASK}{}", " ".repeat(1_000 - ASK.len()));
    assert_eq!(post(gateway.address, "/api/chat", &fits).await.status, 200);
    assert_eq!(node.count(), 1);
}

#[tokio::test]
async fn all_bodies_together_are_limited_too() {
    let node = Node::start("a", |_| vec![Act::Hang]).await;
    let small = Limits { max_held_bytes: 20, ..limits() };
    let gateway = Gateway::with_entries(small, vec![entry(&node)]).await;
    let first = tokio::spawn(post(gateway.address, "/api/chat", ASK));
    eventually("the first is under way", || node.count() == 1).await;
    let second = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!((second.status.as_u16(), second.header("retry-after")), (503, Some("1")));
    first.abort();
    gateway.idle().await;
    node.script(|_| crate::kit::json_answer("{}"));
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 200);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let node = Node::answering("a").await;
    let quick = Limits { body_timeout: Duration::from_millis(100), ..limits() };
    let gateway = Gateway::with_entries(quick, vec![entry(&node)]).await;
    let stalled = b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\n{\"mod";
    assert!(raw(gateway.address, stalled).await.starts_with("HTTP/1.1 408 "));
    assert_eq!((node.count(), gateway.ended("timed_out")), (0, 1.0));
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let mut asked = request(Method::POST, "/api/chat", ASK);
    asked.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(send(gateway.address, asked).await.status, 415);
    assert_eq!(node.count(), 0);
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 100 "));
    stream.write_all(ASK.as_bytes()).await.unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("HTTP/1.1 200 "));
    assert_eq!(node.seen()[0].header("expect"), None);
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_room() {
    let one = Limits { max_connections: 1, ..limits() };
    let gateway = Gateway::with_entries(one, vec![]).await;
    let mut first = TcpStream::connect(gateway.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = vec![];
    while !answer.ends_with(b"running") {
        assert_ne!(first.read_buf(&mut answer).await.unwrap(), 0);
    }
    let waiting = tokio::spawn(get(gateway.address, "/api/version"));
    let second = tokio::time::timeout(Duration::from_millis(200), async {
        while gateway.metric("aivonx_requests_total", &[("route", "/api/version")]) == 0.0 {
            tokio::task::yield_now().await;
        }
    });
    assert!(second.await.is_err(), "it was served beside the first");
    drop(first);
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_connection_and_frees_the_slot() {
    let node = Node::start("a", |_| {
        let mut acts = vec![ndjson()];
        acts.extend((0..400).map(|_| chunk(vec![b'x'; 64 << 10])));
        acts.push(Act::Hang);
        acts
    })
    .await;
    let quick = Limits { write_timeout: Duration::from_millis(200), ..limits() };
    let gateway = Gateway::with_entries(quick, vec![entry(&node)]).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let ask = format!("POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{ASK}", ASK.len());
    client.write_all(ask.as_bytes()).await.unwrap();
    eventually("the node has it", || node.count() == 1).await;
    gateway.idle().await;
    eventually("counted", || gateway.ended("client_gone") == 1.0).await;
}

#[tokio::test]
async fn too_many_headers_and_too_long_heads_are_refused() {
    let gateway = Gateway::with_entries(limits(), vec![]).await;
    let many: String = (0..101).map(|i| format!("X-{i}: 1\r\n")).collect();
    let answer = raw(gateway.address, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let answer = raw(gateway.address, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
