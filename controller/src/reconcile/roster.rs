//! Which objects the watch has shown.
//!
//! By it those are found at the next list that went away unseen; and a reconcile that was under way while its object was
//! deleted learns that it must not bring the node back.

use aivonx_state::NodeId;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// What an event of the watch means for the set of objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// These are gone.
    pub gone: Vec<NodeId>,
    /// A complete list.
    pub listed: Option<BTreeSet<NodeId>>,
}

/// The objects that exist, as far as the watch has told.
#[derive(Debug, Default)]
pub(super) struct Roster {
    known: BTreeMap<NodeId, Uid>,
    listing: BTreeMap<NodeId, Uid>,
}

type Uid = Option<String>;

impl Roster {
    /// Takes in an event. A list that breaks off midway changes nothing.
    pub fn take<K: Resource>(&mut self, event: &Event<K>) -> Change {
        let id = |object: &K| NodeId::new(&object.namespace().unwrap_or_default(), &object.name_any());
        let mut change = Change::default();
        match event {
            Event::Apply(object) => {
                self.known.insert(id(object), object.uid());
            }
            Event::Delete(object) => {
                let id = id(object);
                self.known.remove(&id);
                change.gone.push(id);
            }
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(id(object), object.uid());
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                change.gone = self.known.keys().filter(|id| !listed.contains_key(id)).cloned().collect();
                change.listed = Some(listed.keys().cloned().collect());
                self.known = listed;
            }
        }
        change
    }

    /// Whether this very object is there, and not another of its name.
    pub fn has(&self, id: &NodeId, uid: Option<&str>) -> bool {
        self.known.get(id).is_some_and(|known| known.as_deref() == uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_crds::{OllamaNode, OllamaNodeSpec};

    fn node(name: &str) -> OllamaNode {
        let mut node = OllamaNode::new(name, OllamaNodeSpec::default());
        node.metadata.namespace = Some("ai".to_owned());
        node
    }

    fn id(name: &str) -> NodeId {
        NodeId::new("ai", name)
    }

    fn feed(roster: &mut Roster, events: Vec<Event<OllamaNode>>) -> Change {
        events.iter().map(|event| roster.take(event)).last().unwrap()
    }

    #[test]
    fn a_delete_is_told_and_so_is_one_that_was_missed() {
        let mut roster = Roster::default();
        let first =
            vec![Event::Init, Event::InitApply(node("a")), Event::InitApply(node("b")), Event::InitDone];
        let change = feed(&mut roster, first);
        assert_eq!(change.listed, Some(BTreeSet::from([id("a"), id("b")])));
        assert_eq!(change.gone, []);
        assert_eq!(feed(&mut roster, vec![Event::Delete(node("a"))]).gone, [id("a")]);
        feed(&mut roster, vec![Event::Apply(node("c"))]);
        let again = vec![Event::Init, Event::InitApply(node("c")), Event::InitDone];
        assert_eq!(feed(&mut roster, again).gone, [id("b")]);
    }

    #[test]
    fn another_object_of_the_name_is_another_object() {
        let mut roster = Roster::default();
        let mut first = node("a");
        first.metadata.uid = Some("u1".to_owned());
        roster.take(&Event::Apply(first.clone()));
        assert!(roster.has(&id("a"), Some("u1")));
        assert!(!roster.has(&id("a"), Some("u2")));
        roster.take(&Event::Delete(first));
        assert!(!roster.has(&id("a"), Some("u1")));
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut roster = Roster::default();
        feed(
            &mut roster,
            vec![Event::Init, Event::InitApply(node("a")), Event::InitApply(node("b")), Event::InitDone],
        );
        let broken = vec![Event::Init, Event::InitApply(node("a")), Event::Init];
        assert_eq!(feed(&mut roster, broken), Change::default());
        let whole = vec![Event::InitApply(node("a")), Event::InitApply(node("b")), Event::InitDone];
        assert_eq!(feed(&mut roster, whole).gone, []);
    }
}
