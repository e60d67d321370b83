//! From a URL to the settings of a connection.

use super::STORE;
use crate::store::StoreError;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// What to write instead of a URL that cannot be used.
const ADVICE: &str =
    "write postgres://user:password@host:5432/database, with special characters percent-encoded";

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A connection on which nothing that was sent is acknowledged for this long is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds on the server's side: dropping a query here does not end it there. What the URL's own `options` say comes
/// later and wins.
const OPTIONS: &str =
    "-c statement_timeout=4000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000";

/// Where Postgres is, and how to get there.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) config: Config,
    /// `host:port`, for messages: no credentials.
    pub(super) shown: String,
}

/// Reads `url`. No error repeats any of it: a URL that is wrong may have its password anywhere.
pub(super) fn parse(url: &str) -> Result<Address, StoreError> {
    let unusable = |what: &str| StoreError::Address { store: STORE, reason: format!("{what}: {ADVICE}") };
    let url = url.trim();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(unusable("it does not begin with postgres://"));
    }
    let no_tls = |setting: &str| StoreError::Address {
        store: STORE,
        reason: format!(
            "{setting} asks for TLS, which this program cannot speak to Postgres: \
             write sslmode=disable and keep the connection on a trusted network, or go through a local TLS proxy"
        ),
    };
    for mode in ["sslmode=verify-ca", "sslmode=verify-full"] {
        if url.contains(mode) {
            return Err(no_tls(mode));
        }
    }
    let mut config: Config = url
        .parse()
        .map_err(|_| unusable("it does not read as a URL, or has an option or value that is not known"))?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(no_tls("sslmode=require"));
    }
    if config.get_hosts().is_empty() {
        return Err(unusable("it names no host"));
    }
    if config.get_hosts().iter().any(|host| !is_plausible(host)) {
        return Err(unusable("its host has characters that no host has"));
    }
    let options = config.get_options().map_or_else(|| OPTIONS.to_owned(), |own| format!("{OPTIONS} {own}"));
    config
        .options(options)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE / 2)
        .tcp_user_timeout(USER_TIMEOUT);
    if config.get_application_name().is_none() {
        config.application_name("aivonx");
    }
    let shown = show(&config);
    Ok(Address { config, shown })
}

/// Whether nothing but a host is in `host`: the rest of a password with a bare `@` ends up there, and hosts are shown.
fn is_plausible(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn show(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
    let shown = config.get_hosts().iter().enumerate().map(|(index, host)| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(index)),
        Host::Tcp(name) => format!("{name}:{}", port(index)),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        for (url, shown) in [
            ("postgres://user:hunter2@localhost/aivonx", "localhost:5432"),
            ("postgresql://user:hunter2@10.0.0.7:5433/aivonx?sslmode=disable", "10.0.0.7:5433"),
            ("postgres://user:hunter2@a:1,b:2/aivonx", "a:1,b:2"),
            ("postgres://user:hunter2@[::1]:5433/aivonx", "[::1]:5433"),
            ("postgres://user:hunter2@%2Frun%2Fpostgresql/aivonx", "/run/postgresql"),
            ("postgres://user:hunter%402%2F@localhost/aivonx", "localhost:5432"),
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
            "localhost:5432",
            "host=localhost password=hunter2 hunter2",
            "redis://:hunter2@localhost:6379",
            "postgres://",
            "postgres://user:hunter2@/aivonx",
            "postgres://user:hunter2@localhost:port/aivonx",
            "postgres://user:pass@hunter2@localhost/aivonx",
            "postgres://user:hunter2@localhost/aivonx?hunter2=1",
            "postgres://user:hunter2@localhost/aivonx?sslmode=hunter2",
        ] {
            let Err(error @ StoreError::Address { .. }) = parse(url).map(|address| address.shown) else {
                panic!("{url:?} was taken");
            };
            let text = error.to_string();
            assert!(text.starts_with("Postgres URL is not usable: "), "{text}");
            assert!(text.contains(ADVICE), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn tls_that_is_asked_for_is_never_left_out_in_silence() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgres://user:hunter2@localhost/aivonx?sslmode={mode}");
            let text = parse(&url).map(|address| address.shown).unwrap_err().to_string();
            assert!(text.contains(&format!("sslmode={mode} asks for TLS")), "{text}");
            assert!(text.contains("sslmode=disable") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn the_server_bounds_what_it_does_unless_the_url_says_otherwise() {
        let options = |url: &str| parse(url).unwrap().config.get_options().unwrap().to_owned();
        assert_eq!(options("postgres://u@h/d"), OPTIONS);
        let own = options("postgres://u@h/d?options=-c%20statement_timeout%3D9000");
        assert_eq!(own, format!("{OPTIONS} -c statement_timeout=9000"));
    }
}
