//! How the gateway checks a node's certificate.

use super::SecretKeyRef;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Settings for a node that speaks HTTPS.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.insecureSkipVerify || !has(self.caSecretRef)")
    .message("tls.caSecretRef has no effect with tls.insecureSkipVerify: remove one of them"))]
pub struct NodeTls {
    /// Accept any certificate. Anyone on the way can then read and change the traffic.
    #[serde(default)]
    pub insecure_skip_verify: bool,

    /// The certificate of the authority that signed the server's, if it is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,

    /// A Secret of type kubernetes.io/tls with the certificate that the gateway shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretRef>,

    /// The name that the server's certificate must hold, if it is not the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$')")
        .message("tls.serverName must be a host name, for example ollama.example.net"))]
    pub server_name: Option<String>,
}

/// A Secret in the same namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
