//! The routing table: what the data plane knows of the fleet.

pub(crate) mod digest;
mod node;
mod version;

pub use node::{
    Health, Loaded, ModelDetails, NodeEntry, NodeId, NodeModel, NodeTimeouts, SchedulingState, Strategy,
};
pub use version::{TableHead, TableVersion};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The fleet at one revision. It is built whole by the leading controller and never changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingTable {
    /// Which table this is, and the digest of its content.
    pub head: TableHead,
    /// Every declared node that was accepted, healthy or not.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
}

impl RoutingTable {
    /// Builds a table and computes its digest.
    pub fn new(
        version: TableVersion,
        published_at: jiff::Timestamp,
        strategy: Strategy,
        nodes: BTreeMap<NodeId, NodeEntry>,
    ) -> Self {
        let digest = digest::of(strategy, &nodes);
        Self { head: TableHead { version, published_at, strategy, digest }, nodes }
    }

    /// Whether the digest in the head is that of the content: false for a torn or edited read.
    pub fn is_whole(&self) -> bool {
        digest::of(self.head.strategy, &self.nodes) == self.head.digest
    }

    /// Whether the two hold the same content, whatever their versions.
    pub fn same_content(&self, other: &Self) -> bool {
        self.head.digest == other.head.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(version: TableVersion) -> RoutingTable {
        let id = NodeId::new("default", "gpu-1");
        let node = NodeEntry::new(id.clone(), "http://10.0.0.7:11434");
        RoutingTable::new(
            version,
            jiff::Timestamp::UNIX_EPOCH,
            Strategy::default(),
            BTreeMap::from([(id, node)]),
        )
    }

    #[test]
    fn the_digest_covers_the_nodes_and_not_the_version() {
        let first = table(TableVersion { epoch: 1, revision: 1 });
        let second = table(TableVersion { epoch: 2, revision: 9 });
        assert!(first.same_content(&second));
        assert!(first.is_whole());
        let mut torn = first;
        torn.nodes.clear();
        assert!(!torn.is_whole());
    }

    #[test]
    fn a_table_reads_back_from_its_json() {
        let table = table(TableVersion { epoch: 3, revision: 4 });
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<RoutingTable>(&text).unwrap(), table);
    }
}
