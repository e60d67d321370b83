//! One shared connection that is opened at first use, and comes back by itself.

use super::address::Address;
use super::{STORE, corrupt};
use crate::store::StoreError;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, RedisResult, ServerError};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// To open a connection, name lookup, TLS and authentication included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// From a command to its answer.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// For an operation with its reconnects and its repetition.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// A command that finds Redis away waits for this many more attempts. Few: who asks has its own back-off.
const RECONNECTS: usize = 1;
const RECONNECT_DELAY: Duration = Duration::from_millis(50);

/// Commands in flight at once. What is beyond them waits.
const CONCURRENCY: usize = 64;

#[derive(Clone)]
pub(super) struct Connection {
    address: Address,
    /// The driver wants a runtime when this is made, which a program has later than its settings.
    manager: Arc<OnceCell<ConnectionManager>>,
}

impl Connection {
    pub(super) fn new(address: Address) -> Self {
        Self { address, manager: Arc::default() }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> &str {
        &self.address.shown
    }

    /// For a connection of its own.
    pub(super) fn client(&self) -> &Client {
        &self.address.client
    }

    /// Runs `command`, and once more if the connection proves to be lost: the driver finds that out by a command that
    /// fails. So `command` must be such that doing it twice is like doing it once.
    pub(super) async fn run<T, F>(&self, command: impl Fn(ConnectionManager) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let twice = async {
            let manager = self.manager.get_or_try_init(|| async { self.open() }).await?;
            match command(manager.clone()).await {
                Err(error) if error.is_connection_dropped() => command(manager.clone()).await,
                outcome => outcome,
            }
        };
        match timeout(OPERATION_TIMEOUT, twice).await {
            Ok(outcome) => outcome.map_err(|error| self.explain(error)),
            Err(_) => Err(self.unavailable(format!("no answer within {} s", OPERATION_TIMEOUT.as_secs()))),
        }
    }

    fn open(&self) -> RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(RECONNECTS)
            .set_min_delay(RECONNECT_DELAY)
            .set_concurrency_limit(CONCURRENCY);
        ConnectionManager::new_lazy_with_config(self.address.client.clone(), config)
    }

    fn explain(&self, error: RedisError) -> StoreError {
        let text = error.to_string();
        // The keys hold values of another type or text that is not UTF-8: somebody else's, or damaged.
        if matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse) {
            return corrupt(text);
        }
        let wrong_type =
            |errors: Arc<[(usize, ServerError)]>| errors.iter().any(|(_, error)| error.code() == "WRONGTYPE");
        if error.into_server_errors().is_some_and(wrong_type) {
            return corrupt("a key of the table has the wrong type: delete it, or use another prefix");
        }
        self.unavailable(text)
    }

    fn unavailable(&self, reason: String) -> StoreError {
        StoreError::Unavailable { store: STORE, address: self.address.shown.clone(), reason }
    }
}
