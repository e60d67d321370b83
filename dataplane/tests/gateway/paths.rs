//! Paths: what is decided on is what is forwarded.

use crate::kit::{Gateway, Node, get, post, raw, request, send};
use http::Method;

#[tokio::test]
async fn management_and_identity_are_refused_however_they_are_spelled() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    for (method, path, what) in [
        (Method::POST, "/api/pull", "pull"),
        (Method::POST, "/api%2fpull", "pull"),
        (Method::POST, "/api/%70ull", "pull"),
        (Method::POST, "//api//pull", "pull"),
        (Method::POST, "/api/chat/../pull", "pull"),
        (Method::POST, "/api/%2e%2e/api/pull", "pull"),
        (Method::POST, "/api/pull/", "pull"),
        (Method::POST, "/api/push", "push"),
        (Method::POST, "/api/create", "create"),
        (Method::POST, "/api/copy", "copy"),
        (Method::DELETE, "/api/delete", "delete"),
        (Method::POST, "/api/blobs/sha256:00", "blob upload"),
        (Method::POST, "/api/me", "account information"),
        (Method::POST, "/api/signout", "sign-out"),
        (Method::DELETE, "/api/user/keys/x", "key removal"),
        (Method::POST, "/api/experimental/web_search", "web search"),
    ] {
        let reply = send(gateway.address, request(method, path, r#"{"model":"m"}"#)).await;
        assert_eq!(reply.status, 403, "{path}");
        assert_eq!(reply.text(), format!("{{\"error\":\"{what} is disabled on this gateway\"}}"), "{path}");
    }
    let blob = send(gateway.address, request(Method::HEAD, "/api/blobs/sha256:00", "")).await;
    assert_eq!((blob.status.as_u16(), blob.body.len()), (403, 0));
    assert_eq!(node.count(), 0);
}

#[tokio::test]
async fn the_canonical_path_is_forwarded() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    for path in ["/api/chat", "//api/chat", "/api/%63hat", "/x/..%2fapi/./chat/", "/api%2Fchat"] {
        assert_eq!(post(gateway.address, path, r#"{"model":"m"}"#).await.status, 200, "{path}");
        assert_eq!(node.seen().last().unwrap().path(), "/api/chat", "{path}");
    }
}

#[tokio::test]
async fn the_rest_is_not_found_or_not_allowed() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    for path in
        ["/API/chat", "/api/chats", "/api", "/metrics", "/v1/responses", "/api%252fpull", "/%ff", "/%00"]
    {
        let reply = post(gateway.address, path, r#"{"model":"m"}"#).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (404, "404 page not found"), "{path}");
        assert_eq!(reply.header("content-type"), Some("text/plain"));
    }
    for (method, path, allow) in [
        (Method::GET, "/api/chat", "POST"),
        (Method::POST, "/api/tags", "GET, HEAD"),
        (Method::DELETE, "/", "GET, HEAD"),
        (Method::GET, "/api/pull", "POST"),
        (Method::OPTIONS, "/v1/chat/completions", "POST"),
        (Method::TRACE, "/api/version", "GET, HEAD"),
    ] {
        let reply = send(gateway.address, request(method, path, "")).await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, Some(allow)), "{path}");
        assert_eq!(reply.text(), "405 method not allowed");
    }
    assert_eq!(get(gateway.address, "/v1/models/").await.status, 200);
    assert_eq!(node.count(), 0);
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let body = r#"{"model":"m"}"#;
    for head in [
        "",
        "Host: a\r\nHost: b\r\nContent-Length: 13\r\n",
        "Host: a\r\nContent-Length: 13\r\nContent-Length: 12\r\n",
        "Host: a\r\nContent-Length: +13\r\n",
        "Host: a\r\nContent-Length: 13, 13\r\n",
        "Host: a\r\nContent-Length : 13\r\n",
        "Host: a\r\nTransfer-Encoding: xchunked\r\n",
        "Host: a\r\nTransfer-Encoding: chunked, identity\r\n",
        "Host: a\r\nX: 1\r\n folded\r\nContent-Length: 13\r\n",
    ] {
        let request = format!("POST /api/chat HTTP/1.1\r\n{head}\r\n{body}");
        let answer = raw(gateway.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    assert_eq!(node.count(), 0);
    // What the parser makes one message of, the node gets as one message, with a length of the gateway's own making.
    for (headers, sent) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", "d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n"),
        ("Content-Length: 13\r\nContent-Length: 13", body),
    ] {
        let request =
            format!("POST /api/chat HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n\r\n{sent}");
        let answer = raw(gateway.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
        let seen = node.seen().pop().unwrap();
        assert_eq!((&seen.body[..], seen.header("transfer-encoding")), (body.as_bytes(), None));
        assert_eq!(seen.head.to_ascii_lowercase().matches("content-length: 13").count(), 1);
    }
}
