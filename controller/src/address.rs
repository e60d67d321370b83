//! Node addresses are untrusted input: every address is judged after it was resolved, before anything is sent to it.
//!
//! A name may point anywhere, and somewhere else the next time. So the check sits where the connection is opened: literal
//! addresses are judged by [`GuardedConnector`], resolved ones by [`GuardedResolver`], and only those that pass are tried.

use aivonx_crds::address::{forbidden, forbidden_name};
use async_trait::async_trait;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::Service;

/// Lookups at once. A lookup holds a thread until the system's resolver gives up, so a dead DNS server must not take all.
const MAX_LOOKUPS: usize = 32;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Turns host names into addresses.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, in the order in which they should be tried.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the operating system.
#[derive(Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            // The permit is held by the thread: a caller that gives up does not make room for one more stuck lookup.
            let _permit = permit;
            (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|socket| socket.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// The address, or every address of the name, is one where no node may be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{address} is {what}: a node may not be there")]
pub struct AddressForbidden {
    address: String,
    what: &'static str,
}

/// The host name has no address.
#[derive(Debug, thiserror::Error)]
#[error("{host} has no address: {source}")]
pub struct ResolveFailed {
    host: String,
    source: io::Error,
}

/// Judges a host that needs no resolver.
fn check_host(host: &str) -> Result<(), AddressForbidden> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let verdict = match bare.parse::<IpAddr>() {
        Ok(address) => forbidden(address),
        Err(_) => forbidden_name(bare),
    };
    match verdict {
        Some(what) => Err(AddressForbidden { address: bare.to_owned(), what }),
        None => Ok(()),
    }
}

/// Keeps the addresses where a node may be. Fails if that leaves none.
fn permitted(host: &str, found: Vec<IpAddr>) -> Result<Vec<SocketAddr>, BoxError> {
    let mut refused = None;
    let mut kept = Vec::with_capacity(found.len());
    for address in found {
        match forbidden(address) {
            None => kept.push(SocketAddr::new(address, 0)),
            Some(what) => {
                refused = Some(AddressForbidden { address: format!("{host} ({address})"), what });
            }
        }
    }
    match refused {
        _ if !kept.is_empty() => Ok(kept),
        Some(forbidden) => Err(forbidden.into()),
        None => {
            let source = io::Error::new(io::ErrorKind::NotFound, "the lookup found nothing");
            Err(ResolveFailed { host: host.to_owned(), source }.into())
        }
    }
}

/// A resolver that gives no forbidden address away.
#[derive(Clone)]
pub struct GuardedResolver(Arc<dyn Resolve>);

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let found = resolver
                .resolve(host)
                .await
                .map_err(|source| ResolveFailed { host: host.to_owned(), source })?;
            Ok(permitted(host, found)?.into_iter())
        })
    }
}

/// Opens TCP connections to permitted addresses only.
#[derive(Clone)]
pub struct GuardedConnector(HttpConnector<GuardedResolver>);

impl GuardedConnector {
    /// Names are looked up by `resolver`; a connection must be open within `connect_timeout`.
    pub fn new(resolver: Arc<dyn Resolve>, connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new_with_resolver(GuardedResolver(resolver));
        // The TLS connector around this one asks for https too; other schemes are refused by it.
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        Self(connector)
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Err(forbidden) = check_host(uri.host().unwrap_or_default()) {
            return Box::pin(async move { Err(forbidden.into()) });
        }
        let connecting = self.0.call(uri);
        Box::pin(async move { Ok(connecting.await?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn literal_hosts_are_judged_in_every_spelling() {
        for host in [
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "0.0.0.0",
            "metadata.google.internal",
        ] {
            assert!(check_host(host).is_err(), "{host}");
        }
        for host in ["127.0.0.1", "[::1]", "10.0.0.7", "gpu-1.lan"] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn only_permitted_addresses_of_a_name_are_tried() {
        let kept = permitted("gpu", addresses(&["169.254.1.1", "10.0.0.7", "fe80::1"])).unwrap();
        assert_eq!(kept, ["10.0.0.7:0".parse().unwrap()]);
    }

    #[test]
    fn a_name_with_nothing_but_forbidden_addresses_is_refused() {
        let error = permitted("gpu", addresses(&["169.254.169.254"])).unwrap_err();
        let error = error.downcast::<AddressForbidden>().unwrap();
        assert!(error.to_string().starts_with("gpu (169.254.169.254) is a link-local address"), "{error}");
    }

    #[test]
    fn a_name_without_addresses_did_not_resolve() {
        assert!(permitted("gpu", Vec::new()).unwrap_err().is::<ResolveFailed>());
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_are_bounded() {
        let resolver = SystemResolver { lookups: Arc::new(Semaphore::new(0)) };
        let lookup = tokio::time::timeout(Duration::from_secs(60), resolver.resolve("localhost"));
        assert!(lookup.await.is_err(), "there is no place for it");
    }

    #[tokio::test]
    async fn the_system_resolver_finds_localhost() {
        let found = SystemResolver::default().resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
    }
}
