//! Leader election by a Lease object.
//!
//! Every write is a compare-and-set on the `resourceVersion` that was read, every call ends within a third of the lease,
//! and the client does not repeat calls by itself. While the API server is away the leader goes on: its term stays, since
//! the stores refuse older epochs anyway, but it is no longer [confirmed](Leadership::confirmed).

mod decide;
mod leadership;
#[cfg(test)]
mod model_tests;

pub use decide::{Me, Observed, Step, decide};
pub use leadership::{Leadership, LeadershipWriter, leadership};

use crate::fleet::Fenced;
use aivonx_process::backoff::Backoff;
use aivonx_state::TableWriter;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use prometheus::{IntCounter, IntGauge, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// For one look at the head of a store's table.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts that fail.
const RETRY: Backoff = Backoff { initial: Duration::from_millis(200), max: Duration::from_secs(5) };

/// Which Lease, and how it is held.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// The name of the Lease.
    pub name: String,
    /// Unlike that of any other process.
    pub identity: String,
    /// How long the lease holds after a renewal, in whole seconds. A third of it is the time between two renewals.
    pub duration: Duration,
}

/// The metrics of leader election.
#[derive(Clone, Debug)]
pub struct LeaseMetrics {
    leader: IntGauge,
    epoch: IntGauge,
    failures: IntCounter,
}

impl LeaseMetrics {
    /// Creates the metrics in `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let leader = IntGauge::new("aivonx_leader", "1 while this controller leads, else 0.")?;
        let epoch = IntGauge::new(
            "aivonx_lease_transitions",
            "How often the leadership changed hands, as last read from the Lease.",
        )?;
        let failures = IntCounter::new(
            "aivonx_lease_failures_total",
            "Attempts to read or write the Lease that failed, lost races not counted.",
        )?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(epoch.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { leader, epoch, failures })
    }
}

/// Takes part in the election until it is told to stop.
pub struct Election {
    /// Made by a client that does not repeat calls.
    pub leases: Api<Lease>,
    /// Which Lease.
    pub settings: LeaseSettings,
    /// Their heads tell the epochs that are used up.
    pub stores: Vec<Arc<dyn TableWriter>>,
    /// Tells of stores that hold a higher epoch than the present one.
    pub fenced: watch::Receiver<Option<Fenced>>,
    /// Where the outcome goes.
    pub leadership: LeadershipWriter,
    /// Metrics.
    pub metrics: LeaseMetrics,
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{}", in_words(.0))]
    Kube(#[from] kube::Error),
}

/// The API server's own sentence; kube's text adds the whole status in debug form.
fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}

