//! What the tests are made of.

mod client;
mod gateway;
mod node;

pub use client::{get, post, raw, request, send, stream};
pub use gateway::{Gateway, entry, limits, model};
pub use node::{Act, Node, Seen, chunk, head, json_answer, last_chunk, ndjson, sse, status};

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Waits for a condition, and fails when it does not come true.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        sleep(Duration::from_millis(2)).await;
    }
}
