//! From what is wanted and what is observed to the routing table.

use crate::fleet::HealthReport;
use crate::node::DesiredNode;
use aivonx_state::table::{Health, Strategy};
use aivonx_state::{NodeEntry, NodeId, NodeModel, RoutingTable, TableVersion};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The address of a node as tables hold it: scheme, host and port, and nothing else.
pub fn address(node: &DesiredNode) -> String {
    node.url.origin().ascii_serialization()
}

/// The entry of one node. `models` are those that the node's filter lets through.
pub fn entry(
    node: &DesiredNode,
    health: &HealthReport,
    version: Option<&str>,
    models: &[NodeModel],
) -> NodeEntry {
    NodeEntry {
        id: node.id.clone(),
        uid: node.uid.clone(),
        url: address(node),
        priority: node.priority,
        weight: node.weight,
        scheduling_state: node.scheduling_state,
        health: health.state,
        reason: (health.state == Health::Unhealthy).then(|| health.reason.to_owned()),
        version: version.map(ToOwned::to_owned),
        max_concurrent: node.max_concurrent,
        max_concurrent_per_model: node.max_concurrent_per_model,
        timeouts: node.timeouts,
        health_path: node.health.path.clone(),
        models: models.to_vec(),
    }
}

/// The table of all entries. Equal entries give an equal digest, whatever order they come in.
pub fn build(
    version: TableVersion,
    published_at: Timestamp,
    strategy: Strategy,
    entries: impl IntoIterator<Item = NodeEntry>,
) -> RoutingTable {
    let nodes: BTreeMap<NodeId, NodeEntry> =
        entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
    RoutingTable::new(version, published_at, strategy, nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::HealthTracker;
    use crate::node::tests::node;
    use crate::probe::{FailureReason, ProbeFailure};

    const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn an_entry_tells_what_is_wanted_and_what_is_observed() {
        let mut node = node("ai/gpu-1", "http://10.0.0.7:11434/");
        node.weight = 7;
        let mut health = HealthTracker::new(EPOCH);
        assert_eq!(
            entry(&node, health.report(), None, &[]).reason,
            None,
            "an unknown node has no reason yet"
        );
        let failure = ProbeFailure::new(FailureReason::DnsFailed, "gpu has no address");
        for _ in 0..3 {
            let _ = health.record(Err(&failure), &node.health, EPOCH);
        }
        let entry = entry(&node, health.report(), Some("0.12.3"), &[]);
        assert_eq!((entry.url.as_str(), entry.weight), ("http://10.0.0.7:11434", 7));
        assert_eq!((entry.health, entry.reason.as_deref()), (Health::Unhealthy, Some("DnsFailed")));
        assert_eq!(entry.version.as_deref(), Some("0.12.3"));
    }

    #[test]
    fn the_order_of_the_entries_does_not_change_the_digest() {
        let health = HealthTracker::new(EPOCH);
        let entries: Vec<_> = ["ai/b", "ai/a"]
            .iter()
            .map(|id| entry(&node(id, "http://10.0.0.7:11434"), health.report(), None, &[]))
            .collect();
        let version = TableVersion { epoch: 1, revision: 1 };
        let one = build(version, EPOCH, Strategy::default(), entries.clone());
        let other = build(version, EPOCH, Strategy::default(), entries.into_iter().rev());
        assert!(one.same_content(&other));
        assert_eq!(one.nodes.len(), 2);
    }
}