impl Election {
    /// Runs until `stop`; then gives the lease up, if it is held, so that another process can take it at once.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut observed = None;
        let mut failures = 0;
        loop {
            let pause = match stop.run_until_cancelled(self.round(&mut observed)).await {
                None => break,
                Some(Ok(pause)) => {
                    if failures > 0 {
                        info!(lease = self.settings.name, "the Lease can be reached again");
                    }
                    failures = 0;
                    pause
                }
                Some(Err(reason)) => {
                    failures += 1;
                    self.metrics.failures.inc();
                    if failures == 1 {
                        let leading = self.leadership.epoch().is_some();
                        warn!(lease = self.settings.name, %reason, leading, "the Lease cannot be reached; going on as before and trying again");
                    }
                    RETRY.delay(failures).min(self.period())
                }
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        self.vacate().await;
    }

    /// The time between two renewals, and the limit for each call.
    fn period(&self) -> Duration {
        self.settings.duration / 3
    }

    /// One look at the Lease and what follows from it. Gives the time until the next.
    async fn round(&mut self, observed: &mut Option<Observed>) -> Result<Duration, LeaseError> {
        let lease = self.call(self.leases.get_opt(&self.settings.name)).await?;
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let now = Instant::now();
        *observed = spec.as_ref().map(|spec| Observed::update(observed.take(), spec, now));
        if let Some(transitions) = spec.as_ref().and_then(|spec| spec.lease_transitions) {
            self.metrics.epoch.set(transitions.into());
        }
        let me = |floor| Me { identity: &self.settings.identity, epoch: self.leadership.epoch(), floor };
        let floor = self.fenced_floor();
        match decide(spec.as_ref(), me(floor), observed.as_ref(), now) {
            Step::Renew => self.write(lease, None).await,
            Step::Take { .. } => {
                let floor = floor.max(self.stored_floor().await);
                match decide(spec.as_ref(), me(floor), observed.as_ref(), Instant::now()) {
                    Step::Take { epoch } => self.write(lease, Some(epoch)).await,
                    _ => Ok(self.exhausted(floor)),
                }
            }
            Step::Wait { until } => {
                self.lose("another controller leads", spec.and_then(|spec| spec.holder_identity));
                Ok(until.saturating_duration_since(now).min(self.period()))
            }
            Step::Exhausted => Ok(self.exhausted(floor)),
        }
    }

    /// Writes that the lease is this process's own, under a new epoch if one is given.
    async fn write(&self, lease: Option<Lease>, epoch: Option<u64>) -> Result<Duration, LeaseError> {
        // Before the call: others count from when they see the write, which is later.
        let sent = Instant::now();
        let next = next(lease, &self.settings, epoch, Timestamp::now());
        let params = PostParams::default();
        let written = if next.metadata.resource_version.is_some() {
            self.call(self.leases.replace(&self.settings.name, &params, &next)).await
        } else {
            self.call(self.leases.create(&params, &next)).await
        };
        match written {
            Ok(_) => {
                if let Some(epoch) = epoch.or(self.leadership.epoch()) {
                    self.win(epoch, sent + self.settings.duration);
                }
                Ok(self.period())
            }
            // Somebody else was faster: look again soon.
            Err(LeaseError::Kube(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() =>
            {
                Ok(RETRY.delay(1))
            }
            Err(error) => Err(error),
        }
    }

    fn win(&self, epoch: u64, until: Instant) {
        if self.leadership.epoch() != Some(epoch) {
            info!(
                lease = self.settings.name,
                identity = self.settings.identity,
                epoch,
                "this controller leads"
            );
        }
        self.leadership.confirm(epoch, until);
        self.metrics.leader.set(1);
        self.metrics.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
    }

    fn lose(&self, why: &'static str, holder: Option<String>) {
        if let Some(epoch) = self.leadership.epoch() {
            warn!(lease = self.settings.name, epoch, holder, why, "this controller leads no more");
        }
        self.leadership.lose();
        self.metrics.leader.set(0);
    }

    fn exhausted(&self, floor: u64) -> Duration {
        error!(
            floor,
            "a store holds a routing table of an epoch that no Lease can exceed: delete the table from the store"
        );
        self.lose("no epoch is left", None);
        self.period()
    }

    /// The epoch that a store refused this process's tables for.
    fn fenced_floor(&self) -> u64 {
        self.fenced.borrow().map_or(0, |fenced| fenced.held.epoch)
    }

    /// The highest epoch in the stores that answer. One that does not will fence a table that is too old.
    async fn stored_floor(&self) -> u64 {
        let heads = self.stores.iter().map(|store| async move {
            match timeout(STORE_TIMEOUT, store.head()).await {
                Ok(Ok(head)) => head.map_or(0, |head| head.version.epoch),
                Ok(Err(error)) => {
                    warn!(store = store.name(), %error, "the epoch in a store cannot be read");
                    0
                }
                Err(_) => {
                    warn!(store = store.name(), "the epoch in a store cannot be read: no answer in time");
                    0
                }
            }
        });
        join_all(heads).await.into_iter().max().unwrap_or(0)
    }

    async fn vacate(&self) {
        let Some(epoch) = self.leadership.epoch() else { return };
        self.lose("shutting down", None);
        let read = self.call(self.leases.get_opt(&self.settings.name)).await;
        let Ok(Some(mut lease)) = read else {
            warn!(lease = self.settings.name, "the Lease could not be given up; it ends by itself");
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        let held = spec.holder_identity.as_deref() == Some(self.settings.identity.as_str())
            && spec.lease_transitions.and_then(|n| u64::try_from(n).ok()) == Some(epoch);
        if !held {
            return;
        }
        spec.holder_identity = Some(String::new());
        match self.call(self.leases.replace(&self.settings.name, &PostParams::default(), &lease)).await {
            Ok(_) => info!(lease = self.settings.name, epoch, "gave the Lease up"),
            Err(error) => {
                warn!(lease = self.settings.name, %error, "the Lease could not be given up; it ends by itself");
            }
        }
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
        let limit = self.period();
        timeout(limit, call).await.map_err(|_| LeaseError::Timeout(limit))?.map_err(LeaseError::Kube)
    }
}

/// The Lease as it is to be written. A `resourceVersion` that was read makes the write a compare-and-set.
fn next(lease: Option<Lease>, settings: &LeaseSettings, epoch: Option<u64>, now: Timestamp) -> Lease {
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(settings.name.clone()), ..ObjectMeta::default() },
        spec: None,
    });
    lease.metadata.managed_fields = None;
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(settings.identity.clone());
    spec.lease_duration_seconds = Some(i32::try_from(settings.duration.as_secs()).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
    if let Some(epoch) = epoch {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(i32::try_from(epoch).unwrap_or(i32::MAX));
    }
    lease
}
