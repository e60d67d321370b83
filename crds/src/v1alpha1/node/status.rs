//! What the controller has found out about a node.
//!
//! It is written on transitions only; numbers that move all the time belong to the metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the controller has found out.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OllamaNodeStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// All in one word, for people. Programs read the conditions.
    #[serde(default)]
    pub state: NodeState,

    /// The address that the gateway uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// Ollama's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// How many models the node has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<ModelCounts>,

    /// The node's models, by name; the first 200 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub inventory: Vec<InventoryEntry>,

    /// Whether the node has more models than the inventory shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inventory_truncated: bool,

    /// The last change between healthy and unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition: Option<LastTransition>,

    /// Ready sums up the others: Accepted, Reachable, InventorySynced and Published.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl OllamaNodeStatus {
    /// How many models the inventory may show.
    pub const MAX_INVENTORY: usize = 200;

    /// The condition of a type, if the status has it.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// A node's state in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeState {
    /// Not enough is known yet.
    #[default]
    Pending,
    /// Takes requests.
    Ready,
    /// Answers, but something is wrong: its models are not known, or the routing table did not reach the store.
    Degraded,
    /// Does not answer.
    Unreachable,
    /// Its owner stopped new requests.
    Cordoned,
    /// Its owner stopped new requests for good.
    Draining,
    /// The spec cannot be served.
    Rejected,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How many models a node has.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCounts {
    /// On disk.
    #[serde(default)]
    pub total: i64,
    /// In memory.
    #[serde(default)]
    pub loaded: i64,
}

/// A model on a node.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryEntry {
    /// As the node spells it, with its tag.
    pub name: String,
    /// sha256:… of the manifest. Equal digests are equal models.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Bytes on disk.
    #[serde(default)]
    pub size_bytes: i64,
    /// The architecture, such as llama.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// Such as 3.2B.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parameter_size: String,
    /// Such as Q4_K_M.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quantization: String,
    /// Such as completion, embedding, tools; empty for servers older than 0.30.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether it is in memory.
    #[serde(default)]
    pub loaded: bool,
    /// Bytes on the GPU while it is in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram_bytes: Option<i64>,
    /// The context length of the running model while it is in memory, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<i64>,
}

/// A change of health.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastTransition {
    /// What it was before: Unknown, Healthy or Unhealthy.
    pub from: String,
    /// What it has been since.
    pub to: String,
    /// When it changed.
    pub at: Time,
    /// Why, as a condition reason.
    pub reason: String,
}
