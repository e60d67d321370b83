//! The admin server: metrics, liveness and readiness, on an address of its own.

use crate::readiness::Readiness;
use crate::settings::SettingsError;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus::{Encoder, Registry, TextEncoder};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the admin server tells.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Answered by `/readyz`.
    pub readiness: Readiness,
    /// Answered by `/metrics`.
    pub registry: Registry,
}

/// Binds the admin address.
///
/// # Errors
/// When the address cannot be bound: a wrong setting.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, SettingsError> {
    TcpListener::bind(address).await.map_err(|error| {
        SettingsError::new(
            "AIVONX_ADMIN_LISTEN",
            format!(
                "cannot listen on {address}: {error}; set AIVONX_ADMIN_LISTEN (--admin-listen) to a free address"
            ),
        )
    })
}

impl Admin {
    /// `/livez`, `/readyz` and `/metrics`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    /// Serves the admin routes and `extra` until the token is cancelled.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        extra: Router,
        until: CancellationToken,
    ) -> std::io::Result<()> {
        let server = axum::serve(listener, self.router().merge(extra));
        // Scrapes and probes are short and may be cut: a probe must not hold the end of the program up.
        tokio::select! {
            served = server => served,
            () = until.cancelled() => Ok(()),
        }
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.readiness.is_ready() {
        return "ready\n".into_response();
    }
    let waiting = format!("not ready: {}\n", admin.readiness.pending().join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, waiting).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing_and_liveness_does_not_care() {
        let admin = Admin { readiness: Readiness::new(), registry: Registry::new() };
        let blocker = admin.readiness.blocker("routing table");
        let router = admin.router();
        assert_eq!(ask(&router, "/livez").await, (StatusCode::OK, "ok\n".into()));
        assert_eq!(
            ask(&router, "/readyz").await,
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: routing table\n".into())
        );
        blocker.clear();
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_those_of_the_registry() {
        let admin = Admin { readiness: Readiness::new(), registry: Registry::new() };
        crate::build::register_build_info(&admin.registry, "test").unwrap();
        let (status, text) = ask(&admin.router(), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("aivonx_build_info{program=\"test\""), "{text}");
    }

    #[tokio::test]
    async fn a_taken_address_is_a_setting_to_change() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = bind(taken.local_addr().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("AIVONX_ADMIN_LISTEN"), "{error}");
    }
}
