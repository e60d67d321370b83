//! Asking a suspect again.

use crate::attempt::Replay;
use crate::table::EndpointState;
use aivonx_process::backoff::Backoff;
use http::Request;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(30) };
/// A health path is answered from memory; a node that takes longer is not well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks that ask suspects again: one for each suspect.
#[derive(Clone, Debug)]
pub(crate) struct Rechecks {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Rechecks {
    /// Tasks end when `stop` is cancelled.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), stop }
    }

    /// Asks a node that has just become a suspect until it answers, leaves the table, or is cleared by a request.
    pub(crate) fn begin(&self, node: Arc<EndpointState>) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = until_well(&node) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn until_well(node: &EndpointState) {
    tracing::warn!(node = %node.id, "node is suspected: requests go elsewhere until it answers");
    for failures in 1.. {
        // The controller asks on a schedule of its own: when it finds the node well, there is no reason to wait.
        tokio::select! {
            () = sleep(BACKOFF.delay(failures)) => {}
            () = node.recovered() => {}
        }
        if node.is_retired() || !node.suspicion.is_suspect() {
            return;
        }
        if answers(node).await {
            tracing::info!(node = %node.id, "node answers again");
            node.suspicion.answered();
            return;
        }
    }
}

async fn answers(node: &EndpointState) -> bool {
    let check = node.health_check();
    let mut request = Request::new(Replay::empty());
    *request.uri_mut() = check.uri.clone();
    request.headers_mut().insert(http::header::HOST, check.host.clone());
    match timeout(TIMEOUT, node.client.request(request)).await {
        Ok(Ok(response)) => response.status().is_success(),
        Ok(Err(_)) | Err(_) => false,
    }
}
