//! Every row of the table of errors, without a node being asked.

use crate::kit::{Gateway, Node, entry, get, limits, post};
use aivonx_state::table::{Health, SchedulingState};
use serde_json::{Value, json};

const NATIVE: [&str; 5] = ["/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"];
const OPENAI: [&str; 3] = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"];

fn message(path: &str, body: &Value) -> String {
    let error = if path.starts_with("/v1") { &body["error"]["message"] } else { &body["error"] };
    error.as_str().unwrap_or_else(|| panic!("{path}: {body}")).to_owned()
}

#[tokio::test]
async fn every_error_row() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let check = async |path: &str, body: &str, status: u16, expected: &str| {
        let reply = post(gateway.address, path, body).await;
        assert_eq!(reply.status, status, "{path} {body}");
        assert!(reply.header("content-type").unwrap().starts_with("application/json"));
        assert!(!reply.text().trim_end().contains('\n'), "{path} {body}");
        let told = message(path, &reply.json());
        assert!(
            if expected.is_empty() { !told.is_empty() } else { told == expected },
            "{path} {body}: {told}"
        );
        if path.starts_with("/v1") {
            let kind = if status == 404 { "not_found_error" } else { "invalid_request_error" };
            assert_eq!(reply.json()["error"]["type"], kind, "{path} {body}");
        }
        assert!(reply.header("x-request-id").is_some());
    };
    for path in NATIVE.into_iter().chain(OPENAI) {
        let native = path.starts_with("/api");
        check(path, "", 400, if native { "missing request body" } else { "EOF" }).await;
        check(path, "{\"model\":", 400, "").await;
        check(path, "[]", 400, "").await;
        check(path, r#"{"model":"a/b/c/d"}"#, 400, "invalid model name").await;
        check(
            path,
            r#"{"model":"a","MODEL":"b"}"#,
            400,
            "several keys of the request read as 'model': send it once",
        )
        .await;
        check(
            path,
            r#"{"model":"a:local:cloud"}"#,
            400,
            r#"use either :local or :cloud, not both: "a:local:cloud""#,
        )
        .await;
    }
    for path in ["/api/generate", "/api/embed", "/v1/completions", "/v1/embeddings"] {
        check(path, "{}", 404, "model '' not found").await;
        check(path, "null", 404, "model '' not found").await;
    }
    for path in ["/api/chat", "/api/embeddings", "/api/show", "/v1/chat/completions"] {
        check(path, r#"{"model":""}"#, 400, "model is required").await;
    }
    for path in ["/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions"] {
        check(path, r#"{"model":"foo"}"#, 404, "model 'foo' not found").await;
    }
    for path in ["/api/embed", "/api/embeddings", "/v1/embeddings"] {
        check(path, r#"{"model":"foo"}"#, 404, "model \"foo\" not found, try pulling it first").await;
    }
    check("/api/show", r#"{"name":"foo"}"#, 404, "model 'foo:latest' not found").await;
    assert_eq!(node.count(), 0);
    assert_eq!(gateway.metric("aivonx_requests_total", &[("model", "foo")]), 0.0);
    assert_eq!(gateway.metric("aivonx_requests_total", &[("model", "other"), ("code", "404")]), 8.0);
}

#[tokio::test]
async fn cloud_models_are_refused_in_ollamas_words() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    for path in NATIVE.into_iter().chain(OPENAI) {
        for name in ["gpt-oss:120b-cloud", "m:CLOUD"] {
            let reply = post(gateway.address, path, &json!({"model": name}).to_string()).await;
            assert_eq!(reply.status, 403, "{path}");
            assert!(
                reply.json()["error"].as_str().unwrap().starts_with("ollama cloud is disabled: "),
                "{path}"
            );
        }
    }
    assert_eq!(get(gateway.address, "/v1/models/m:cloud").await.status, 403);
    assert_eq!(node.count(), 0);
}

#[tokio::test]
async fn a_known_model_without_a_node_that_can_serve_it() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let mut sick = entry(&a);
    sick.health = Health::Unhealthy;
    let mut cordoned = entry(&b);
    cordoned.scheduling_state = SchedulingState::Cordoned;
    let gateway = Gateway::with_entries(limits(), vec![sick, cordoned]).await;
    for path in NATIVE.into_iter().chain(OPENAI) {
        let reply = post(gateway.address, path, r#"{"model":"m"}"#).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, Some("5")), "{path}");
        assert_eq!(message(path, &reply.json()), "no healthy nodes available", "{path}");
        assert!(reply.header("x-aivonx-node").is_none());
    }
    // While no node takes requests, nobody can say that a model is not there.
    assert_eq!(post(gateway.address, "/api/chat", r#"{"model":"other"}"#).await.status, 503);
    assert_eq!(a.count() + b.count(), 0);
}

#[tokio::test]
async fn before_the_first_table_it_says_so() {
    let gateway = Gateway::without_table(limits()).await;
    assert!(!gateway.readiness.is_ready());
    assert_eq!(gateway.readiness.pending(), ["routing table"]);
    assert_eq!(get(gateway.address, "/").await.status, 200);
    for reply in [
        get(gateway.address, "/api/tags").await,
        post(gateway.address, "/api/chat", r#"{"model":"m"}"#).await,
    ] {
        assert_eq!((reply.status.as_u16(), reply.text()), (503, r#"{"error":"no routing table yet"}"#));
        assert!(reply.header("retry-after").is_some());
    }
}
