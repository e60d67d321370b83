//! Tells a person how the start goes, until a request will be answered.

use super::greeting;
use super::sources::Nodes;
use super::stage::{self, Seen, Stage};
use aivonx_controller::address::SystemResolver;
use aivonx_controller::fleet::Fleet;
use aivonx_controller::probe::ProbeClient;
use std::io::{self, Write as _};
use std::mem::discriminant;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use url::Url;

/// The data plane has a table a moment after the store has it.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the fleet and says what is new, until there is something to try. `nodes` are those that are declared.
pub async fn until_ready(fleet: Fleet, mut nodes: watch::Receiver<Arc<Nodes>>, listen: SocketAddr) {
    let mut changes = fleet.changes();
    let mut said = Stage::Asking;
    loop {
        let declared = nodes.borrow_and_update().clone();
        let seen: Vec<Seen<'_>> = declared.values().map(|node| (node, fleet.observation(&node.id))).collect();
        let stage = stage::judge(&seen);
        if let Stage::Ready { model, .. } = &stage {
            // Whoever pastes the command at once must get an answer.
            drop(timeout(PATIENCE, listed(model, listen)).await);
        }
        if discriminant(&stage) != discriminant(&said)
            && let Some(text) = greeting::progress(&stage, &seen, listen)
        {
            say(&text);
        }
        if matches!(stage, Stage::Ready { .. }) {
            return;
        }
        said = stage;
        tokio::select! {
            changed = nodes.changed() => if changed.is_err() { return },
            changed = changes.recv() => if matches!(changed, Err(RecvError::Closed)) { return },
        }
    }
}

/// Waits until the gateway itself lists the model.
async fn listed(model: &str, listen: SocketAddr) {
    let Ok(url) = Url::parse(&format!("http://{}", greeting::reachable(listen))) else { return };
    let Ok(client) = ProbeClient::new(Arc::new(SystemResolver::default())) else { return };
    loop {
        let list = client.tags(&url, PATIENCE).await;
        if list.is_ok_and(|list| list.models.iter().any(|listed| listed.name == model)) {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Writes to standard error: standard output is for the log.
pub fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody is left to be told when it is closed.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
