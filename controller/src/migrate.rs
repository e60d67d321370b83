//! Brings the schema of Postgres up to date, however long Postgres is away.

use aivonx_process::backoff::Backoff;
use aivonx_state::StoreError;
use aivonx_state::store::postgres::PostgresStore;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

const RETRY: Backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(30) };
/// For one attempt: another replica may be at it, and a large table takes its time.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Tries until it is done or `stop`. Replicas may all try: Postgres lets one at a time.
pub(crate) async fn until_done(postgres: PostgresStore, stop: CancellationToken) {
    let mut failures: u32 = 0;
    let done = async {
        loop {
            match timeout(TIMEOUT, postgres.migrate()).await {
                Ok(Ok(report)) => {
                    info!(applied = ?report.applied, version = report.version, "the database schema is up to date");
                    return;
                }
                Ok(Err(failure)) => {
                    failures = failures.saturating_add(1);
                    told(&failure, failures);
                }
                Err(_) => {
                    failures = failures.saturating_add(1);
                    warn!(limit = ?TIMEOUT, failures, "the database schema could not be brought up to date in time; trying again");
                }
            }
            sleep(RETRY.delay(failures)).await;
        }
    };
    stop.run_until_cancelled(done).await;
}

/// At the first failure and then less and less often.
fn told(failure: &StoreError, failures: u32) {
    if !failures.is_power_of_two() {
        return;
    }
    match failure {
        StoreError::Unavailable { .. } => {
            warn!(error = %failure, failures, "the database schema cannot be brought up to date yet; trying again");
        }
        _ => {
            error!(error = %failure, failures, "the database schema cannot be brought up to date; trying again");
        }
    }
}
