//! Whether Redis can be used: it answers, it may be written to, and what it holds is a routing table or nothing.

use super::report::{Finding, foreign};
use crate::args::Subject;
use aivonx_process::settings::{StoreArgs, StoreUrl};
use aivonx_state::store::redis::RedisStore;
use aivonx_state::{StoreError, TableReader as _};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult};
use std::time::Duration;
use tokio::time::timeout;

const SUBJECT: Subject = Subject::Redis;
/// Written to see whether writing is allowed, and gone after a second. It has the prefix and the hash tag of the
/// routing table, so that the same access rules hold.
const PROBE_KEY: &str = "{aivonx}:check";
const PROBE_KEY_LIFETIME_MS: u64 = 1_000;

/// Connects to Redis and tries what the programs need of it.
pub async fn check(args: &StoreArgs, needed: bool, limit: Duration) -> Finding {
    let url = match args.redis_url() {
        Ok(url) => url,
        Err(error) if args.redis_url.is_none() => return Finding::missing(needed, SUBJECT, error),
        Err(error) => return Finding::refused(SUBJECT, error.sentence),
    };
    match timeout(limit, Box::pin(probe(&url))).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => {
            let kind = Trouble::of(&error);
            Finding::wrong(SUBJECT, format!("{url}: {}", foreign(&error.to_string())), kind.advice())
        }
        Err(_) => Finding::wrong(
            SUBJECT,
            format!("{url}: no answer within {limit:?}"),
            Trouble::Unreachable.advice(),
        ),
    }
}

async fn probe(url: &StoreUrl) -> RedisResult<Finding> {
    let mut connection = redis::Client::open(url.expose())?.get_multiplexed_async_connection().await?;
    let () = redis::cmd("PING").query_async(&mut connection).await?;
    let () = redis::cmd("SET")
        .arg(&[PROBE_KEY, "1", "PX", &PROBE_KEY_LIFETIME_MS.to_string()])
        .query_async(&mut connection)
        .await?;
    let version = version(&mut connection).await;
    let head = match RedisStore::new(url.expose()) {
        Ok(store) => store.head().await,
        Err(error) => Err(error),
    };
    Ok(match head {
        Ok(None) => {
            Finding::good(SUBJECT, format!("{url}: Redis{version}, may be written to, no routing table yet"))
        }
        Ok(Some(head)) => Finding::good(
            SUBJECT,
            format!(
                "{url}: Redis{version}, may be written to, routing table {} published at {:.0}",
                head.version, head.published_at
            ),
        ),
        Err(error @ StoreError::Corrupt { .. }) => Finding::wrong(
            SUBJECT,
            format!("{url}: {}", foreign(&error.to_string())),
            "delete the keys that begin with {aivonx}: the controller writes the table again",
        ),
        Err(error) => Finding::wrong(
            SUBJECT,
            format!("{url}: {}", foreign(&error.to_string())),
            Trouble::Other.advice(),
        ),
    })
}

/// The server's version with a blank before it, if it tells; not everybody may ask.
async fn version(connection: &mut MultiplexedConnection) -> String {
    let info: RedisResult<String> = redis::cmd("INFO").arg("server").query_async(connection).await;
    let info = info.unwrap_or_default();
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version.map(|version| format!(" {}", foreign(version))).unwrap_or_default()
}

/// What stands between a program and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Refused,
    Unreachable,
    Credentials,
    Forbidden,
    ReadOnly,
    Full,
    Other,
}

impl Trouble {
    fn of(error: &RedisError) -> Self {
        if error.is_connection_refusal() {
            return Self::Refused;
        }
        if error.kind() == ErrorKind::AuthenticationFailed {
            return Self::Credentials;
        }
        match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Self::Credentials,
            Some("NOPERM") => Self::Forbidden,
            Some("READONLY") => Self::ReadOnly,
            Some("OOM" | "MISCONF") => Self::Full,
            _ if error.is_io_error() => Self::Unreachable,
            _ => Self::Other,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Refused => "start Redis there, or set AIVONX_REDIS_URL (--redis-url) to where it runs",
            Self::Unreachable => {
                "check the host and the port in AIVONX_REDIS_URL (--redis-url), and that no firewall stands between"
            }
            Self::Credentials => {
                "put the right user and password into AIVONX_REDIS_URL: redis://user:password@host:6379"
            }
            Self::Forbidden => {
                "let this user run PING, INFO, SET, EVALSHA and SUBSCRIBE on keys and channels of {aivonx}:*"
            }
            Self::ReadOnly => "this is a replica: name the primary in AIVONX_REDIS_URL",
            Self::Full => "Redis takes no writes: give it memory or disk, or look at its log",
            Self::Other => "look at the log of Redis",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn said(code: &str) -> Trouble {
        let error = redis::parse_redis_value(format!("-{code} some words\r\n").as_bytes());
        let error = error.and_then(redis::Value::extract_error).unwrap_err();
        Trouble::of(&error)
    }

    #[test]
    fn each_trouble_has_the_advice_that_cures_it() {
        assert_eq!(said("NOAUTH"), Trouble::Credentials);
        assert_eq!(said("WRONGPASS"), Trouble::Credentials);
        assert_eq!(said("NOPERM"), Trouble::Forbidden);
        assert_eq!(said("READONLY"), Trouble::ReadOnly);
        assert_eq!(said("OOM"), Trouble::Full);
        assert_eq!(said("MISCONF"), Trouble::Full);
        assert_eq!(said("ERR"), Trouble::Other);
        let refused = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(Trouble::of(&refused), Trouble::Refused);
        let gone = RedisError::from(io::Error::from(io::ErrorKind::HostUnreachable));
        assert_eq!(Trouble::of(&gone), Trouble::Unreachable);
    }
}
