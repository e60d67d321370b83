//! What a person sees of a node with `kubectl`.

use crate::cluster::{Cluster, PATIENCE, definition, holds, is, manifest_of, reason, table};
use crate::node::{StubNode, list};
use aivonx_crds::v1alpha1::NodeState;
use aivonx_state::NodeId;
use aivonx_state::store::memory::MemoryStore;
use aivonx_tests::wait::eventually;
use anyhow::{Result, ensure};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_node_becomes_ready_is_lost_and_comes_back() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let node = StubNode::start_at(listener, &["b:1", "a:1"]);
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let shown = cluster.kubectl(&["get", "onode", "gpu-1", "--no-headers"]).await?;
    assert_eq!(&shown.split_whitespace().collect::<Vec<_>>()[..3], ["gpu-1", "Unknown", "Pending"]);

    let controller = cluster.controller("one", &store).await?;
    for condition in ["Ready", "Accepted", "Reachable", "InventorySynced", "Published"] {
        let condition = format!("--for=condition={condition}");
        cluster.kubectl(&["wait", "onode/gpu-1", &condition, "--timeout=60s"]).await?;
    }
    let shown = cluster.kubectl(&["get", "onode", "gpu-1", "-o", "wide"]).await?;
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        [
            "NAME", "READY", "REASON", "STATE", "MODELS", "LOADED", "VERSION", "AGE", "ENDPOINT", "WEIGHT",
            "MESSAGE"
        ]
    );
    assert_eq!(lines[1][..7], ["gpu-1", "True", "Ready", "Ready", "2", "0", "0.12.3"]);
    assert_eq!(lines[1][8..10], [node.url().as_str(), "1"]);
    assert_eq!(cluster.event("gpu-1", "NodeReady").await?.matches("2 models").count(), 1);
    let status = cluster.node("gpu-1").await?.status.unwrap();
    assert_eq!(status.observed_generation, Some(1));
    let names: Vec<_> = status.inventory.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["a:1", "b:1"]);

    node.kill();
    let status = cluster.status("gpu-1", "it is lost", |status| is(status, "Reachable", "False")).await?;
    assert_eq!((status.state, reason(&status, "Ready")), (NodeState::Unreachable, "ConnectionRefused"));
    assert_eq!(status.models.unwrap().total, 2, "its models are still told");
    let transition = status.last_transition.unwrap();
    assert_eq!((transition.from.as_str(), transition.reason.as_str()), ("Healthy", "ConnectionRefused"));
    cluster.event("gpu-1", "NodeUnreachable").await?;

    let _again = StubNode::start_at(TcpListener::bind(address).await?, &["b:1", "a:1"]);
    cluster.status("gpu-1", "it is back", |status| is(status, "Ready", "True")).await?;
    cluster.event("gpu-1", "NodeRecovered").await?;
    controller.stop().await;
    Ok(())
}

