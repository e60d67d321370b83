//! The task that keeps one store at the newest table.

use super::plan::{Finding, Plan, Step};
use crate::fleet::Term;
use crate::metrics::StoreSeries;
use aivonx_state::store::Published;
use aivonx_state::{RoutingTable, StoreError, TableVersion, TableWriter};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A table to publish.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The term it belongs to.
    pub term: Term,
    /// The state of the fleet it was built from: nodes changed after it are not in it as they are now.
    pub stamp: u64,
    /// The table.
    pub table: Arc<RoutingTable>,
}

/// What became of an offer.
#[derive(Debug)]
pub(crate) struct StoreEvent {
    /// Which store, in the order of [`Stores::tables`](crate::fleet::Stores::tables).
    pub store: usize,
    /// Its name.
    pub name: &'static str,
    /// The term of the offer.
    pub term: Term,
    /// What happened.
    pub kind: StoreEventKind,
}

#[derive(Debug)]
pub(crate) enum StoreEventKind {
    /// The store holds the offer with this stamp.
    Accepted { stamp: u64, version: TableVersion },
    /// The store keeps failing.
    Failing { message: String },
    /// The store holds a higher revision of this term.
    Outrun(TableVersion),
    /// The store holds a higher epoch.
    Fenced(TableVersion),
}

/// Publishes to one store until it is cancelled.
pub(crate) struct StorePublisher {
    pub index: usize,
    pub writer: Arc<dyn TableWriter>,
    pub offers: watch::Receiver<Option<Arc<Offer>>>,
    pub events: mpsc::Sender<StoreEvent>,
    pub series: StoreSeries,
    /// Between two looks at the head.
    pub guard_interval: Duration,
    /// For one call.
    pub call_timeout: Duration,
    pub shutdown: CancellationToken,
}

impl StorePublisher {
    pub(crate) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        // Whatever comes of the work, it ends with the process.
        let _ = shutdown.run_until_cancelled(Box::pin(self.keep())).await;
    }

    async fn keep(&mut self) {
        let mut plan = Plan::new(self.guard_interval);
        loop {
            plan.offered(self.offers.borrow_and_update().clone());
            match plan.next(Instant::now()) {
                Step::Wait => {
                    if self.offers.changed().await.is_err() {
                        return;
                    }
                }
                Step::WaitUntil(instant) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(instant) => {}
                        changed = self.offers.changed() => if changed.is_err() { return },
                    }
                }
                Step::Publish { offer, before } => self.publish(&mut plan, &offer, before.as_deref()).await,
                Step::Check { offer } => self.check(&mut plan, &offer).await,
            }
        }
    }

    async fn publish(&self, plan: &mut Plan, offer: &Arc<Offer>, before: Option<&RoutingTable>) {
        match self.call(self.writer.publish(&offer.table, before)).await {
            Ok(answer) => {
                self.succeeded(plan);
                if answer == Published::Accepted {
                    let version = offer.table.head.version;
                    tracing::debug!(store = self.writer.name(), %version, nodes = offer.table.nodes.len(), "table published");
                }
                let finding = plan.published(offer, answer, Instant::now());
                self.tell(offer, finding, String::new()).await;
            }
            Err(error) => self.failed(plan, offer, &error).await,
        }
    }

    async fn check(&self, plan: &mut Plan, offer: &Arc<Offer>) {
        match self.call(self.writer.head()).await {
            Ok(head) => {
                self.succeeded(plan);
                let finding = plan.checked(head.as_ref(), Instant::now());
                if plan.must_rewrite() {
                    tracing::warn!(
                        store = self.writer.name(),
                        "the store has lost the routing table or holds an older one: it is written again"
                    );
                }
                self.tell(offer, finding, String::new()).await;
            }
            Err(CallError::Store(StoreError::Corrupt { reason, .. })) => {
                tracing::warn!(
                    store = self.writer.name(),
                    reason,
                    "the store holds no usable routing table: it is written over"
                );
                plan.corrupt();
            }
            Err(error) => self.failed(plan, offer, &error).await,
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, CallError> {
        match timeout(self.call_timeout, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CallError::Timeout { store: self.writer.name(), limit: self.call_timeout }),
        }
    }

    fn succeeded(&self, plan: &Plan) {
        self.series.succeeded();
        if plan.failures() > 0 {
            tracing::info!(store = self.writer.name(), failures = plan.failures(), "the store answers again");
        }
    }

    async fn failed(&self, plan: &mut Plan, offer: &Offer, error: &CallError) {
        self.series.failed();
        let finding = plan.failed(Instant::now());
        // One line when it begins; the retries are told by the metrics.
        if plan.failures() == 1 {
            tracing::warn!(store = self.writer.name(), %error, "the store cannot be written; trying again");
        }
        self.tell(offer, finding, error.to_string()).await;
    }

    async fn tell(&self, offer: &Offer, finding: Option<Finding>, message: String) {
        let kind = match finding {
            None => return,
            Some(Finding::Accepted) => {
                StoreEventKind::Accepted { stamp: offer.stamp, version: offer.table.head.version }
            }
            Some(Finding::Failing) => StoreEventKind::Failing { message },
            Some(Finding::Outrun(held)) => StoreEventKind::Outrun(held),
            Some(Finding::Fenced(held)) => StoreEventKind::Fenced(held),
        };
        let event = StoreEvent { store: self.index, name: self.writer.name(), term: offer.term, kind };
        // The receiver is only gone when the fleet has ended.
        let _ = self.events.send(event).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{store} did not answer within {limit:?}")]
    Timeout { store: &'static str, limit: Duration },
}
