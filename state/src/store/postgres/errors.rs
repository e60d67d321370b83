//! What the driver says, in this crate's words.

use super::STORE;
use crate::store::StoreError;
use std::error::Error;
use tokio_postgres::error::SqlState;

pub(super) fn unavailable(address: &str, reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { store: STORE, address: address.to_owned(), reason: reason.into() }
}

pub(super) fn corrupt(reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { store: STORE, reason: reason.into() }
}

pub(super) fn schema(reason: impl Into<String>) -> StoreError {
    StoreError::Schema { store: STORE, reason: reason.into() }
}

pub(super) fn of_query(address: &str, error: &tokio_postgres::Error) -> StoreError {
    let missing = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
    match error.as_db_error() {
        Some(said) if missing.contains(said.code()) => {
            schema(format!("{}: run `aivonx migrate`", said.message()))
        }
        // The message alone: details may repeat what a row holds.
        Some(said) => unavailable(address, format!("{} (SQLSTATE {})", said.message(), said.code().code())),
        None => unavailable(address, chain(error)),
    }
}

pub(super) fn of_pool(address: &str, error: &deadpool_postgres::PoolError) -> StoreError {
    use deadpool_postgres::{PoolError, TimeoutType};
    match error {
        PoolError::Backend(error) => of_query(address, error),
        PoolError::Timeout(TimeoutType::Wait) => unavailable(address, "all connections are in use"),
        PoolError::Timeout(_) => unavailable(address, "no answer while connecting"),
        other => unavailable(address, chain(other)),
    }
}

/// An error and its causes, each once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
