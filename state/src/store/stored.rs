//! A table as a store keeps it: a head, and for each node one JSON text that a person can read.

use crate::table::{NodeEntry, NodeId, RoutingTable, Strategy, TableHead, digest};
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What was read from a store, not checked yet.
pub(crate) struct StoredTable {
    pub(crate) head: TableHead,
    pub(crate) nodes: BTreeMap<NodeId, Box<RawValue>>,
}

impl StoredTable {
    /// The table, if its digest is that of the texts. It is the texts that count: a newer writer may put fields into
    /// them that this program skips. The error says what is wrong.
    pub(crate) fn open(self) -> Result<RoutingTable, String> {
        let digest = digest::of(self.head.strategy, &self.nodes);
        if digest != self.head.digest {
            let Self { head: TableHead { version, digest: expected, .. }, nodes } = self;
            return Err(format!(
                "table {version} has {} nodes with digest {digest}, but its head says {expected}",
                nodes.len()
            ));
        }
        let nodes = self
            .nodes
            .into_iter()
            .map(|(id, text)| match serde_json::from_str::<NodeEntry>(text.get()) {
                Ok(node) => Ok((id, node)),
                Err(error) => Err(format!("node {id} in table {}: {error}", self.head.version)),
            })
            .collect::<Result<_, _>>()?;
        Ok(RoutingTable { head: self.head, nodes })
    }
}

/// The JSON text of `value`.
pub(crate) fn text(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| format!("not serialisable: {error}"))
}

/// The word for `strategy`, such as `least_active`.
pub(crate) fn strategy_word(strategy: Strategy) -> Result<String, String> {
    Ok(text(&strategy)?.trim_matches('"').to_owned())
}

/// The strategy that `word` names.
pub(crate) fn strategy(word: &str) -> Result<Strategy, String> {
    let word: serde::de::value::StrDeserializer<'_, ValueError> = word.into_deserializer();
    Strategy::deserialize(word).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableVersion;

    fn table() -> RoutingTable {
        let id = NodeId::new("ai", "gpu-1");
        let node = NodeEntry::new(id.clone(), "http://10.0.0.7:11434");
        RoutingTable::new(
            TableVersion { epoch: 1, revision: 2 },
            jiff::Timestamp::UNIX_EPOCH,
            Strategy::RoundRobin,
            BTreeMap::from([(id, node)]),
        )
    }

    fn stored(table: &RoutingTable) -> StoredTable {
        let nodes = table.nodes.iter().map(|(id, node)| {
            (id.clone(), RawValue::from_string(serde_json::to_string(node).unwrap()).unwrap())
        });
        StoredTable { head: table.head.clone(), nodes: nodes.collect() }
    }

    #[test]
    fn a_table_is_what_it_was_before_it_was_stored() {
        assert_eq!(stored(&table()).open(), Ok(table()));
    }

    #[test]
    fn a_torn_table_is_refused_with_both_digests() {
        let mut torn = stored(&table());
        torn.nodes.clear();
        let reason = torn.open().unwrap_err();
        assert!(reason.contains("table 1.2 has 0 nodes"), "{reason}");
        assert!(reason.contains(&table().head.digest), "{reason}");
    }

    #[test]
    fn a_table_of_a_newer_writer_is_whole_though_it_has_fields_unknown_here() {
        let mut newer = stored(&table());
        let text = r#"{"id":"ai/gpu-1","url":"http://10.0.0.7:11434","speedOfTomorrow":[1,2.50]}"#;
        newer.nodes.insert(NodeId::new("ai", "gpu-1"), RawValue::from_string(text.to_owned()).unwrap());
        newer.head.digest = digest::of(newer.head.strategy, &newer.nodes);
        assert_eq!(newer.open().unwrap().nodes, table().nodes);
    }

    #[test]
    fn a_strategy_reads_back_from_its_word() {
        for wanted in [Strategy::LeastActive, Strategy::LowestLatency, Strategy::RoundRobin] {
            assert_eq!(strategy(&strategy_word(wanted).unwrap()), Ok(wanted));
        }
        assert_eq!(strategy_word(Strategy::LeastActive).unwrap(), "least_active");
        assert!(strategy("fastest").unwrap_err().contains("fastest"));
    }
}
