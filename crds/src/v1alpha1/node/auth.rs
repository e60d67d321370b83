//! How the gateway proves itself to a node.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Credentials for a node. They stay in a Secret of the same namespace; only its name stands here.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type == 'None' || has(self.secretRef)")
        .message("auth.type Bearer, Basic and Header need auth.secretRef with the name and the key of a Secret"),
    validation = Rule::new("self.type != 'None' || !has(self.secretRef)")
        .message("auth.secretRef has no effect with auth.type None: set the type to Bearer, Basic or Header"),
    validation = Rule::new("self.type != 'Header' || has(self.headerName)")
        .message("auth.type Header needs auth.headerName, for example X-Api-Key"),
)]
pub struct NodeAuth {
    /// None, Bearer (Authorization: Bearer VALUE), Basic (VALUE is user:password) or Header (HEADERNAME: VALUE).
    #[serde(default, rename = "type")]
    pub type_: AuthType,

    /// The key of the Secret that holds the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,

    /// The name of the header for type Header. Example: X-Api-Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$')")
        .message("auth.headerName must be the name of a header, for example X-Api-Key"))]
    pub header_name: Option<String>,
}

/// How credentials are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthType {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer VALUE`.
    Bearer,
    /// `Authorization: Basic BASE64(VALUE)`.
    Basic,
    /// A header of one's own.
    Header,
}

/// A key of a Secret in the same namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in the Secret's data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
