//! The probing of one node: one task, cancelled when the node goes or this process stops leading.

use super::client::{ProbeClient, VERSION_PATH};
use super::schedule::{self, Standing};
use crate::fleet::shared::{Shared, Subject};
use crate::metrics::{NodeSeries, Probe};
use crate::node::HealthPolicy;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How soon lists that could not be read, or that must be confirmed, are read again.
const RELIST: Duration = Duration::from_secs(1);

/// What a worker asks, and how often. A change is looked at at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeTarget {
    /// Scheme, host and port.
    pub url: Url,
    /// The policy in force.
    pub policy: HealthPolicy,
    /// Counts the wishes to probe now.
    pub refresh: u64,
}

/// The bounds on probes at once. Nodes that fail wait for each other and not in the way of those that answer: a probe of
/// a dead node holds its place for the whole timeout, that of a good one for a millisecond. Lists have their own places,
/// since a node may stall on them while it is well.
#[derive(Debug)]
pub(crate) struct Lanes {
    steady: Semaphore,
    suspect: Semaphore,
    lists: Semaphore,
}

impl Lanes {
    /// `width` places in each lane.
    pub(crate) fn new(width: usize) -> Self {
        let lane = || Semaphore::new(width.max(1));
        Self { steady: lane(), suspect: lane(), lists: lane() }
    }

    fn health(&self, failures: u32) -> &Semaphore {
        if failures == 0 { &self.steady } else { &self.suspect }
    }
}

/// Probes one node until it is cancelled or the node is gone.
pub(crate) struct Worker {
    pub subject: Subject,
    pub shared: Arc<Shared>,
    pub client: ProbeClient,
    pub lanes: Arc<Lanes>,
    pub target: watch::Receiver<ProbeTarget>,
    pub cancel: CancellationToken,
    /// Nodes probed by this process, for the spread of the start.
    pub fleet_size: usize,
}

impl Worker {
    pub(crate) async fn run(self) {
        let series = self.shared.metrics.node(&self.subject.id);
        let list_due = Notify::new();
        // Two loops in one task: the health check goes on while a list stalls.
        let work =
            async { tokio::join!(self.watch_health(&series, &list_due), self.watch_models(&list_due)) };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => {}
            _ = Box::pin(work) => {}
        }
    }

    async fn watch_health(&self, series: &NodeSeries, list_due: &Notify) {
        let mut target = self.target.clone();
        let policy = target.borrow_and_update().policy.clone();
        let mut due = Instant::now() + schedule::start(self.fleet_size, policy.interval, rand::random());
        let mut failures = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                changed = target.changed() => if changed.is_err() { return },
            }
            let asked = target.borrow_and_update().clone();
            let Some(standing) = self.probe_health(&asked, failures, series).await else { return };
            failures = standing.failures;
            due = Instant::now() + schedule::next(asked.policy.interval, standing, rand::random());
            if failures == 0 {
                list_due.notify_one();
            }
        }
    }

    /// One health check and what it makes of the node; `None` if the node is gone.
    async fn probe_health(
        &self,
        asked: &ProbeTarget,
        failures: u32,
        series: &NodeSeries,
    ) -> Option<Standing> {
        // The lanes are never closed, so waiting for a place cannot fail.
        let _place = self.lanes.health(failures).acquire().await.ok()?;
        let started = Instant::now();
        let outcome = self.client.health(&asked.url, &asked.policy.path, asked.policy.timeout).await;
        self.shared.metrics.probed(Probe::Health, started.elapsed(), outcome.as_ref().err());
        let standing = self.shared.record_health(&self.subject, outcome)?;
        series.set_up(standing.state);
        Some(standing)
    }

    async fn watch_models(&self, list_due: &Notify) {
        let mut failures = 0_u32;
        loop {
            if failures == 0 {
                list_due.notified().await;
            } else {
                // The node answered just before, so it is asked again soon; but not for ever at that pace.
                let wait = RELIST.saturating_mul(failures.min(10));
                let _ = tokio::time::timeout(wait, list_due.notified()).await;
            }
            let asked = self.target.borrow().clone();
            match self.read_models(&asked).await {
                Some(again) => failures = if again { failures.saturating_add(1) } else { 0 },
                None => return,
            }
        }
    }

    /// Reads both lists, and the version if the health check does not tell it. Gives whether to look again soon; `None` if
    /// the node is gone.
    async fn read_models(&self, asked: &ProbeTarget) -> Option<bool> {
        let _place = self.lanes.lists.acquire().await.ok()?;
        let (url, timeout) = (&asked.url, asked.policy.timeout);
        if asked.policy.path != VERSION_PATH
            && let Ok(version) = self.client.version(url, timeout).await
        {
            self.shared.record_version(&self.subject, version);
        }
        let metrics = &self.shared.metrics;
        let started = Instant::now();
        let (tags, ps) = tokio::join!(
            async {
                let outcome = self.client.tags(url, timeout).await;
                metrics.probed(Probe::Tags, started.elapsed(), outcome.as_ref().err());
                outcome
            },
            async {
                let outcome = self.client.ps(url, timeout).await;
                metrics.probed(Probe::Ps, started.elapsed(), outcome.as_ref().err());
                outcome
            }
        );
        self.shared.record_models(&self.subject, tags, ps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_nodes_wait_in_a_lane_of_their_own() {
        let lanes = Lanes::new(1);
        let _held = lanes.health(1).try_acquire().unwrap();
        assert!(lanes.health(7).try_acquire().is_err());
        assert!(lanes.health(0).try_acquire().is_ok());
        assert!(lanes.lists.try_acquire().is_ok());
    }
}
