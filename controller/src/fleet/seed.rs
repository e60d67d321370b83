//! What a new leader starts from: the table that the stores hold.

use aivonx_state::{RoutingTable, TableWriter};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What was found.
#[derive(Debug)]
pub(super) enum Stored {
    /// A table, and the name of the store that holds it.
    Table { table: RoutingTable, store: &'static str },
    /// Every store answered that it holds none: this is a new system.
    Nothing,
    /// At least one store could not be read, and no other holds a table: there may be one.
    Unreadable,
}

/// Reads the stores in their order; the first table wins. The durable store comes last: it is read when the fast one was
/// flushed or is away.
pub(super) async fn read(stores: &[Arc<dyn TableWriter>], call_timeout: Duration) -> Stored {
    let mut all_answered = true;
    for store in stores {
        match timeout(call_timeout, store.read()).await {
            Ok(Ok(Some(table))) => return Stored::Table { table, store: store.name() },
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                all_answered = false;
                tracing::warn!(store = store.name(), %error, "the stored routing table cannot be read");
            }
            Err(_) => {
                all_answered = false;
                tracing::warn!(store = store.name(), "the stored routing table was not read in time");
            }
        }
    }
    if all_answered { Stored::Nothing } else { Stored::Unreadable }
}
