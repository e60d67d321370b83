//! Connections, few and with a bound on every wait.

use super::address::{Address, CONNECT_TIMEOUT};
use super::errors;
use crate::store::StoreError;
use deadpool_postgres::{Manager, ManagerConfig, Object, RecyclingMethod, Runtime};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::NoTls;

/// A controller and a data plane ask a few times in a second at most.
const SIZE: usize = 4;
const WAIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the driver's own timeout, which tells better.
const CREATE_TIMEOUT: Duration = Duration::from_secs(2 * CONNECT_TIMEOUT.as_secs());
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(1);
/// For one query; longer than the server's `statement_timeout`, which tells better.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Pool {
    pool: deadpool_postgres::Pool,
    address: Arc<str>,
}

impl Pool {
    /// Does not connect yet.
    pub(super) fn new(address: Address) -> Result<Self, StoreError> {
        let Address { config, shown } = address;
        // A connection is tried before it is handed out: after a fail-over or behind a query that was given up it may be
        // dead or busy.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let pool = deadpool_postgres::Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(SIZE)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(CREATE_TIMEOUT))
            .recycle_timeout(Some(RECYCLE_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| errors::unavailable(&shown, error.to_string()))?;
        Ok(Self { pool, address: shown.into() })
    }

    /// `host:port`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| errors::of_pool(&self.address, &error))
    }

    /// Awaits `query`, but not for ever.
    pub(super) async fn query<T>(
        &self,
        query: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match timeout(QUERY_TIMEOUT, query).await {
            Ok(outcome) => outcome.map_err(|error| errors::of_query(&self.address, &error)),
            Err(_) => Err(errors::unavailable(
                &self.address,
                format!("no answer within {} s", QUERY_TIMEOUT.as_secs()),
            )),
        }
    }
}
