//! Limits for the parts of a request.

use crate::{ApiDuration, duration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Separate limits, since a cold model may take minutes to say its first word and a stream may last an hour.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTimeouts {
    /// To open a connection.
    #[serde(default = "connect")]
    #[x_kube(validation = Rule::new(duration::between("1ms", "5m"))
        .message("timeouts.connect must be between 1ms and 5m"))]
    pub connect: ApiDuration,

    /// From the end of the request to the first byte of the answer. It covers loading the model and reading the prompt.
    /// 0s means no limit.
    #[serde(default = "first_byte")]
    pub first_byte: ApiDuration,

    /// Between two parts of an answer. 0s means no limit.
    #[serde(default = "idle")]
    pub idle: ApiDuration,

    /// For the whole exchange. 0s means no limit.
    #[serde(default)]
    pub total: ApiDuration,
}

impl Default for NodeTimeouts {
    fn default() -> Self {
        Self { connect: connect(), first_byte: first_byte(), idle: idle(), total: ApiDuration::default() }
    }
}

fn connect() -> ApiDuration {
    ApiDuration::from_secs(3)
}

fn first_byte() -> ApiDuration {
    ApiDuration::from_secs(600)
}

fn idle() -> ApiDuration {
    ApiDuration::from_secs(120)
}
