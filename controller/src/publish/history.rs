//! The task that writes history. Nothing waits for it: what it cannot write in time is dropped and counted.

use super::backlog::{Backlog, Entry};
use aivonx_process::backoff::Backoff;
use aivonx_state::{HealthTransition, HistoryWriter, NodeId, NodeModel};
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(200), max: Duration::from_secs(10) };

/// Where the fleet leaves what is to be written. Cheap, never blocks.
#[derive(Clone)]
pub(crate) struct HistoryQueue {
    backlog: Arc<Mutex<Backlog>>,
    filled: Arc<Notify>,
    dropped: IntCounter,
}

impl HistoryQueue {
    pub(crate) fn new(dropped: IntCounter) -> Self {
        Self { backlog: Arc::default(), filled: Arc::default(), dropped }
    }

    pub(crate) fn transition(&self, transition: HealthTransition) {
        if self.backlog.lock().push(transition) {
            self.dropped.inc();
        }
        self.filled.notify_one();
    }

    pub(crate) fn inventory(&self, node: &NodeId, models: Option<Arc<Vec<NodeModel>>>) {
        self.backlog.lock().set(node.clone(), models);
        self.filled.notify_one();
    }

    pub(crate) fn drop_inventories(&self) {
        self.backlog.lock().drop_inventories();
    }

    /// Writes what comes until `shutdown`.
    pub(crate) async fn drain(
        self,
        writer: Arc<dyn HistoryWriter>,
        call_timeout: Duration,
        shutdown: CancellationToken,
    ) {
        // Whatever comes of the work, it ends with the process.
        let _ = shutdown.run_until_cancelled(Box::pin(self.write_all(&*writer, call_timeout))).await;
    }

    async fn write_all(&self, writer: &dyn HistoryWriter, call_timeout: Duration) {
        let mut failures = 0_u32;
        loop {
            let next = self.backlog.lock().pop();
            let Some(entry) = next else {
                self.filled.notified().await;
                continue;
            };
            match write(writer, &entry, call_timeout).await {
                Ok(()) if failures > 0 => {
                    tracing::info!(failures, "history is written again");
                    failures = 0;
                }
                Ok(()) => {}
                Err(error) => {
                    if self.backlog.lock().put_back(entry) {
                        self.dropped.inc();
                    }
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(error, "history cannot be written; trying again");
                    }
                    tokio::time::sleep(BACKOFF.delay(failures)).await;
                }
            }
        }
    }
}

async fn write(writer: &dyn HistoryWriter, entry: &Entry, call_timeout: Duration) -> Result<(), String> {
    let call = async {
        match entry {
            Entry::Transition(transition) => writer.record_transition(transition).await,
            Entry::Inventory(node, Some(models)) => writer.replace_inventory(node, models).await,
            Entry::Inventory(node, None) => writer.forget(node).await,
        }
    };
    match timeout(call_timeout, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the store did not answer within {call_timeout:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_state::StoreError;
    use aivonx_state::table::Health;
    use async_trait::async_trait;
    use tokio::sync::mpsc;

    /// Fails the first calls, then tells of each.
    struct Flaky {
        failures: Mutex<u32>,
        written: mpsc::Sender<String>,
    }

    impl Flaky {
        async fn take(&self, what: String) -> Result<(), StoreError> {
            let fails = {
                let mut failures = self.failures.lock();
                let fails = *failures > 0;
                *failures = failures.saturating_sub(1);
                fails
            };
            if fails {
                let (store, address) = ("Postgres", "db:5432".to_owned());
                return Err(StoreError::Unavailable { store, address, reason: "down".to_owned() });
            }
            self.written.send(what).await.unwrap();
            Ok(())
        }
    }

    #[async_trait]
    impl HistoryWriter for Flaky {
        async fn record_transition(&self, transition: &HealthTransition) -> Result<(), StoreError> {
            self.take(format!("{} {}", transition.node, transition.reason)).await
        }
        async fn replace_inventory(&self, node: &NodeId, models: &[NodeModel]) -> Result<(), StoreError> {
            self.take(format!("{node} has {}", models.len())).await
        }
        async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
            self.take(format!("{node} forgotten")).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_written_later_and_in_order() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let queue = HistoryQueue::new(dropped.clone());
        let (written, mut read) = mpsc::channel(8);
        let node = NodeId::new("ai", "gpu-1");
        let shutdown = CancellationToken::new();
        let flaky = Arc::new(Flaky { failures: Mutex::new(5), written });
        let task = tokio::spawn(queue.clone().drain(flaky, Duration::from_secs(1), shutdown.clone()));
        for reason in ["Timeout", "DnsFailed"] {
            queue.transition(HealthTransition {
                node: node.clone(),
                at: jiff::Timestamp::UNIX_EPOCH,
                from: Health::Healthy,
                to: Health::Unhealthy,
                reason: reason.to_owned(),
                message: String::new(),
            });
        }
        queue.inventory(&node, Some(Arc::default()));
        let mut next =
            async || tokio::time::timeout(Duration::from_secs(3_600), read.recv()).await.unwrap().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(next().await);
        }
        queue.inventory(&node, None);
        seen.push(next().await);
        assert_eq!(seen, ["ai/gpu-1 Timeout", "ai/gpu-1 DnsFailed", "ai/gpu-1 has 0", "ai/gpu-1 forgotten"]);
        assert_eq!(dropped.get(), 0);
        shutdown.cancel();
        task.await.unwrap();
    }
}
