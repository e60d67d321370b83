//! What this controller has written last to each object, and from what its next write starts.
//!
//! A status is written over the version of the object that it was decided from, and no other. So a write that comes late,
//! from a leader that stood still or for an object of the same name that is gone, is refused by the API server.

use super::node::id_of;
use aivonx_crds::{OllamaNode, OllamaNodeStatus};
use aivonx_state::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two writes to one object that tell of no transition, such as a model that was loaded.
const MIN_INTERVAL: Duration = Duration::from_secs(30);

/// What a status is decided from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Base {
    /// The status before.
    pub status: Option<OllamaNodeStatus>,
    /// The version of the object that has it.
    pub resource_version: Option<String>,
}

/// The last write to each object.
#[derive(Debug, Default)]
pub(super) struct Written {
    objects: Mutex<HashMap<NodeId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// The version in the cache when it was written. While the cache shows it, the watch has not told of the write yet.
    cached: Option<String>,
    result: Base,
    epoch: u64,
    at: Instant,
}

impl Written {
    /// From what to decide: the object in the cache, or the own write if the cache does not have it yet.
    pub fn base(&self, node: &OllamaNode) -> Base {
        let cached = &node.metadata.resource_version;
        let objects = self.objects.lock();
        match objects.get(&id_of(node)).filter(|entry| entry.cached.is_some() && entry.cached == *cached) {
            Some(entry) => entry.result.clone(),
            None => Base { status: node.status.clone(), resource_version: cached.clone() },
        }
    }

    /// The status of the last write, whatever the cache shows.
    pub fn last(&self, node: &OllamaNode) -> Option<OllamaNodeStatus> {
        self.objects.lock().get(&id_of(node))?.result.status.clone()
    }

    /// How long a change of details must wait.
    pub fn wait(&self, id: &NodeId, epoch: u64, now: Instant) -> Option<Duration> {
        let objects = self.objects.lock();
        let entry = objects.get(id).filter(|entry| entry.epoch == epoch)?;
        (entry.at + MIN_INTERVAL).checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// A status was written to `node`, as the cache has it.
    pub fn wrote(&self, node: &OllamaNode, result: Base, epoch: u64, at: Instant) {
        let cached = node.metadata.resource_version.clone();
        self.objects.lock().insert(id_of(node), Entry { cached, result, epoch, at });
    }

    /// Somebody else has changed the object: what the cache shows counts.
    pub fn distrust(&self, id: &NodeId) {
        if let Some(entry) = self.objects.lock().get_mut(id) {
            entry.cached = None;
        }
    }

    /// The object is gone.
    pub fn forget(&self, id: &NodeId) {
        self.objects.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_crds::v1alpha1::NodeState;

    fn node(version: &str) -> OllamaNode {
        let mut node = OllamaNode::new("gpu-1", Default::default());
        node.metadata.namespace = Some("ai".to_owned());
        node.metadata.resource_version = Some(version.to_owned());
        node
    }

    fn base(state: NodeState, version: &str) -> Base {
        let status = Some(OllamaNodeStatus { state, ..OllamaNodeStatus::default() });
        Base { status, resource_version: Some(version.to_owned()) }
    }

    fn id() -> NodeId {
        NodeId::new("ai", "gpu-1")
    }

    #[test]
    fn the_own_write_counts_until_the_cache_has_moved() {
        let written = Written::default();
        assert_eq!(written.base(&node("5")), Base { status: None, resource_version: Some("5".to_owned()) });
        let now = Instant::now();
        written.wrote(&node("5"), base(NodeState::Ready, "6"), 1, now);
        assert_eq!(written.base(&node("5")), base(NodeState::Ready, "6"));
        written.wrote(&node("5"), base(NodeState::Degraded, "7"), 1, now);
        assert_eq!(
            written.base(&node("5")),
            base(NodeState::Degraded, "7"),
            "twice before the watch tells of it"
        );
        assert_eq!(written.base(&node("7")).resource_version.as_deref(), Some("7"));
        assert_eq!(written.base(&node("7")).status, None, "the cache has the last word");
    }

    #[test]
    fn after_a_conflict_the_cache_counts() {
        let written = Written::default();
        written.wrote(&node("5"), base(NodeState::Ready, "6"), 1, Instant::now());
        written.distrust(&id());
        assert_eq!(written.base(&node("5")).resource_version.as_deref(), Some("5"));
    }

    #[test]
    fn details_wait_after_a_write_of_the_same_term() {
        let written = Written::default();
        let start = Instant::now();
        assert_eq!(written.wait(&id(), 1, start), None);
        written.wrote(&node("5"), base(NodeState::Ready, "6"), 1, start);
        assert_eq!(written.wait(&id(), 1, start + Duration::from_secs(10)), Some(Duration::from_secs(20)));
        assert_eq!(written.wait(&id(), 1, start + MIN_INTERVAL), None);
        assert_eq!(written.wait(&id(), 2, start), None, "another term knows nothing of the write");
        written.forget(&id());
        assert_eq!(written.wait(&id(), 1, start), None);
    }
}
