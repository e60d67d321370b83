//! The moment at which the fleet has heard of every node there is.
//!
//! Before it no table may be published: a leader that has seen half of the resources would take the other half away from
//! the data planes. The list is complete when the watch has it *and* each object of it was reconciled once.

use crate::fleet::Fleet;
use aivonx_state::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Waits for the first reconcile of every object of the first list.
#[derive(Debug, Default)]
pub(super) struct FirstList {
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
enum Stage {
    /// The watch has not listed all yet; some may have been visited already.
    #[default]
    Listing,
    /// These are still to be visited.
    Visiting(BTreeSet<NodeId>),
    Done,
}

impl FirstList {
    /// The watch has listed these. Later lists change nothing.
    pub fn listed(&self, ids: BTreeSet<NodeId>, fleet: &Fleet) {
        if self.begin(ids) {
            fleet.listed();
        }
    }

    /// A node was reconciled or is gone.
    pub fn visited(&self, id: &NodeId, fleet: &Fleet) {
        if self.strike(id) {
            fleet.listed();
        }
    }

    /// Gives whether the list became complete.
    fn begin(&self, ids: BTreeSet<NodeId>) -> bool {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Listing) {
            return false;
        }
        *stage = if ids.is_empty() { Stage::Done } else { Stage::Visiting(ids) };
        matches!(*stage, Stage::Done)
    }

    /// Gives whether the list became complete.
    fn strike(&self, id: &NodeId) -> bool {
        let mut stage = self.stage.lock();
        let Stage::Visiting(ids) = &mut *stage else { return false };
        ids.remove(id);
        if !ids.is_empty() {
            return false;
        }
        *stage = Stage::Done;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> NodeId {
        NodeId::new("ai", name)
    }

    #[test]
    fn the_list_is_complete_when_each_of_its_objects_was_visited() {
        let list = FirstList::default();
        assert!(!list.strike(&id("a")), "the list is not known yet");
        assert!(!list.begin(BTreeSet::from([id("a"), id("b")])));
        assert!(!list.strike(&id("a")));
        assert!(!list.strike(&id("other")));
        assert!(list.strike(&id("b")));
        assert!(!list.strike(&id("b")), "once");
        assert!(!list.begin(BTreeSet::new()), "a later list is no first one");
    }

    #[test]
    fn an_empty_list_is_complete_at_once() {
        assert!(FirstList::default().begin(BTreeSet::new()));
    }
}
