//! Whether nodes answer as Ollama does, asked as the controller's probes ask.

use super::report::{Finding, foreign};
use crate::advice;
use crate::args::Subject;
use crate::run::sources::{Nodes, Sources};
use aivonx_controller::address::SystemResolver;
use aivonx_controller::node::DesiredNode;
use aivonx_controller::probe::{ModelList, ProbeClient, ProbeFailure};
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const SUBJECT: Subject = Subject::Nodes;
/// Nodes asked at once.
const MAX_AT_ONCE: usize = 32;

/// Asks every node of `sources`, in the order of their names.
pub async fn check(sources: Sources, needed: bool, limit: Duration) -> Vec<Finding> {
    if sources.is_empty() {
        let message = "none is named: use --node URL or -f FILE";
        return vec![none(needed, message)];
    }
    match tokio::task::spawn_blocking(move || sources.read()).await {
        Ok(Ok(nodes)) if nodes.is_empty() => {
            vec![none(needed, "the files declare no OllamaNode")]
        }
        Ok(Ok(nodes)) => probe_all(nodes, limit).await,
        Ok(Err(refused)) => {
            refused.problems.into_iter().map(|problem| Finding::refused(SUBJECT, problem)).collect()
        }
        Err(error) => vec![Finding::refused(SUBJECT, format!("the files were not read: {error}"))],
    }
}

fn none(needed: bool, message: &str) -> Finding {
    if needed { Finding::refused(SUBJECT, message) } else { Finding::not_set(SUBJECT, message) }
}

async fn probe_all(nodes: Nodes, limit: Duration) -> Vec<Finding> {
    let client = match ProbeClient::new(Arc::new(SystemResolver::default())) {
        Ok(client) => client,
        Err(error) => return vec![Finding::refused(SUBJECT, format!("TLS cannot be set up: {error}"))],
    };
    let probes = nodes.into_values().map(|node| {
        let client = client.clone();
        async move {
            let outcome = timeout(limit, Box::pin(probe(&client, &node, limit))).await;
            judge(&node, outcome.unwrap_or(Err(Trouble::Slow(limit))))
        }
    });
    futures::stream::iter(probes).buffered(MAX_AT_ONCE).collect().await
}

/// What a node tells of itself.
struct Answer {
    version: String,
    models: ModelList,
}

enum Trouble {
    Failed(ProbeFailure),
    Slow(Duration),
}

impl From<ProbeFailure> for Trouble {
    fn from(failure: ProbeFailure) -> Self {
        Self::Failed(failure)
    }
}

async fn probe(client: &ProbeClient, node: &DesiredNode, limit: Duration) -> Result<Answer, Trouble> {
    let version = client.version(&node.url, limit).await?;
    let models = client.tags(&node.url, limit).await?;
    Ok(Answer { version, models })
}

fn judge(node: &DesiredNode, outcome: Result<Answer, Trouble>) -> Finding {
    let url = node.url.origin().ascii_serialization();
    let finding = match outcome {
        Ok(Answer { version, models }) => {
            let models = match models.models.len() {
                1 => "1 model".to_owned(),
                count => format!("{count} models"),
            };
            Finding::good(SUBJECT, format!("{url}: Ollama {}, {models}", foreign(&version)))
        }
        Err(Trouble::Failed(ProbeFailure { reason, message })) => Finding::wrong(
            SUBJECT,
            format!("{url}: {}", foreign(&message)),
            advice::for_node(reason.as_str()),
        ),
        Err(Trouble::Slow(limit)) => {
            Finding::wrong(SUBJECT, format!("{url}: no answer within {limit:?}"), advice::for_node("Timeout"))
        }
    };
    finding.named(node.id.as_str())
}
