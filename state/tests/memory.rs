//! The store of the standalone gateway.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in tests a panic is how a failure is told"
)]

mod contract;

use aivonx_state::store::memory::MemoryStore;
use aivonx_state::{Notice, TableReader};
use contract::{publish, table, version};

async fn fresh() -> (MemoryStore, ()) {
    (MemoryStore::new(), ())
}

contract::every_store_must!(fresh);

#[tokio::test]
async fn notices_tell_of_the_newest_table_and_of_one_that_is_there_already() {
    let store = MemoryStore::new();
    let mut early = store.notices();
    for revision in 1..=9 {
        publish(&store, &table(version(1, revision), &[]), None).await;
    }
    let mut last = None;
    while last != Some(Notice::Changed(version(1, 9))) {
        last = early.recv().await;
        assert!(last.is_some());
    }
    let mut late = store.notices();
    assert_eq!(late.recv().await, Some(Notice::Changed(version(1, 9))));
    publish(&store, &table(version(1, 8), &[]), None).await;
    publish(&store, &table(version(2, 1), &[]), None).await;
    assert_eq!(
        late.recv().await,
        Some(Notice::Changed(version(2, 1))),
        "nothing is told of what was refused"
    );
    drop(store);
    assert_eq!(late.recv().await, None);
}
