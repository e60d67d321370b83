//! A node behind a Kubernetes Service.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Ollama's own port.
const DEFAULT_PORT: i32 = 11_434;

/// A port of a Service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// The name of the Service.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("serviceRef.name must be the name of a Service: lower-case letters, digits and dashes"))]
    pub name: String,

    /// The namespace of the Service. For now it must be that of this object, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("serviceRef.namespace must be the name of a namespace: lower-case letters, digits and dashes"))]
    pub namespace: Option<String>,

    /// The port of the Service (not the one of its pods).
    #[serde(default = "default_port")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 65535")
        .message("serviceRef.port must be between 1 and 65535; Ollama's own is 11434"))]
    pub port: i32,

    /// How to speak to it: http or https.
    #[serde(default)]
    pub scheme: Scheme,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

fn default_port() -> i32 {
    DEFAULT_PORT
}
