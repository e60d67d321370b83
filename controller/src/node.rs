//! A node as its owner wants it: the value that a source of nodes (Kubernetes, files) hands to the fleet.

use aivonx_state::NodeId;
use aivonx_state::table::{NodeTimeouts, SchedulingState};
use std::time::Duration;
use url::Url;

/// An accepted `OllamaNode`, with defaults filled in and every value within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredNode {
    /// Namespace and name.
    pub id: NodeId,
    /// The UID of the resource: another object of the same name is another node.
    pub uid: String,
    /// `metadata.generation` of the resource this was made from.
    pub generation: i64,
    /// `http` or `https`, host and port; no path, query, fragment or user.
    pub url: Url,
    /// Share of the load among nodes of one tier, 0 to 1000.
    pub weight: u32,
    /// Tier: higher ones are used first.
    pub priority: i32,
    /// Whether new requests may go here.
    pub scheduling_state: SchedulingState,
    /// Requests at once over all models; 0 means no limit is known.
    pub max_concurrent: u32,
    /// Requests at once for one model; 0 means no limit is known.
    pub max_concurrent_per_model: u32,
    /// Which of the node's models may be asked for.
    pub models: ModelFilter,
    /// Limits for requests that the data plane sends here.
    pub timeouts: NodeTimeouts,
    /// How the node is probed.
    pub health: HealthPolicy,
    /// The value of the annotation `aivonx.io/refresh-requested-at`: a change probes at once.
    pub refresh: Option<String>,
}

/// Glob lists over model names. `*` stands for any run of characters, `?` for one; case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFilter {
    /// A model must match one of these; an empty list allows all.
    pub allow: Vec<String>,
    /// A model that matches one of these is left out, whatever `allow` says.
    pub deny: Vec<String>,
}

/// How a node is probed, and how many answers in a row change its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// The path that is asked; a 2xx answer in time is a success.
    pub path: String,
    /// Between two probes of a healthy node, before jitter.
    pub interval: Duration,
    /// For one probe, connecting included.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy node healthy; 0 counts as 1.
    pub healthy_threshold: u32,
    /// Failures in a row that make a node unhealthy; 0 counts as 1.
    pub unhealthy_threshold: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            path: "/api/version".to_owned(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node with defaults, for the tests of this crate.
    pub(crate) fn node(id: &str, url: &str) -> DesiredNode {
        DesiredNode {
            id: NodeId::from(id),
            uid: "uid-1".to_owned(),
            generation: 1,
            url: url.parse().unwrap(),
            weight: 1,
            priority: 0,
            scheduling_state: SchedulingState::Active,
            max_concurrent: 1,
            max_concurrent_per_model: 0,
            models: ModelFilter::default(),
            timeouts: NodeTimeouts::default(),
            health: HealthPolicy::default(),
            refresh: None,
        }
    }
}
