//! What has to travel so that a store that holds one table holds the next one.

use crate::store::stored;
use crate::table::{NodeEntry, NodeId, RoutingTable};

/// Entries to write and to remove.
pub(super) struct Changes<'a> {
    pub(super) written: Vec<(&'a NodeId, &'a NodeEntry)>,
    pub(super) removed: Vec<&'a NodeId>,
}

impl<'a> Changes<'a> {
    /// Every entry of `table`, for a store that is emptied first.
    pub(super) fn everything(table: &'a RoutingTable) -> Self {
        Self { written: table.nodes.iter().collect(), removed: Vec::new() }
    }

    /// From `before` to `table`.
    pub(super) fn between(before: &'a RoutingTable, table: &'a RoutingTable) -> Self {
        let written = table.nodes.iter().filter(|(id, node)| before.nodes.get(id) != Some(node)).collect();
        let removed = before.nodes.keys().filter(|id| !table.nodes.contains_key(id)).collect();
        Self { written, removed }
    }

    /// Id and JSON text of each entry to write.
    pub(super) fn texts(&self) -> Result<Vec<(&str, String)>, String> {
        self.written.iter().map(|(id, node)| Ok((id.as_str(), stored::text(node)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Strategy, TableVersion};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn table(weights: &BTreeMap<String, u32>) -> RoutingTable {
        let nodes = weights.iter().map(|(name, weight)| {
            let id = NodeId::new("ai", name);
            (id.clone(), NodeEntry { weight: *weight, ..NodeEntry::new(id, "http://10.0.0.7:11434") })
        });
        let version = TableVersion { epoch: 1, revision: 1 };
        RoutingTable::new(version, jiff::Timestamp::UNIX_EPOCH, Strategy::default(), nodes.collect())
    }

    fn weights() -> impl proptest::strategy::Strategy<Value = BTreeMap<String, u32>> {
        proptest::collection::btree_map("[a-d]", 0..3_u32, 0..5)
    }

    #[test]
    fn nothing_travels_between_equal_tables() {
        let table = table(&BTreeMap::from([("a".to_owned(), 1)]));
        let changes = Changes::between(&table, &table);
        assert!(changes.written.is_empty() && changes.removed.is_empty());
    }

    proptest! {
        #[test]
        fn the_changes_lead_from_one_table_to_the_next(before in weights(), after in weights()) {
            let (before, after) = (table(&before), table(&after));
            let changes = Changes::between(&before, &after);
            for (id, node) in &changes.written {
                prop_assert_ne!(before.nodes.get(id), Some(*node), "an equal entry travels");
            }
            let mut nodes = before.nodes.clone();
            nodes.extend(changes.written.iter().map(|(id, node)| ((*id).clone(), (*node).clone())));
            nodes.retain(|id, _| !changes.removed.contains(&id));
            prop_assert_eq!(nodes, after.nodes);
        }
    }
}
