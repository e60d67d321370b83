//! How much a node takes, and which of its models are offered.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Limits on the requests a node serves at once.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCapacity {
    /// Requests at once over all models; 0 means that the gateway sets no limit.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100000")
        .message("maxConcurrent must be 0 (no limit) or a number of requests up to 100000"))]
    pub max_concurrent: i32,

    /// Requests at once for one model, as OLLAMA_NUM_PARALLEL on the server; 0 means that the gateway sets no limit.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100000")
        .message("maxConcurrentPerModel must be 0 (no limit) or a number of requests up to 100000"))]
    pub max_concurrent_per_model: i32,
}

/// Which models may be asked for. A model is offered if a pattern in allow matches and none in deny does.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelPatterns {
    /// Patterns of model names that may be asked for; * stands for any text, ? for one character. Example: ["llama3*", "qwen2.5:7b"].
    #[serde(default = "everything")]
    #[schemars(length(max = 64), inner(length(max = 200)))]
    #[x_kube(validation = Rule::new(PATTERNS).message(PATTERNS_MESSAGE))]
    pub allow: Vec<String>,

    /// Patterns of model names that may not be asked for; they win over allow. Example: ["*-uncensored*"].
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 200)))]
    #[x_kube(validation = Rule::new(PATTERNS).message(PATTERNS_MESSAGE))]
    pub deny: Vec<String>,
}

const PATTERNS: &str = "self.all(pattern, pattern.matches('^[A-Za-z0-9._:/*?-]+$'))";
const PATTERNS_MESSAGE: &str =
    "write each pattern as a model name in which * stands for any text, such as llama3* or qwen2.5:7b";

impl Default for ModelPatterns {
    fn default() -> Self {
        Self { allow: everything(), deny: Vec::new() }
    }
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}
