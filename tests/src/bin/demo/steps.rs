//! What is shown, one thing after the other.

use std::time::Duration;

use aivonx_tests::http;
use aivonx_tests::wait::eventually;
use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::clients::{Clients, chat};
use crate::narrator::Narrator;
use crate::system::{PATIENCE, System};

const NODES: [&str; 2] = ["ollamanode/gpu-1", "ollamanode/gpu-2"];
/// Answers that the clients must get after a part is gone before it counts as survived.
const ENOUGH: usize = 40;

/// What is wrong, as the fields of `spec`, and a word that the refusal must contain.
const BAD: [(&str, &str); 5] = [
    ("{url: 'http://10.0.0.7:11434', serviceRef: {name: ollama}}", "exactly one"),
    ("{url: 'ftp://10.0.0.7'}", "http"),
    ("{url: 'http://user:secret@10.0.0.7:11434'}", "credentials"),
    ("{url: 'http://169.254.169.254'}", "link-local"),
    ("{url: 'http://10.0.0.7:11434', capacity: {maxConcurrent: -1}}", "maxConcurrent"),
];

pub async fn refuse_bad_resources(system: &System, narrator: &Narrator) -> Result<()> {
    narrator.step("kubectl apply of bad resources: each is refused with a sentence");
    for (spec, word) in BAD {
        let resource = format!(
            "{{apiVersion: aivonx.io/v1alpha1, kind: OllamaNode, metadata: {{name: bad, namespace: default}}, spec: {spec}}}"
        );
        let refusal = match system.kube.apply("admin", &resource).await {
            Ok(printed) => anyhow::bail!("{spec} was accepted: {printed}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(refusal.contains(word), "{spec}: the refusal does not say {word:?}: {refusal}");
        narrator.seen(spec);
        narrator.seen(format!("  → {}", refusal.rsplit("is invalid: ").next().unwrap_or(&refusal)));
    }
    Ok(())
}

pub async fn apply_the_samples(system: &System, narrator: &Narrator) -> Result<()> {
    narrator.step("kubectl apply -f manifests/samples/ (with the addresses of the two Ollama servers)");
    let samples = system.samples.display().to_string();
    narrator.seen(kubectl(system, &["apply", "--filename", &samples]).await?);

    narrator.step("kubectl wait --for=condition=Published ollamanode/gpu-1 ollamanode/gpu-2");
    narrator.seen(wait(system, "condition=Published", &NODES).await?);

    narrator.step("The sample that is cordoned gets no requests until it is made Active");
    let active = r#"{"spec":{"schedulingState":"Active"}}"#;
    narrator.seen(kubectl(system, &["patch", NODES[1], "--type=merge", "--patch", active]).await?);
    narrator.seen(wait(system, "condition=Ready", &NODES).await?);

    narrator.step("The sample that names a Service which is not here is not accepted, and says why");
    narrator.seen(wait(system, "condition=Accepted=False", &["ollamanode/in-cluster"]).await?);

    narrator.step("kubectl get onode");
    let table = kubectl(system, &["get", "onode"]).await?;
    narrator.seen(&table);
    let ready = table.lines().filter(|line| line.contains("True") && line.contains("0.32")).count();
    ensure!(ready == 2, "{ready} nodes are READY True with a version");
    Ok(())
}

pub async fn stream_a_chat(system: &System, narrator: &Narrator) -> Result<()> {
    narrator.step("The same chat, streamed by an Ollama itself and through each data plane");
    let direct = streamed_text(&system.nodes[0].url()).await?;
    narrator.seen(format!("direct:                        {direct}"));
    for gateway in gateways(system) {
        eventually("the data plane serves", PATIENCE, async || {
            let models = http::get(format!("{gateway}/api/tags")).await?;
            ensure!(models.text()?.contains("alphabet"), "{} {}", models.status, models.text()?);
            Ok(())
        })
        .await?;
        let text = streamed_text(&gateway).await?;
        narrator.seen(format!("through {gateway}: {text}"));
        ensure!(text == direct, "the texts differ");
    }
    Ok(())
}

pub async fn kill_a_node(system: &mut System, narrator: &Narrator) -> Result<()> {
    narrator.step("kill -9 of one Ollama while clients ask");
    let clients = Clients::start(&gateways(system));
    clients.answered(ENOUGH).await?;
    system.nodes[0].kill()?;
    narrator.seen(wait(system, "condition=Reachable=False", &NODES[..1]).await?);
    clients.answered(ENOUGH).await?;
    let answered = clients.stop().await?;
    narrator.seen(format!("{answered} requests answered, 0 failed"));
    let reason = r#"jsonpath={.status.conditions[?(@.type=="Reachable")].reason}"#;
    let reason = kubectl(system, &["get", NODES[0], "--output", reason]).await?;
    narrator.seen(format!("Reachable=False, reason {reason}"));
    ensure!(reason == "ConnectionRefused", "the reason is {reason:?}");
    let event = eventually("there is an event", PATIENCE, async || {
        let events = kubectl(system, &["events", "--for", NODES[0], "--no-headers"]).await?;
        let event = events.lines().find(|line| line.contains("NodeUnreachable"));
        event.map(str::to_owned).with_context(|| format!("only: {events}"))
    });
    narrator.seen(event.await?);

    narrator.step("The Ollama comes back");
    system.nodes[0].restart().await?;
    narrator.seen(wait(system, "condition=Ready", &NODES[..1]).await?);
    for gateway in gateways(system) {
        eventually("the node gets requests again", PATIENCE, async || {
            let answer = http::post_json(format!("{gateway}/api/chat"), &chat(false)).await?;
            let node = answer.header("x-aivonx-node");
            ensure!(node == Some("default/gpu-1"), "answered by {node:?}");
            Ok(())
        })
        .await?;
    }
    narrator.seen("both data planes send it requests again");
    Ok(())
}

pub async fn flush_redis(system: &System, narrator: &Narrator) -> Result<()> {
    narrator.step("FLUSHALL on Redis while clients ask");
    let clients = Clients::start(&gateways(system));
    clients.answered(ENOUGH).await?;
    system.redis.flushall().await?;
    let flushed = Instant::now();
    eventually("the routing table is in Redis again", Duration::from_secs(10), async || {
        let nodes: Vec<String> = system.redis.command(&["HKEYS", "{aivonx}:table:nodes"]).await?;
        ensure!(nodes.len() == 2, "Redis holds {nodes:?}");
        Ok(())
    })
    .await?;
    let took = flushed.elapsed();
    ensure!(took <= Duration::from_secs(2), "it took {took:?}");
    clients.answered(ENOUGH).await?;
    let answered = clients.stop().await?;
    narrator.seen(format!(
        "whole again after {:.1} s; {answered} requests answered, 0 failed",
        took.as_secs_f64()
    ));
    Ok(())
}

pub async fn kill_the_controller(system: &mut System, narrator: &Narrator) -> Result<()> {
    narrator.step("kill -9 of the controller while clients ask");
    let clients = Clients::start(&gateways(system));
    system.controller.child.kill()?;
    clients.answered(ENOUGH).await?;
    let answered = clients.stop().await?;
    narrator.seen(format!("{answered} requests answered, 0 failed"));
    Ok(())
}

pub async fn start_without_redis(system: &mut System, narrator: &Narrator) -> Result<()> {
    narrator.step("FLUSHALL again, with no controller to fill Redis, and one more data plane");
    system.redis.flushall().await?;
    let dataplane = system.add_dataplane()?;
    dataplane.ready().await?;
    let text = streamed_text(&dataplane.url).await?;
    narrator.seen(format!("{} took its table from Postgres: {text}", dataplane.url));
    let keys: usize = system.redis.command(&["DBSIZE"]).await?;
    ensure!(keys == 0, "Redis holds {keys} keys, so this shows nothing");
    Ok(())
}

pub async fn kill_all_stores(system: &mut System, narrator: &Narrator) -> Result<()> {
    narrator.step("kill -9 of Redis, Postgres and the Kubernetes API while clients ask");
    let clients = Clients::start(&gateways(system));
    system.redis.kill()?;
    system.postgres.kill()?;
    system.kube.kill()?;
    clients.answered(ENOUGH).await?;
    let answered = clients.stop().await?;
    narrator.seen(format!("{answered} requests answered, 0 failed"));
    for dataplane in &mut system.dataplanes {
        dataplane.ready().await?;
        narrator.seen(format!("{} is still ready", dataplane.url));
    }
    Ok(())
}

fn gateways(system: &System) -> Vec<String> {
    system.dataplanes.iter().map(|dataplane| dataplane.url.clone()).collect()
}

async fn kubectl(system: &System, arguments: &[&str]) -> Result<String> {
    system.kube.kubectl_ok("admin", arguments).await
}

async fn wait(system: &System, condition: &str, objects: &[&str]) -> Result<String> {
    let arguments = ["wait", "--for", condition, "--timeout=60s"];
    kubectl(system, &[&arguments[..], objects].concat())
        .await
        .with_context(|| format!("the controller's log ends with:\n{}", system.controller.child.log_tail()))
}

async fn streamed_text(server: &str) -> Result<String> {
    let mut stream = http::stream_json(format!("{server}/api/chat"), &chat(true)).await?;
    ensure!(stream.status == 200, "{server}: {}", stream.status);
    let lines = stream.lines().await?;
    ensure!(lines.len() > 2, "{server}: {} lines are no stream", lines.len());
    let mut text = String::new();
    for line in &lines {
        text.push_str(line.json()?["message"]["content"].as_str().unwrap_or_default());
    }
    let last = lines.last().context("no line")?.json()?;
    ensure!(last["done"] == true, "{server}: the last line is {last}");
    Ok(text)
}
