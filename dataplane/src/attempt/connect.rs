//! How connections to nodes are opened: checked addresses, no proxies, `TCP_NODELAY`, the node's own connect timeout.

use super::address;
use super::client::Replay;
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

/// Longer than a keep-alive pause of ordinary use, and shorter than the five minutes after which middleboxes forget.
const POOL_IDLE: Duration = Duration::from_secs(90);
/// Connections kept open to one node without a request on them.
const POOL_MAX_IDLE: usize = 64;
/// Of TCP: a peer that vanished is noticed by this, not by silence, which is normal for minutes.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The client of one node, with its own pool of connections.
pub(crate) type NodeClient = Client<NodeConnector, Replay>;

/// Builds the clients of nodes.
#[derive(Clone, Debug)]
pub(crate) struct Connectors {
    https: HttpsConnector<HttpConnector<CheckedResolver>>,
}

impl Connectors {
    /// Trusts the system's certificate authorities.
    pub(crate) fn new() -> Self {
        let mut tcp = HttpConnector::new_with_resolver(CheckedResolver(GaiResolver::new()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        Self { https: HttpsConnector::from((tcp, tls())) }
    }

    /// A client whose connects take at most as many milliseconds as `timeout_ms` says at that moment; 0 means no limit.
    pub(crate) fn client(&self, timeout_ms: Arc<AtomicU64>) -> NodeClient {
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_MAX_IDLE)
            .build(NodeConnector { https: self.https.clone(), timeout_ms })
    }
}

fn tls() -> rustls::ClientConfig {
    let builder = rustls::ClientConfig::builder();
    let roots = rustls::RootCertStore::empty();
    match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no certificate authorities found on this system: https nodes cannot be reached");
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("no connection")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Opens connections to one node.
#[derive(Clone, Debug)]
pub(crate) struct NodeConnector {
    https: HttpsConnector<HttpConnector<CheckedResolver>>,
    timeout_ms: Arc<AtomicU64>,
}

impl Service<Uri> for NodeConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.https.poll_ready(cx).map_err(ConnectError::Failed)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.https.call(uri);
        let limit = Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed));
        Box::pin(async move {
            if limit.is_zero() {
                return connecting.await.map_err(ConnectError::Failed);
            }
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map_err(ConnectError::Failed),
                Err(_) => Err(ConnectError::TimedOut(limit)),
            }
        })
    }
}

/// The system's resolver, without the addresses that no node can have.
#[derive(Clone, Debug)]
pub(crate) struct CheckedResolver(GaiResolver);

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { allowed(resolving.await?) })
    }
}

fn allowed(found: impl Iterator<Item = SocketAddr>) -> Result<std::vec::IntoIter<SocketAddr>, io::Error> {
    let mut refused = None;
    let addresses: Vec<_> = found
        .filter(|found| match address::check(found.ip()) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        })
        .collect();
    match refused {
        Some(error) if addresses.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, error)),
        _ => Ok(addresses.into_iter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_resolves_to_a_metadata_service_is_not_connected_to() {
        let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
        let node: SocketAddr = "10.0.0.7:80".parse().unwrap();
        let error = allowed([metadata].into_iter()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(allowed([metadata, node].into_iter()).unwrap().collect::<Vec<_>>(), [node]);
    }

    #[tokio::test]
    async fn an_address_written_as_one_number_is_checked_after_it_was_resolved() {
        // 2852039166 is 169.254.169.254 to the system's resolver, and no address to a URL parser.
        let mut resolver = CheckedResolver(GaiResolver::new());
        let resolved = resolver.call("2852039166".parse().unwrap()).await;
        assert!(resolved.is_err(), "{resolved:?}");
    }
}
