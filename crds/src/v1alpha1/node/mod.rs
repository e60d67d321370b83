//! `OllamaNode`: one Ollama server.

mod auth;
mod capacity;
mod health;
mod service_ref;
mod status;
mod timeouts;
mod tls;
mod url_rules;

pub use auth::{AuthType, NodeAuth, SecretKeyRef};
pub use capacity::{ModelPatterns, NodeCapacity};
pub use health::NodeHealth;
pub use service_ref::{Scheme, ServiceRef};
pub use status::{InventoryEntry, LastTransition, ModelCounts, NodeState, OllamaNodeStatus};
pub use timeouts::NodeTimeouts;
pub use tls::{NodeTls, SecretRef};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the owner of an Ollama server says of it.
#[expect(clippy::duplicated_attributes, reason = "each column has its own")]
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "aivonx.io",
    version = "v1alpha1",
    kind = "OllamaNode",
    plural = "ollamanodes",
    shortname = "onode",
    category = "aivonx",
    namespaced,
    cel,
    status = "OllamaNodeStatus",
    derive = "PartialEq",
    doc = "An Ollama server that the gateway sends requests to. Example: {spec: {url: http://10.0.0.7:11434}}.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the node takes requests."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it does or does not."
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Models",
        type_ = "integer",
        json_path = ".status.models.total",
        description = "Models on disk."
    ),
    printcolumn(
        name = "Loaded",
        type_ = "integer",
        json_path = ".status.models.loaded",
        description = "Models in memory."
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Ollama's version."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.serviceRef)")
    .message("set exactly one of url and serviceRef"))]
pub struct OllamaNodeSpec {
    /// The address of the server: scheme, host and port, such as http://10.0.0.7:11434.
    /// Use this for a server outside the cluster; for one inside, serviceRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    #[x_kube(
        validation = Rule::new(url_rules::SCHEME.rule).message(url_rules::SCHEME.message),
        validation = Rule::new(url_rules::USER_INFO.rule).message(url_rules::USER_INFO.message),
        validation = Rule::new(url_rules::PATH.rule).message(url_rules::PATH.message),
        validation = Rule::new(url_rules::HOST.rule).message(url_rules::HOST.message),
        validation = Rule::new(url_rules::IPV4_SPELLING.rule).message(url_rules::IPV4_SPELLING.message),
        validation = Rule::new(url_rules::FORBIDDEN_V4.rule).message(url_rules::FORBIDDEN_V4.message),
        validation = Rule::new(url_rules::FORBIDDEN_V6.rule).message(url_rules::FORBIDDEN_V6.message),
        validation = Rule::new(url_rules::FORBIDDEN_NAME.rule).message(url_rules::FORBIDDEN_NAME.message),
    )]
    pub url: Option<String>,

    /// The Kubernetes Service in front of the server, in the namespace of this object. Example: {name: ollama}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,

    /// Active takes requests; Cordoned takes no new ones; Draining takes no new ones and is on its way out.
    #[serde(default)]
    pub scheduling_state: SchedulingState,

    /// Share of the load among nodes of the same priority, 0 to 1000. A node of weight 2 gets twice as much as one of
    /// weight 1; one of weight 0 gets requests only when no other can take them.
    #[serde(default = "default_weight")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 1000")
        .message("weight must be between 0 and 1000; use schedulingState: Cordoned to stop requests"))]
    pub weight: i32,

    /// Nodes of the highest priority are used first; lower ones take what those cannot. May be negative.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= -1000 && self <= 1000")
        .message("priority must be between -1000 and 1000; higher is used first"))]
    pub priority: i32,

    /// How many requests the server takes at once.
    #[serde(default)]
    pub capacity: NodeCapacity,

    /// Which of the server's models may be asked for through the gateway.
    #[serde(default)]
    pub models: ModelPatterns,

    /// How the gateway proves itself to the server. Not served yet: a node with a type other than None is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<NodeAuth>,

    /// How the gateway checks the server's certificate. Not served yet: a node that sets it is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<NodeTls>,

    /// Limits for the parts of a request to this server.
    #[serde(default)]
    pub timeouts: NodeTimeouts,

    /// How the controller finds out whether the server works.
    #[serde(default)]
    pub health: NodeHealth,
}

/// Whether new requests may go to a node, as its owner wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchedulingState {
    /// Takes requests.
    #[default]
    Active,
    /// Takes no new requests; nothing else changes.
    Cordoned,
    /// Takes no new requests and is on its way out.
    Draining,
}

fn default_weight() -> i32 {
    1
}

impl Default for OllamaNodeSpec {
    fn default() -> Self {
        Self {
            url: None,
            service_ref: None,
            scheduling_state: SchedulingState::default(),
            weight: default_weight(),
            priority: 0,
            capacity: NodeCapacity::default(),
            models: ModelPatterns::default(),
            auth: None,
            tls: None,
            timeouts: NodeTimeouts::default(),
            health: NodeHealth::default(),
        }
    }
}
