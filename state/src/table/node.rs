//! One node in the routing table.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a node: the namespace and the name of its `OllamaNode`, written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(std::sync::Arc<str>);

impl NodeId {
    /// The id of the `OllamaNode` `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace; empty if the text has no slash.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name without the namespace.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for NodeId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// How a node is chosen among those that can serve a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The node with the fewest requests in flight for its weight.
    #[default]
    LeastActive,
    /// The node whose first byte came soonest lately.
    LowestLatency,
    /// Each node in turn, by weight.
    RoundRobin,
}

/// Whether new requests may go to a node, as its owner wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulingState {
    /// Takes requests.
    #[default]
    Active,
    /// Takes no new requests; nothing else changes.
    Cordoned,
    /// Takes no new requests and is on its way out.
    Draining,
}

/// What the controller's probes say of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Not probed often enough to say.
    #[default]
    Unknown,
    /// Answers.
    Healthy,
    /// Failed as many probes in a row as its threshold says.
    Unhealthy,
}

/// Separate limits for the parts of an upstream exchange, in milliseconds; 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTimeouts {
    /// To open a connection.
    pub connect_ms: u64,
    /// From the request's last byte to the head of the response. It covers queueing, a cold load and the prompt.
    pub first_byte_ms: u64,
    /// Between two parts of a response.
    pub idle_ms: u64,
    /// For the whole exchange.
    pub total_ms: u64,
}

impl Default for NodeTimeouts {
    fn default() -> Self {
        Self { connect_ms: 3_000, first_byte_ms: 600_000, idle_ms: 120_000, total_ms: 0 }
    }
}

/// A node as the data plane needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeEntry {
    /// Whose entry this is.
    pub id: NodeId,
    /// The UID of the resource: another object of the same name is another node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `http://host:port` or `https://host:port`, no path.
    pub url: String,
    /// Higher tiers are used first; lower ones take what is left over.
    #[serde(default)]
    pub priority: i32,
    /// Share of the load among nodes of one tier, 0 to 1000; 0 takes requests only when no other node can.
    #[serde(default = "one")]
    pub weight: u32,
    /// The owner's wish.
    #[serde(default)]
    pub scheduling_state: SchedulingState,
    /// The probes' finding.
    #[serde(default)]
    pub health: Health,
    /// Why the node is unhealthy: a condition reason such as `ConnectionRefused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What `/api/version` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Requests at once over all models; 0 means no limit is known.
    #[serde(default)]
    pub max_concurrent: u32,
    /// Requests at once for one model; 0 means no limit is known.
    #[serde(default)]
    pub max_concurrent_per_model: u32,
    /// Limits for requests to this node.
    #[serde(default)]
    pub timeouts: NodeTimeouts,
    /// The path of the health check; what a data plane asks when it suspects the node.
    #[serde(default = "default_health_path")]
    pub health_path: String,
    /// The models that may be asked for here, after the node's allow and deny lists.
    #[serde(default)]
    pub models: Vec<NodeModel>,
}

impl NodeEntry {
    /// An entry with every optional field at its default.
    pub fn new(id: NodeId, url: impl Into<String>) -> Self {
        Self {
            id,
            uid: String::new(),
            url: url.into(),
            priority: 0,
            weight: 1,
            scheduling_state: SchedulingState::default(),
            health: Health::default(),
            reason: None,
            version: None,
            max_concurrent: 0,
            max_concurrent_per_model: 0,
            timeouts: NodeTimeouts::default(),
            health_path: default_health_path(),
            models: Vec::new(),
        }
    }

    /// Whether new requests may go here.
    pub fn takes_requests(&self) -> bool {
        self.scheduling_state == SchedulingState::Active && self.health == Health::Healthy
    }
}

/// A model that a node has on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeModel {
    /// As the node spells it, always with a tag: `llama3.2:latest`.
    pub name: String,
    /// 64 hexadecimal digits, no prefix. Equal digests are equal weights, template and parameters.
    pub digest: String,
    /// Bytes on disk.
    pub size: u64,
    /// When the node last changed it, as the node wrote it (RFC 3339).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub modified_at: String,
    /// What `/api/tags` tells of the model's make.
    #[serde(default)]
    pub details: ModelDetails,
    /// `completion`, `embedding`, `tools`, …; empty for nodes older than 0.30.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Set while the model is in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
}

/// The `details` object of `/api/tags` and `/api/ps`, under Ollama's own field names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelDetails {
    /// The model this one was made from.
    pub parent_model: String,
    /// `gguf`.
    pub format: String,
    /// `llama`.
    pub family: String,
    /// All families of a model of several parts.
    pub families: Option<Vec<String>>,
    /// `3.2B`.
    pub parameter_size: String,
    /// `Q4_K_M`.
    pub quantization_level: String,
    /// The longest context the model was trained for, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// The width of its embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_length: Option<u64>,
}

/// A model in memory, from `/api/ps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loaded {
    /// Bytes in memory.
    pub size: u64,
    /// Those of them on a GPU.
    pub size_vram: u64,
    /// The context of the running process, in tokens for each slot; 0 if the node does not tell.
    #[serde(default)]
    pub context_length: u64,
    /// When the node means to unload it, as the node wrote it (RFC 3339).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
}

fn one() -> u32 {
    1
}

fn default_health_path() -> String {
    "/api/version".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_older_controller_is_read_with_defaults() {
        let entry: NodeEntry =
            serde_json::from_str(r#"{"id":"ai/gpu-1","url":"http://10.0.0.7:11434"}"#).unwrap();
        assert_eq!(entry, NodeEntry::new(NodeId::new("ai", "gpu-1"), "http://10.0.0.7:11434"));
    }

    #[test]
    fn only_an_active_healthy_node_takes_requests() {
        let mut node = NodeEntry::new(NodeId::new("ai", "gpu-1"), "http://10.0.0.7:11434");
        assert!(!node.takes_requests());
        node.health = Health::Healthy;
        assert!(node.takes_requests());
        node.scheduling_state = SchedulingState::Cordoned;
        assert!(!node.takes_requests());
    }

    #[test]
    fn an_id_gives_back_its_parts() {
        let id = NodeId::new("ai", "gpu-1");
        assert_eq!((id.namespace(), id.name(), id.as_str()), ("ai", "gpu-1", "ai/gpu-1"));
    }
}
