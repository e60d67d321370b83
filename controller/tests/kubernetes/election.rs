//! Two controllers: one leads.

use crate::cluster::{Cluster, PATIENCE, holds, is, manifest_of, table};
use crate::node::StubNode;
use aivonx_controller::events::Events;
use aivonx_controller::fleet::{Fleet, FleetSettings, Stores, Term};
use aivonx_controller::lease::leadership;
use aivonx_controller::reconcile::{self, Context, ReconcileMetrics};
use aivonx_crds::OllamaNode;
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::table::Strategy;
use aivonx_state::{NodeId, RoutingTable, TableVersion, TableWriter as _};
use aivonx_tests::wait::eventually;
use anyhow::{Result, ensure};
use kube::core::DeserializeGuard;
use prometheus::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn another_controller_takes_over_and_no_node_is_lost_for_a_moment() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let lease = Duration::from_secs(12);
    let first = cluster.controller_with("first", &store, lease).await?;
    let term = first.leads().await?;
    let second = cluster.controller_with("second", &store, lease).await?;
    let before = cluster.status("gpu-1", "it is ready", |status| is(status, "Ready", "True")).await?;
    assert_eq!(second.running.leadership().confirmed(Instant::now()), None);
    assert_eq!(second.metric("aivonx_status_writes_total"), 0.0, "a follower writes nothing");
    assert_eq!((first.metric("aivonx_leader"), second.metric("aivonx_leader")), (1.0, 0.0));

    let given_up = Instant::now();
    first.stop().await;
    let next = second.leads().await?;
    assert!(next.epoch > term.epoch);
    assert!(given_up.elapsed() < lease * 2 / 3, "a lease that was given up is not waited for");
    assert_eq!(cluster.lease().await?.holder_identity.as_deref(), Some("second"));
    let published = |table: &RoutingTable| table.head.version.epoch == next.epoch;
    eventually("the new leader publishes", PATIENCE, async || {
        let table = table(&store).await?;
        ensure!(published(&table), "{:?}", table.head);
        ensure!(table.nodes.values().all(|node| node.takes_requests()), "{table:?}");
        Ok(())
    })
    .await?;
    let after = cluster.node("gpu-1").await?.status;
    assert_eq!(after.as_ref(), Some(&before), "a change of leader is no news of a node");
    node.kill();
    cluster.status("gpu-1", "the new leader probes", |status| is(status, "Reachable", "False")).await?;
    second.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_epoch_is_above_every_epoch_in_the_store() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let version = TableVersion { epoch: 41, revision: 7 };
    let old = RoutingTable::new(version, jiff::Timestamp::now(), Strategy::default(), BTreeMap::new());
    store.publish(&old, None).await?;
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let controller = cluster.controller("one", &store).await?;
    assert_eq!(controller.leads().await?, Term { epoch: 42 });
    assert_eq!(cluster.lease().await?.lease_transitions, Some(42));
    holds(&store, "gpu-1", "it serves", |entry| entry.takes_requests()).await?;

    // A Lease that is deleted starts from nothing; the store remembers.
    cluster.kubectl(&["delete", "lease", "aivonx-controller", "-n", crate::cluster::SYSTEM]).await?;
    eventually("it leads anew", PATIENCE, async || {
        let transitions = cluster.lease().await?.lease_transitions;
        ensure!(transitions == Some(43), "{transitions:?}");
        Ok(())
    })
    .await?;

    // Somebody else has published under a higher epoch meanwhile: the leader rises above it.
    let version = TableVersion { epoch: 90, revision: 1 };
    let foreign = RoutingTable::new(version, jiff::Timestamp::now(), Strategy::default(), BTreeMap::new());
    store.publish(&foreign, None).await?;
    holds(&store, "gpu-1", "it serves again", |entry| entry.takes_requests()).await?;
    assert_eq!(table(&store).await?.head.version.epoch, 91);
    assert_eq!(controller.leads().await?, Term { epoch: 91 });
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_not_sure_of_its_lease_writes_no_status() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let parts = Parts::new(&cluster, &store).await?;
    // It has led, but its last renewal is too long ago.
    parts.leadership.confirm(1, Instant::now());
    let running = tokio::spawn({
        let (context, stop) = (Arc::clone(&parts.context), parts.stop.clone());
        async move { reconcile::run(context, None, stop).await }
    });
    holds(&store, "gpu-1", "it serves", |entry| entry.takes_requests()).await?;
    let untouched = cluster.node("gpu-1").await?;
    assert_eq!(untouched.metadata.generation, Some(1));
    assert_eq!(untouched.status.unwrap().observed_generation, None);
    parts.leadership.confirm(1, Instant::now() + Duration::from_secs(600));
    cluster.status("gpu-1", "it is told after all", |status| is(status, "Ready", "True")).await?;
    parts.stop.cancel();
    running.await?;
    Ok(())
}

#[tokio::test]
async fn a_reconcile_that_a_delete_has_overtaken_changes_nothing() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let deleted = cluster.node("gpu-1").await?;
    cluster.kubectl(&["delete", "onode", "gpu-1"]).await?;
    cluster.apply(&manifest_of("gpu-1", &node, "weight: 2")).await?;
    let parts = Parts::new(&cluster, &store).await?;
    parts.leadership.confirm(1, Instant::now() + Duration::from_secs(600));
    eventually("the fleet has taken over", Duration::from_secs(20), async || {
        ensure!(parts.fleet.is_current(), "it has not");
        Ok(())
    })
    .await?;
    let guarded: DeserializeGuard<OllamaNode> = DeserializeGuard(Ok(deleted));
    let outcome = reconcile::node::reconcile(Arc::new(guarded), Arc::clone(&parts.context)).await;
    assert_eq!(outcome.unwrap_err().category(), "conflict");
    assert_eq!(parts.fleet.observation(&NodeId::new("default", "gpu-1")), None, "it was not brought back");
    assert_eq!(cluster.node("gpu-1").await?.status.unwrap().observed_generation, None);
    parts.stop.cancel();
    Ok(())
}

/// A controller whose leadership the test decides.
struct Parts {
    context: Arc<Context>,
    fleet: Fleet,
    leadership: aivonx_controller::lease::LeadershipWriter,
    stop: CancellationToken,
}

impl Parts {
    async fn new(cluster: &Cluster, store: &MemoryStore) -> Result<Self> {
        let client = cluster.service_account().await?;
        let (writer, leading) = leadership();
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let stores = Stores { tables: vec![Arc::new(store.clone())], history: None };
        let fleet = Fleet::start(FleetSettings::default(), stores, leading.term(), stop.clone(), &registry)?;
        let metrics = ReconcileMetrics::register(&registry)?;
        let events = Events::new(client.clone(), "one");
        let context = Arc::new(Context::new(client, fleet.clone(), leading, events, metrics));
        Ok(Self { context, fleet, leadership: writer, stop })
    }
}
