//! Waiting for a condition, never for a time.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(50);

/// Tries `check` every 50 ms until it gives a value. After `within`, fails with `what` and the last error of
/// `check`.
///
/// A condition that is not yet true is an error too: `anyhow::ensure!(count == 3, "count is {count}")`.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut last = anyhow!("the first attempt has not ended");
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(last).with_context(|| format!("{what}: not within {within:?}"));
        }
        sleep(PAUSE).await;
    }
}
