//! History that waits to be written. Pure and bounded: transitions up to a number, inventories one for each node.

use aivonx_state::{HealthTransition, NodeId, NodeModel};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Transitions that wait. At the default thresholds this is a thousand nodes going down at once.
const MAX_TRANSITIONS: usize = 1_024;

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    /// Append.
    Transition(HealthTransition),
    /// Replace what is kept of the node; `None` forgets it.
    Inventory(NodeId, Option<Arc<Vec<NodeModel>>>),
}

/// What waits, in the order in which it is written: transitions first, oldest first.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    transitions: VecDeque<HealthTransition>,
    inventories: BTreeMap<NodeId, Option<Arc<Vec<NodeModel>>>>,
}

impl Backlog {
    /// Adds a transition. Gives whether an older one had to make room.
    pub(super) fn push(&mut self, transition: HealthTransition) -> bool {
        let full = self.transitions.len() >= MAX_TRANSITIONS;
        if full {
            self.transitions.pop_front();
        }
        self.transitions.push_back(transition);
        full
    }

    /// Sets the inventory of a node; what waited for it before is overtaken.
    pub(super) fn set(&mut self, node: NodeId, models: Option<Arc<Vec<NodeModel>>>) {
        self.inventories.insert(node, models);
    }

    /// Drops inventories that wait: another process leads and writes its own.
    pub(super) fn drop_inventories(&mut self) {
        self.inventories.clear();
    }

    /// Takes the next entry out.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        if let Some(transition) = self.transitions.pop_front() {
            return Some(Entry::Transition(transition));
        }
        self.inventories.pop_first().map(|(node, models)| Entry::Inventory(node, models))
    }

    /// Puts an entry that could not be written back in its place, unless a newer one has taken it. Gives whether a
    /// transition was lost.
    pub(super) fn put_back(&mut self, entry: Entry) -> bool {
        match entry {
            Entry::Transition(transition) => {
                let full = self.transitions.len() >= MAX_TRANSITIONS;
                if !full {
                    self.transitions.push_front(transition);
                }
                full
            }
            Entry::Inventory(node, models) => {
                self.inventories.entry(node).or_insert(models);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_state::table::Health;

    fn transition(second: i64) -> HealthTransition {
        HealthTransition {
            node: NodeId::new("ai", "gpu-1"),
            at: jiff::Timestamp::from_second(second).unwrap(),
            from: Health::Healthy,
            to: Health::Unhealthy,
            reason: "Timeout".to_owned(),
            message: String::new(),
        }
    }

    #[test]
    fn the_oldest_transition_makes_room() {
        let mut backlog = Backlog::default();
        for second in 0..MAX_TRANSITIONS as i64 {
            assert!(!backlog.push(transition(second)));
        }
        assert!(backlog.push(transition(9_999)));
        assert_eq!(backlog.pop(), Some(Entry::Transition(transition(1))));
    }

    #[test]
    fn a_failed_entry_goes_back_in_front() {
        let mut backlog = Backlog::default();
        backlog.push(transition(1));
        let entry = backlog.pop().unwrap();
        backlog.push(transition(2));
        assert!(!backlog.put_back(entry.clone()));
        assert_eq!(backlog.pop(), Some(entry));
    }

    #[test]
    fn only_the_newest_inventory_of_a_node_waits() {
        let (mut backlog, node) = (Backlog::default(), NodeId::new("ai", "gpu-1"));
        backlog.set(node.clone(), Some(Arc::default()));
        let overtaken = backlog.pop().unwrap();
        backlog.set(node.clone(), None);
        backlog.put_back(overtaken);
        assert_eq!(backlog.pop(), Some(Entry::Inventory(node, None)));
        assert_eq!(backlog.pop(), None);
    }

    #[test]
    fn transitions_outlive_a_term_and_inventories_do_not() {
        let mut backlog = Backlog::default();
        backlog.push(transition(1));
        backlog.set(NodeId::new("ai", "gpu-1"), None);
        backlog.drop_inventories();
        assert_eq!((backlog.pop(), backlog.pop()), (Some(Entry::Transition(transition(1))), None));
    }
}
