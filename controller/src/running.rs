//! The parts that work together while the controller runs: election, watch and fleet.

use crate::events::Events;
use crate::fleet::{Fleet, FleetSettings, Stores};
use crate::lease::{Election, Leadership, LeaseMetrics, leadership};
use crate::reconcile::{self, Context, ReconcileMetrics};
use crate::settings::ClusterSettings;
use aivonx_process::exit::Failure;
use kube::{Api, Client, Config};
use prometheus::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// For each part to come to its end. Together shorter than a pod's usual grace period.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// A running controller, without the process around it. Dropping it stops nothing: call [`Running::stop`].
pub struct Running {
    fleet: Fleet,
    leadership: Leadership,
    work: CancellationToken,
    reconciling: JoinHandle<()>,
    candidacy: CancellationToken,
    electing: JoinHandle<()>,
}

impl Running {
    /// Starts all parts. Must be called within a tokio runtime; nobody has to be there yet.
    pub fn start(
        kube: Config,
        stores: Stores,
        settings: &ClusterSettings,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        // The client's own repetitions would make a renewal come later than the lease lasts.
        let mut prompt = kube.clone();
        prompt.default_retry = false;
        let home = settings.lease_namespace.clone().unwrap_or_else(|| kube.default_namespace.clone());
        let client = Client::try_from(kube).map_err(Failure::runtime)?;
        let prompt = Client::try_from(prompt).map_err(Failure::runtime)?;

        let (work, candidacy) = (CancellationToken::new(), CancellationToken::new());
        let (writer, leadership) = leadership();
        let tables = stores.tables.clone();
        let fleet = Fleet::start(FleetSettings::default(), stores, leadership.term(), work.clone(), registry)
            .map_err(Failure::runtime)?;
        let election = Election {
            leases: Api::namespaced(prompt, &home),
            settings: settings.lease.clone(),
            stores: tables,
            fenced: fleet.fenced(),
            leadership: writer,
            metrics: LeaseMetrics::register(registry).map_err(Failure::runtime)?,
        };
        let context = Arc::new(Context::new(
            client.clone(),
            fleet.clone(),
            leadership.clone(),
            Events::new(client, &settings.lease.identity),
            ReconcileMetrics::register(registry).map_err(Failure::runtime)?,
        ));
        let (namespace, stop) = (settings.namespace.clone(), work.clone());
        let reconciling =
            tokio::spawn(async move { reconcile::run(context, namespace.as_deref(), stop).await });
        let electing = tokio::spawn(election.run(candidacy.clone()));
        Ok(Self { fleet, leadership, work, reconciling, candidacy, electing })
    }

    /// The fleet.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Whether this controller leads.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Completes when a part has ended that runs for as long as the process does: a defect. Says which. The process must
    /// end then, rather than go on half.
    pub async fn broken(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.reconciling => "the watch of the nodes",
            _ = &mut self.electing => "the election",
        }
    }

    /// Ends all parts. The Lease is given up last of all: while it is held, nobody else writes.
    pub async fn stop(self) {
        let Self { fleet, leadership: _, work, reconciling, candidacy, electing } = self;
        work.cancel();
        ended("the reconciler", async { drop(reconciling.await) }).await;
        ended("the fleet", fleet.stopped()).await;
        candidacy.cancel();
        ended("the election", async { drop(electing.await) }).await;
    }
}

/// Waits for the end of a part, within reason.
async fn ended(what: &'static str, end: impl Future<Output = ()>) {
    if timeout(STOP_TIMEOUT, end).await.is_err() {
        warn!(what, limit = ?STOP_TIMEOUT, "did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_by_itself_is_noticed() {
        let (work, candidacy) = (CancellationToken::new(), CancellationToken::new());
        let (writer, leadership) = leadership();
        let (stores, registry) = (Stores::default(), Registry::new());
        let fleet =
            Fleet::start(FleetSettings::default(), stores, leadership.term(), work.clone(), &registry)
                .unwrap();
        let reconciling = tokio::spawn(std::future::pending());
        let electing = tokio::spawn(async move { writer.lose() });
        let mut running = Running { fleet, leadership, work, reconciling, candidacy, electing };
        assert_eq!(running.broken().await, "the election");
    }
}
