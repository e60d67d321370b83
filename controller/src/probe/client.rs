//! Asks one node one question, within a time and a size.

use super::failure::{FailureReason, ProbeFailure};
use super::wire::{self, LoadedModel, ModelList};
use crate::address::{GuardedConnector, Resolve};
use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The path that tells Ollama apart from other servers.
pub const VERSION_PATH: &str = "/api/version";
/// Connecting may take this long at most, whatever the probe's own timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The body of a health check.
const MAX_HEALTH_BODY: usize = 64 << 10;
/// The body of a model list.
const MAX_LIST_BODY: usize = 8 << 20;
/// The head of any answer.
const MAX_HEAD: usize = 64 << 10;
/// A node stalls `/api/ps` while it frees the memory of a graphics card, which can take several seconds.
const MIN_LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP client of the probes. Cheap to clone.
///
/// It follows no redirect, knows no proxy, and opens connections only to addresses where a node may be.
#[derive(Clone)]
pub struct ProbeClient {
    http: Client<HttpsConnector<GuardedConnector>, Empty<Bytes>>,
}

impl ProbeClient {
    /// A client that looks names up with `resolver` and trusts the system's certificate authorities.
    pub fn new(resolver: Arc<dyn Resolve>) -> Result<Self, rustls::Error> {
        let connector =
            HttpsConnector::from((GuardedConnector::new(resolver, CONNECT_TIMEOUT), tls_config()?));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            // One for the health check and two for the lists, which run at once.
            .pool_max_idle_per_host(3)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(Self { http })
    }

    /// Asks the node's health path. On [`VERSION_PATH`] the answer must be Ollama's and gives its version; on another path any
    /// 2xx answer is a success and gives nothing.
    pub async fn health(
        &self,
        node: &Url,
        path: &str,
        timeout: Duration,
    ) -> Result<Option<String>, ProbeFailure> {
        if path == VERSION_PATH {
            return self.version(node, timeout).await.map(Some);
        }
        match self.get(node, path, MAX_HEALTH_BODY, timeout).await {
            // What a foreign health page says is of no interest, nor is its length.
            Ok(_) => Ok(None),
            Err(failure) if failure.reason == FailureReason::TooLarge => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Asks the node for its version.
    pub async fn version(&self, node: &Url, timeout: Duration) -> Result<String, ProbeFailure> {
        let not_ollama =
            |what: &str| ProbeFailure::new(FailureReason::NotOllama, format!("{VERSION_PATH} {what}"));
        match self.get(node, VERSION_PATH, MAX_HEALTH_BODY, timeout).await {
            Ok(body) => wire::version(&body)
                .ok_or_else(|| not_ollama("does not answer with the JSON {\"version\": …}")),
            Err(failure) if failure.reason == FailureReason::TooLarge => {
                Err(not_ollama("answers at great length"))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Asks the node for the models on its disk.
    pub async fn tags(&self, node: &Url, timeout: Duration) -> Result<ModelList, ProbeFailure> {
        let body = self.get(node, "/api/tags", MAX_LIST_BODY, timeout.max(MIN_LIST_TIMEOUT)).await?;
        wire::tags(&body).map_err(|error| invalid("/api/tags", &error))
    }

    /// Asks the node for the models in its memory. A failure makes that knowledge stale and says nothing of the node.
    pub async fn ps(&self, node: &Url, timeout: Duration) -> Result<Vec<LoadedModel>, ProbeFailure> {
        let body = self.get(node, "/api/ps", MAX_LIST_BODY, timeout.max(MIN_LIST_TIMEOUT)).await?;
        wire::ps(&body).map_err(|error| invalid("/api/ps", &error))
    }

    async fn get(
        &self,
        node: &Url,
        path: &str,
        limit: usize,
        timeout: Duration,
    ) -> Result<Bytes, ProbeFailure> {
        let mut request = request(node, path)?;
        let connection = capture_connection(&mut request);
        let connected = || connection.connection_metadata().is_some();
        let exchange = async {
            let response = self
                .http
                .request(request)
                .await
                .map_err(|error| ProbeFailure::from_error(&error, connected()))?;
            check_status(path, response.status())?;
            collect(path, response.into_body(), limit).await
        };
        match tokio::time::timeout(timeout, Box::pin(exchange)).await {
            Ok(outcome) => outcome,
            Err(_) if connected() => {
                let message = format!("{path} did not answer within {timeout:?}");
                Err(ProbeFailure::new(FailureReason::Timeout, message))
            }
            Err(_) => Err(ProbeFailure::new(
                FailureReason::ConnectTimeout,
                format!("no connection within {timeout:?}"),
            )),
        }
    }
}

fn request(node: &Url, path: &str) -> Result<Request<Empty<Bytes>>, ProbeFailure> {
    const AGENT: HeaderValue =
        HeaderValue::from_static(concat!("aivonx-controller/", env!("CARGO_PKG_VERSION")));
    Request::get(format!("{}{path}", node.origin().ascii_serialization()))
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .body(Empty::new())
        .map_err(|error| {
            ProbeFailure::new(FailureReason::ConnectionFailed, format!("the address is unusable: {error}"))
        })
}

fn check_status(path: &str, status: StatusCode) -> Result<(), ProbeFailure> {
    let reason = match status.as_u16() {
        200..=299 => return Ok(()),
        401 | 403 => FailureReason::Unauthorized,
        300..=399 => FailureReason::Redirected,
        404 | 405 if path == VERSION_PATH => FailureReason::NotOllama,
        _ => FailureReason::HttpStatus,
    };
    Err(ProbeFailure::new(reason, format!("{path} answered with status {}", status.as_u16())))
}

async fn collect(path: &str, body: Incoming, limit: usize) -> Result<Bytes, ProbeFailure> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ProbeFailure::new(
            FailureReason::TooLarge,
            format!("the answer of {path} is over {limit} bytes"),
        )),
        Err(error) => Err(ProbeFailure::from_error(&*error, true)),
    }
}

fn invalid(path: &str, error: &serde_json::Error) -> ProbeFailure {
    // The place is named and the text is not: what a node sends does not belong in a status.
    let message = format!(
        "{path} does not answer with the JSON {{\"models\": […]}} (line {}, column {})",
        error.line(),
        error.column()
    );
    ProbeFailure::new(FailureReason::InvalidBody, message)
}

fn tls_config() -> Result<ClientConfig, rustls::Error> {
    // The provider is named here, so that this works whether or not the process has installed one.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match builder.clone().with_native_roots() {
        Ok(config) => config,
        Err(error) => {
            tracing::warn!(%error, "no certificate authority of this system can be read: no https node will be trusted");
            builder.with_root_certificates(RootCertStore::empty())
        }
    };
    Ok(config.with_no_client_auth())
}