/// Waits until the node was probed so often.
async fn probed(node: &StubNode, times: usize) -> Result<()> {
    let start = node.hits("/api/version");
    eventually("the node is probed", PATIENCE, async || {
        let hits = node.hits("/api/version") - start;
        ensure!(hits >= times, "{hits} of {times} times");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_written_while_nothing_happens() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let controller = cluster.controller("one", &store).await?;
    cluster.status("gpu-1", "it is ready", |status| is(status, "Ready", "True")).await?;
    probed(&node, 5).await?;
    let (before, writes) = (cluster.node("gpu-1").await?, controller.metric("aivonx_status_writes_total"));
    probed(&node, 20).await?;
    assert_eq!(cluster.node("gpu-1").await?.metadata.resource_version, before.metadata.resource_version);
    assert_eq!(controller.metric("aivonx_status_writes_total"), writes);

    // A look that finds nothing new writes nothing either.
    let looks = controller.metric("aivonx_reconciles_total");
    cluster.kubectl(&["annotate", "onode", "gpu-1", "aivonx.io/refresh-requested-at=now"]).await?;
    eventually("it is looked at", PATIENCE, async || {
        ensure!(controller.metric("aivonx_reconciles_total") > looks, "not yet");
        Ok(())
    })
    .await?;
    probed(&node, 2).await?;
    assert_eq!(controller.metric("aivonx_status_writes_total"), writes);
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_owners_wishes_reach_the_table_and_the_status() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1", "b:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "weight: 3")).await?;
    let controller = cluster.controller("one", &store).await?;
    holds(&store, "gpu-1", "it serves", |entry| entry.takes_requests() && entry.weight == 3).await?;
    cluster.apply(&manifest_of("gpu-1", &node, "schedulingState: Cordoned")).await?;
    let status =
        cluster.status("gpu-1", "it is cordoned", |status| status.state == NodeState::Cordoned).await?;
    assert_eq!((reason(&status, "Ready"), status.observed_generation), ("Cordoned", Some(2)));
    let entry = holds(&store, "gpu-1", "it serves no more", |entry| !entry.takes_requests()).await?;
    assert_eq!(entry.weight, 1);
    cluster.apply(&manifest_of("gpu-1", &node, "models: {deny: ['a*']}")).await?;
    cluster.status("gpu-1", "it is ready again", |status| is(status, "Ready", "True")).await?;
    let entry = holds(&store, "gpu-1", "one model is hidden", |entry| entry.models.len() == 1).await?;
    assert_eq!(entry.models[0].name, "b:1");

    cluster.kubectl(&["delete", "onode", "gpu-1"]).await?;
    eventually("it is gone from the table", PATIENCE, async || {
        ensure!(!table(&store).await?.nodes.contains_key(&NodeId::new("default", "gpu-1")), "it is there");
        Ok(())
    })
    .await?;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    holds(&store, "gpu-1", "another of its name serves", |entry| entry.takes_requests()).await?;
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_served_is_told_and_heals_when_it_can() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    let auth = "auth: {type: Bearer, secretRef: {name: x, key: token}}";
    cluster.apply(&manifest_of("secret", &node, auth)).await?;
    cluster
        .apply(
            "apiVersion: aivonx.io/v1alpha1
kind: OllamaNode
metadata: {name: service, namespace: default}
spec: {serviceRef: {name: ollama}}
",
        )
        .await?;
    let controller = cluster.controller("one", &store).await?;
    let status = cluster.status("secret", "it is rejected", |status| is(status, "Accepted", "False")).await?;
    assert_eq!((status.state, reason(&status, "Ready")), (NodeState::Rejected, "NotSupported"));
    assert!(
        cluster.event("secret", "ConfigRejected").await?.contains("auth.type Bearer is not supported yet")
    );
    let status =
        cluster.status("service", "it is rejected", |status| is(status, "Accepted", "False")).await?;
    assert_eq!(reason(&status, "Accepted"), "ServiceNotFound");

    cluster.apply(&manifest_of("secret", &node, "")).await?;
    cluster.status("secret", "it is ready", |status| is(status, "Ready", "True")).await?;
    cluster.kubectl(&["create", "service", "clusterip", "ollama", "-n", "default", "--tcp=80:11434"]).await?;
    let what = "the port is missed";
    cluster.status("service", what, |status| reason(status, "Accepted") == "ServicePortNotFound").await?;
    cluster.kubectl(&["delete", "service", "ollama", "-n", "default"]).await?;
    cluster.kubectl(&["create", "service", "clusterip", "ollama", "-n", "default", "--tcp=11434"]).await?;
    let status = cluster.status("service", "it is accepted", |status| is(status, "Accepted", "True")).await?;
    assert_eq!(status.endpoint.as_deref(), Some("http://ollama.default.svc:11434"));
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn one_object_that_cannot_be_read_stops_no_other() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    // A definition of a later version knows a word that this program does not.
    let later = definition()?.replace("- Cordoned\n", "- Cordoned\n                - Paused\n");
    assert_ne!(later, definition()?);
    cluster.apply(&later).await?;
    eventually("the later definition is in force", PATIENCE, async || {
        cluster.apply(&manifest_of("strange", &node, "schedulingState: Paused")).await
    })
    .await?;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let controller = cluster.controller("one", &store).await?;
    cluster.status("gpu-1", "it is ready", |status| is(status, "Ready", "True")).await?;
    let wait = ["wait", "onode/strange", "--for=jsonpath={.status.state}=Rejected", "--timeout=60s"];
    cluster.kubectl(&wait).await?;
    let message = r#"jsonpath={.status.conditions[?(@.type=="Accepted")].message}"#;
    let message = cluster.kubectl(&["get", "onode", "strange", "-o", message]).await?;
    assert!(message.contains("cannot be read by this version"), "{message}");
    controller.stop().await;
    Ok(())
}

#[tokio::test]
async fn nodes_are_published_together_or_not_at_all() -> Result<()> {
    let (cluster, store) = (Cluster::start().await?, MemoryStore::new());
    let node = StubNode::start(&["a:1"]).await;
    node.answer("/api/ps", list(&["a:1"]));
    let manifests: Vec<String> = (0..40).map(|n| manifest_of(&format!("gpu-{n}"), &node, "")).collect();
    cluster.apply(&manifests.join("---\n")).await?;
    let controller = cluster.controller("one", &store).await?;
    let first = eventually("a table", PATIENCE, async || table(&store).await).await?;
    assert_eq!(first.nodes.len(), 40, "the first table of a leader has every node");
    controller.stop().await;
    Ok(())
}
