//! Routing by model, and what is answered from the table.

use crate::kit::{Gateway, Node, entry, get, limits, model, post, request, send};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn requests_go_to_the_node_that_has_the_model() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let mut only_a = entry(&a);
    only_a.models = vec![model("alpha:latest")];
    let mut only_b = entry(&b);
    only_b.models = vec![model("beta:7b")];
    let gateway = Gateway::with_entries(limits(), vec![only_a, only_b]).await;
    for (written, node) in [
        ("alpha", "a"),
        ("Alpha:latest", "a"),
        ("library/alpha", "a"),
        ("registry.ollama.ai/library/alpha:latest", "a"),
        ("beta:7b", "b"),
        ("BETA:7B", "b"),
    ] {
        for path in ["/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"]
            .into_iter()
            .chain(["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
        {
            let reply = post(gateway.address, path, &json!({"model": written, "x": 1}).to_string()).await;
            assert_eq!(
                (reply.status.as_u16(), &reply.json()["node"]),
                (200, &json!(node)),
                "{written} {path}"
            );
            assert_eq!(reply.header("x-aivonx-node"), Some(format!("ai/{node}").as_str()));
            assert_eq!(reply.header("x-aivonx-attempts"), Some("1"));
        }
    }
    let count =
        |model: &str| gateway.metric("aivonx_requests_total", &[("model", model), ("outcome", "completed")]);
    assert_eq!((count("alpha:latest"), count("beta:7b")), (32.0, 16.0));
}

#[tokio::test]
async fn what_a_node_gets_is_what_the_client_sent_without_what_is_not_its_business() {
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let body = "{ \"unknown\" : [1e400, \"\\ud800\"],\n\t\"model\":\"m\" } trailing";
    let mut asked = request(Method::POST, "/api/chat?beta=true&x=%2F", body);
    for (name, value) in [
        ("authorization", "Bearer secret"),
        ("x-api-key", "secret"),
        ("cookie", "session=secret"),
        ("origin", "https://evil.example"),
        ("x-forwarded-prefix", "/x"),
        ("access-control-request-method", "POST"),
        ("connection", "x-hop, keep-alive"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("content-type", "text/plain"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-request-id", "my-id"),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = send(gateway.address, asked).await;
    assert_eq!(reply.header("x-request-id"), Some("my-id"));
    let seen = &node.seen()[0];
    assert_eq!(seen.body, body);
    assert_eq!(seen.path(), "/api/chat?beta=true&x=%2F");
    assert_eq!(seen.header("host"), Some(node.address.to_string().as_str()));
    assert_eq!(seen.header("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(seen.header("content-type"), Some("text/plain"));
    assert_eq!(seen.header("x-request-id"), Some("my-id"));
    assert!(seen.header("traceparent").is_some());
    for gone in [
        "authorization",
        "x-api-key",
        "cookie",
        "origin",
        "x-forwarded-prefix",
        "access-control-request-method",
        "x-hop",
        "te",
        "transfer-encoding",
    ] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert!(!seen.head.contains("secret"));
}

#[tokio::test]
async fn the_fleet_answers_without_touching_a_node() {
    let (a, b) = (Node::answering("a").await, Node::answering("b").await);
    let mut older = entry(&b);
    older.version = Some("0.9.6".into());
    older.models.push(model("n:latest"));
    let gateway = Gateway::with_entries(limits(), vec![entry(&a), older]).await;

    let root = get(gateway.address, "/").await;
    assert_eq!(
        (root.text(), root.header("content-type")),
        ("Ollama is running", Some("text/plain; charset=utf-8"))
    );
    assert_eq!(get(gateway.address, "/api/version").await.json(), json!({"version": "0.9.6"}));
    let tags = get(gateway.address, "/api/tags").await.json();
    assert_eq!(tags["models"].as_array().unwrap().len(), 2);
    assert_eq!(get(gateway.address, "/api/ps").await.json(), json!({"models": []}));
    let models = get(gateway.address, "/v1/models").await.json();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    let names: Vec<_> = tags["models"].as_array().unwrap().iter().map(|model| &model["model"]).collect();
    assert_eq!((&models["object"], ids), (&json!("list"), names));
    for asked in ["m", "m:latest", "library%2Fm"] {
        let model = get(gateway.address, &format!("/v1/models/{asked}")).await.json();
        let id = asked.replace("%2F", "/");
        assert_eq!(
            model,
            json!({"id": id, "object": "model", "created": 1_767_225_600, "owned_by": "library"})
        );
    }
    let nope = get(gateway.address, "/v1/models/nope").await;
    assert_eq!(nope.status, 404);
    assert_eq!(
        nope.json(),
        json!({"error": {"message": "model 'nope:latest' not found", "type": "not_found_error", "param": null, "code": null}})
    );
    for path in ["/", "/api/version", "/api/tags"] {
        let reply = send(gateway.address, request(Method::HEAD, path, "")).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0), "{path}");
        assert_ne!(reply.header("content-length"), Some("0"), "{path}");
    }
    assert_eq!(a.count() + b.count(), 0);
    assert_eq!(gateway.ended("completed"), 11.0);
}

#[tokio::test]
async fn a_fleet_of_no_node_has_empty_lists() {
    let gateway = Gateway::with_entries(limits(), vec![]).await;
    assert_eq!(get(gateway.address, "/api/tags").await.text(), r#"{"models":[]}"#);
    assert_eq!(get(gateway.address, "/api/ps").await.text(), r#"{"models":[]}"#);
    assert_eq!(get(gateway.address, "/v1/models").await.json()["data"], json!([]));
    assert_eq!(get(gateway.address, "/api/version").await.status, 200);
}

#[tokio::test]
async fn http2_without_tls_is_served_too() {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    let node = Node::answering("a").await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    let client: Client<_, Full<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let asked = http::Request::post(format!("http://{}/api/chat", gateway.address))
        .body(Full::from(r#"{"model":"m"}"#))
        .unwrap();
    let response = client.request(asked).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{\"node\":\"a\""));
}
