use super::*;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body that is a defect.
struct Defect;

impl Body for Defect {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a defect")
    }
}

fn gateway() -> (Gateway, prometheus::Registry) {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    (Gateway::new(Limits::default(), Arc::default(), metrics, Ending::default()), registry)
}

fn request<B>(method: Method, path: &str, body: B) -> Request<B> {
    Request::builder().method(method).uri(path).header("host", "a").body(body).unwrap()
}

#[tokio::test]
async fn a_panic_ends_the_request_alone_and_is_told_in_the_words_of_its_family() {
    let (gateway, _) = gateway();
    for (path, expected) in [
        ("/api/chat", r#"{"error":"internal error of the gateway"}"#),
        (
            "/v1/chat/completions",
            r#"{"error":{"message":"internal error of the gateway","type":"api_error","param":null,"code":null}}
"#,
        ),
    ] {
        let response = gateway.serve(request(Method::POST, path, Defect)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["connection"], "close");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, expected);
    }
    let well = gateway.serve(request(Method::GET, "/", Full::<Bytes>::default())).await;
    assert_eq!(well.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_is_dropped_half_way_is_a_client_that_left() {
    let (gateway, registry) = gateway();
    let body =
        http_body_util::StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let mut serving = Box::pin(gateway.serve(request(Method::POST, "/api/chat", body)));
    assert!(futures::poll!(serving.as_mut()).is_pending());
    drop(serving);
    let families = registry.gather();
    let disconnects =
        families.iter().find(|family| family.name() == "aivonx_client_disconnects_total").unwrap();
    assert_eq!(disconnects.get_metric()[0].get_label()[0].value(), "before_response");
}

/// What a request costs in memory before its body: the future that hyper keeps for each connection.
#[tokio::test]
async fn the_walk_is_small() {
    let (gateway, _) = gateway();
    let serving = gateway.serve(request(Method::GET, "/", Full::<Bytes>::default()));
    assert!(size_of_val(&serving) <= 4096, "{} bytes", size_of_val(&serving));
    drop(serving);
    assert!(size_of::<Answer>() <= 512, "{} bytes", size_of::<Answer>());
}
