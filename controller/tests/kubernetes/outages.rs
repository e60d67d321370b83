//! The API server goes away, and comes back.

use crate::cluster::{Cluster, PATIENCE, holds, is, manifest_of};
use crate::node::StubNode;
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::table::Health;
use aivonx_tests::wait::eventually;
use anyhow::{Result, ensure};
use tokio::time::Instant;

#[tokio::test]
async fn the_fleet_goes_on_without_the_api_server() -> Result<()> {
    let (mut cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let (steady, lost, late) =
        (StubNode::start(&["a:1"]).await, StubNode::start(&["a:1"]).await, StubNode::start(&["a:1"]).await);
    cluster.apply(&manifest_of("steady", &steady, "")).await?;
    cluster.apply(&manifest_of("lost", &lost, "")).await?;
    let controller = cluster.controller("one", &store).await?;
    cluster.status("steady", "it is ready", |status| is(status, "Ready", "True")).await?;
    cluster.status("lost", "it is ready", |status| is(status, "Ready", "True")).await?;

    cluster.api.kill()?;
    lost.kill();
    holds(&store, "lost", "it is unhealthy", |entry| entry.health == Health::Unhealthy).await?;
    eventually("the lease is no longer sure", PATIENCE, async || {
        ensure!(controller.running.leadership().confirmed(Instant::now()).is_none(), "it is");
        Ok(())
    })
    .await?;
    assert!(controller.running.leadership().term().borrow().is_some(), "nobody else is known to lead");
    holds(&store, "steady", "it serves", |entry| entry.takes_requests()).await?;

    cluster.api.restart().await?;
    cluster
        .status("lost", "what happened meanwhile is told", |status| is(status, "Reachable", "False"))
        .await?;
    cluster.event("lost", "NodeUnreachable").await?;
    cluster.apply(&manifest_of("late", &late, "")).await?;
    cluster.status("late", "the watch works", |status| is(status, "Ready", "True")).await?;
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_hangs_holds_nobody_up() -> Result<()> {
    let (mut cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let controller = cluster.controller("one", &store).await?;
    cluster.status("gpu-1", "it is ready", |status| is(status, "Ready", "True")).await?;
    let failures = controller.metric("aivonx_lease_failures_total");
    cluster.api.process().pause()?;
    eventually("three calls have ended", PATIENCE, async || {
        let more = controller.metric("aivonx_lease_failures_total") - failures;
        ensure!(more >= 3.0, "{more}");
        Ok(())
    })
    .await?;
    node.kill();
    holds(&store, "gpu-1", "it is unhealthy", |entry| entry.health == Health::Unhealthy).await?;
    cluster.api.process().resume()?;
    controller.leads().await?;
    cluster.status("gpu-1", "it is told", |status| is(status, "Reachable", "False")).await?;
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_controller_that_starts_before_the_api_server_waits_for_it() -> Result<()> {
    let (mut cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    cluster.api.kill()?;
    let controller = cluster.controller("one", &store).await?;
    eventually("it has tried", PATIENCE, async || {
        ensure!(controller.metric("aivonx_watch_failures_total") > 0.0, "not yet");
        ensure!(controller.metric("aivonx_lease_failures_total") > 0.0, "not yet");
        Ok(())
    })
    .await?;
    cluster.api.restart().await?;
    cluster.status("gpu-1", "it is ready", |status| is(status, "Ready", "True")).await?;
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_while_nobody_watches_is_dropped() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let (keep, drop) = (StubNode::start(&["a:1"]).await, StubNode::start(&["a:1"]).await);
    cluster.apply(&manifest_of("keep", &keep, "")).await?;
    cluster.apply(&manifest_of("drop", &drop, "")).await?;
    let first = cluster.controller("first", &store).await?;
    holds(&store, "drop", "it serves", |entry| entry.takes_requests()).await?;
    first.stop().await;
    cluster.kubectl(&["delete", "onode", "drop"]).await?;
    let second = cluster.controller("second", &store).await?;
    eventually("it is gone from the table", PATIENCE, async || {
        let table = crate::cluster::table(&store).await?;
        ensure!(table.nodes.len() == 1, "{table:?}");
        Ok(())
    })
    .await?;
    holds(&store, "keep", "it serves", |entry| entry.takes_requests()).await?;
    second.stop().await;
    Ok(())
}
