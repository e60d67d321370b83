//! How the controller finds out whether a node works.

use crate::{ApiDuration, duration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The health check. It never generates a token.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(duration::shorter("timeout", "interval"))
    .message("health.timeout must be shorter than health.interval (their defaults are 3s and 10s): set both"))]
pub struct NodeHealth {
    /// What is asked for.
    #[serde(default = "path")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^/[A-Za-z0-9._~/-]*$')")
        .message("health.path must be a path without query, for example /api/version"))]
    pub path: String,

    /// The time between two checks.
    #[serde(default = "interval")]
    #[x_kube(validation = Rule::new(duration::between("100ms", "1h"))
        .message("health.interval must be between 100ms and 1h"))]
    pub interval: ApiDuration,

    /// How long a check may take.
    #[serde(default = "timeout")]
    #[x_kube(validation = Rule::new(duration::between("10ms", "5m"))
        .message("health.timeout must be between 10ms and 5m"))]
    pub timeout: ApiDuration,

    /// Successes in a row that make an unhealthy node healthy again.
    #[serde(default = "healthy_threshold")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 100")
        .message("health.healthyThreshold must be between 1 and 100"))]
    pub healthy_threshold: i32,

    /// Failures in a row that make a node unhealthy.
    #[serde(default = "unhealthy_threshold")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 100")
        .message("health.unhealthyThreshold must be between 1 and 100"))]
    pub unhealthy_threshold: i32,
}

impl Default for NodeHealth {
    fn default() -> Self {
        Self {
            path: path(),
            interval: interval(),
            timeout: timeout(),
            healthy_threshold: healthy_threshold(),
            unhealthy_threshold: unhealthy_threshold(),
        }
    }
}

fn path() -> String {
    "/api/version".to_owned()
}

fn interval() -> ApiDuration {
    ApiDuration::from_secs(10)
}

fn timeout() -> ApiDuration {
    ApiDuration::from_secs(3)
}

fn healthy_threshold() -> i32 {
    2
}

fn unhealthy_threshold() -> i32 {
    3
}
