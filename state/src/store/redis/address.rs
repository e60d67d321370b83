//! From a URL to a client that has not connected yet.

use super::STORE;
use crate::store::StoreError;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisError};
use std::time::Duration;
use url::Url;

/// What to write instead of a URL that cannot be used.
const ADVICE: &str = "write redis://[user:password@]host:6379[/database], or rediss:// for TLS";

/// An idle connection is probed after this long, and given up after as many unanswered probes as follow from it.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A connection on which nothing that was sent is acknowledged for this long is dead. Without it a peer that vanished
/// would be written to for minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where Redis is, and how to get there.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) client: Client,
    /// `host:port` or a socket's path, for messages: no credentials.
    pub(super) shown: String,
}

/// Reads `url`. No error repeats any of it: a URL that is wrong may have its password anywhere.
pub(super) fn parse(url: &str) -> Result<Address, StoreError> {
    let unusable = |what: &str| StoreError::Address { store: STORE, reason: format!("{what}: {ADVICE}") };
    let parsed = Url::parse(url.trim()).map_err(|error| unusable(&error.to_string()))?;
    match parsed.scheme() {
        "redis" | "rediss" | "valkey" | "valkeys" if parsed.host_str().is_none_or(str::is_empty) => {
            return Err(unusable("it names no host"));
        }
        "rediss" | "valkeys" if parsed.fragment() == Some("insecure") => {
            return Err(unusable("TLS without checking certificates (#insecure) is not supported"));
        }
        "rediss" | "valkeys" => provide_crypto(),
        "redis" | "valkey" | "redis+unix" | "valkey+unix" | "unix" => {}
        _ => return Err(unusable("it does not begin with redis:// or rediss://")),
    }
    let info = parsed.into_connection_info().map_err(|error| unusable(&summary(&error)))?;
    let shown = match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            format!("{host}:{port}")
        }
        ConnectionAddr::Unix(path) => path.display().to_string(),
        _ => STORE.to_owned(),
    };
    let info = info.set_tcp_settings(tcp_settings());
    let client = Client::open(info).map_err(|error| unusable(&summary(&error)))?;
    Ok(Address { client, shown })
}

/// What the driver says before it repeats a part of the URL.
fn summary(error: &RedisError) -> String {
    error.to_string().split(" - ").next().unwrap_or_default().to_owned()
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default()
        // Off by default in this version of the driver; it would hold a small command back for a round trip.
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 2));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}

/// The driver takes the provider of the process; a program that has set none gets ours.
fn provide_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only if another thread was quicker, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for (url, shown) in [
            ("redis://localhost", "localhost:6379"),
            ("redis://user:hunter2@10.0.0.7:6380/3", "10.0.0.7:6380"),
            ("redis://:hunter2@[::1]:6380", "[::1]:6380"),
            ("rediss://:hunter2@cache.example", "cache.example:6379"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "/run/redis.sock"),
            ("redis://:p%40ss%2Fword@localhost/?protocol=resp3", "localhost:6379"),
        ] {
            assert_eq!(
                parse(url).map(|address| address.shown).map_err(|error| error.to_string()),
                Ok(shown.into())
            );
        }
    }

    #[test]
    fn a_wrong_url_is_told_with_what_to_write_and_without_the_password() {
        for url in [
            "",
            "hunter2",
            "localhost:6379",
            "http://:hunter2@localhost:6379",
            "redis://:hunter2@",
            "redis://user:hunter2@localhost:port",
            "redis://user:hunter2@localhost:99999",
            "redis://user:hunter2@localhost/database",
            "redis://:hunter2/x@localhost:6379",
            "redis://:hunter2@localhost/?protocol=hunter2",
            "redis://:hunter2@0.0.0.0:6379",
            "rediss://:hunter2@localhost#insecure",
            "postgres://user:hunter2@localhost/aivonx",
        ] {
            let Err(error @ StoreError::Address { .. }) = parse(url).map(|address| address.shown) else {
                panic!("{url:?} was taken");
            };
            let text = error.to_string();
            assert!(text.starts_with("Redis URL is not usable: "), "{text}");
            assert!(text.contains(ADVICE), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn small_commands_are_sent_at_once_and_dead_peers_are_noticed() {
        let address = parse("redis://localhost").unwrap();
        let settings = address.client.get_connection_info().tcp_settings();
        assert!(settings.nodelay());
        assert!(settings.keepalive().is_some());
        #[cfg(target_os = "linux")]
        assert_eq!(settings.user_timeout(), Some(USER_TIMEOUT));
    }
}
