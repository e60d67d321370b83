//! All that is known of the fleet, and what each event changes of it. Pure: no clock, no I/O, no tasks.

use super::debounce::Urgency;
use super::observation::{HealthReport, InventoryReport, NodeObservation, PublishReport, Transition, reason};
use crate::health::{HealthChange, HealthTracker};
use crate::inventory::{self, InventoryChange, InventoryTracker};
use crate::node::DesiredNode;
use crate::probe::worker::ProbeTarget;
use crate::probe::{LoadedModel, ModelList, ProbeFailure, Standing};
use crate::table;
use aivonx_state::table::Health;
use aivonx_state::{HealthTransition, NodeEntry, NodeId, NodeModel, RoutingTable, TableVersion};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names a node together with its address: answers from an address that the node had before count for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub id: NodeId,
    incarnation: u64,
}

/// What must follow from an event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Effects {
    /// Nodes whose observation changed in a way that status tells.
    pub changed: Vec<NodeId>,
    /// To be appended to the history.
    pub transition: Option<HealthTransition>,
    /// The node's models changed: the history's inventory of it is to be replaced.
    pub inventory: Option<Arc<Vec<NodeModel>>>,
}

/// What a table entry is made of, shared with the state and cheap to take out.
pub(crate) struct Parts {
    desired: Arc<DesiredNode>,
    health: HealthReport,
    version: Option<String>,
    models: Arc<Vec<NodeModel>>,
}

impl Parts {
    pub(crate) fn entry(&self) -> NodeEntry {
        table::entry(&self.desired, &self.health, self.version.as_deref(), &self.models)
    }
}

/// One node.
struct Node {
    desired: Arc<DesiredNode>,
    incarnation: u64,
    refresh: u64,
    health: HealthTracker,
    version: Option<String>,
    inventory: InventoryTracker,
    /// The inventory after the node's filter.
    models: Arc<Vec<NodeModel>>,
    /// The stamp of the last change of its table entry.
    changed_at: u64,
    published: PublishReport,
}

impl Node {
    fn target(&self) -> ProbeTarget {
        let policy = self.desired.health.clone();
        ProbeTarget { url: self.desired.url.clone(), policy, refresh: self.refresh }
    }

    fn parts(&self) -> Parts {
        Parts {
            desired: Arc::clone(&self.desired),
            health: self.health.report().clone(),
            version: self.version.clone(),
            models: Arc::clone(&self.models),
        }
    }

    /// Takes over what a stored table says, and whether the store has the node as it is now.
    fn restore(&mut self, entry: &NodeEntry, seed: &Seed) {
        self.health = HealthTracker::restored(entry.health, entry.reason.as_deref(), seed.published_at);
        self.version = entry.version.clone();
        self.inventory = match entry.health {
            // Nobody has heard from it: the empty list says nothing.
            Health::Unknown | Health::Unhealthy if entry.models.is_empty() => InventoryTracker::default(),
            _ => InventoryTracker::restored(entry.models.clone()),
        };
        self.models = inventory::filtered(self.inventory.models(), &self.desired.models);
        let known = self.parts().entry() == *entry;
        self.published = if known { PublishReport::Published(seed.version) } else { PublishReport::Pending };
    }
}

/// A stored table, for nodes that are applied after it was read.
struct Seed {
    version: TableVersion,
    published_at: Timestamp,
    entries: BTreeMap<NodeId, NodeEntry>,
}

/// The fleet.
#[derive(Default)]
pub(crate) struct FleetState {
    nodes: BTreeMap<NodeId, Node>,
    listed: bool,
    leading: bool,
    /// Whether observations are those of this term, not of the time before it.
    current: bool,
    seed: Option<Seed>,
    /// Counts changes of table entries.
    stamp: u64,
    /// The first store has all changes up to this one.
    accepted: u64,
    /// What the first store said when it began to fail.
    failing: Option<String>,
    incarnations: u64,
    /// The most urgent change since a table was last asked for.
    urgency: Option<Urgency>,
    /// Nodes whose worker must be looked at.
    touched: BTreeSet<NodeId>,
}

// === what is wanted ===

impl FleetState {
    /// Adds a node or takes over what changed of it. Gives whether anything did.
    pub(crate) fn apply(&mut self, desired: DesiredNode, now: Timestamp) -> bool {
        let id = desired.id.clone();
        let desired = Arc::new(desired);
        let Some(node) = self.nodes.get_mut(&id) else {
            self.insert(desired, now);
            return true;
        };
        if node.desired == desired {
            return false;
        }
        if node.desired.uid != desired.uid || table::address(&node.desired) != table::address(&desired) {
            // Another machine: nothing that is known of the old one holds.
            self.insert(desired, now);
            return true;
        }
        let (target, before) = (node.target(), (Arc::clone(&node.desired), Arc::clone(&node.models)));
        if node.desired.refresh != desired.refresh {
            node.refresh += 1;
        }
        node.desired = desired;
        node.models = inventory::filtered(node.inventory.models(), &node.desired.models);
        let bare = |desired: &DesiredNode| table::entry(desired, node.health.report(), None, &[]);
        let same_entry = bare(&before.0) == bare(&node.desired) && before.1 == node.models;
        if node.target() != target && self.leading {
            self.touched.insert(id.clone());
        }
        if !same_entry {
            node.published = PublishReport::Pending;
            self.entry_changed(&id, Urgency::Major);
        }
        true
    }

    fn insert(&mut self, desired: Arc<DesiredNode>, now: Timestamp) {
        let id = desired.id.clone();
        self.incarnations += 1;
        let mut node = Node {
            desired,
            incarnation: self.incarnations,
            refresh: 0,
            health: HealthTracker::new(now),
            version: None,
            inventory: InventoryTracker::default(),
            models: Arc::default(),
            changed_at: 0,
            published: PublishReport::Pending,
        };
        if let Some(seed) = &self.seed
            && let Some(entry) = seed.entries.get(&id).filter(|entry| is_same_machine(&node.desired, entry))
        {
            node.restore(entry, seed);
        }
        self.nodes.insert(id.clone(), node);
        if self.leading {
            self.touched.insert(id.clone());
        }
        self.entry_changed(&id, Urgency::Major);
    }

    /// Drops a node. Gives whether there was one.
    pub(crate) fn remove(&mut self, id: &NodeId) -> bool {
        if self.nodes.remove(id).is_none() {
            return false;
        }
        if self.leading {
            self.touched.insert(id.clone());
        }
        self.stamp += 1;
        self.urgency = Some(Urgency::Major);
        true
    }

    /// The source has listed all nodes.
    pub(crate) fn set_listed(&mut self) {
        self.listed = true;
    }

    /// Asks for a probe of one node or of all.
    pub(crate) fn refresh(&mut self, id: Option<&NodeId>) {
        for (node_id, node) in &mut self.nodes {
            if id.is_none_or(|id| id == node_id) {
                node.refresh += 1;
                if self.leading {
                    self.touched.insert(node_id.clone());
                }
            }
        }
    }

    fn entry_changed(&mut self, id: &NodeId, urgency: Urgency) {
        self.stamp += 1;
        self.urgency = self.urgency.max(Some(urgency));
        if let Some(node) = self.nodes.get_mut(id) {
            node.changed_at = self.stamp;
            if let Some(message) = &self.failing {
                node.published = store_unavailable(message);
            }
        }
    }
}

fn store_unavailable(message: &str) -> PublishReport {
    PublishReport::Failed { reason: reason::STORE_UNAVAILABLE, message: message.to_owned() }
}

fn is_same_machine(desired: &DesiredNode, entry: &NodeEntry) -> bool {
    desired.uid == entry.uid && table::address(desired) == entry.url
}

// === what is observed ===

impl FleetState {
    fn subject(&mut self, subject: &Subject) -> Option<&mut Node> {
        self.nodes.get_mut(&subject.id).filter(|node| node.incarnation == subject.incarnation)
    }

    /// Takes in the outcome of a health check. `None` if the node is gone or has moved.
    pub(crate) fn record_health(
        &mut self,
        subject: &Subject,
        outcome: Result<Option<String>, ProbeFailure>,
        now: Timestamp,
    ) -> Option<(Standing, Effects)> {
        let node = self.subject(subject)?;
        let policy = Arc::clone(&node.desired);
        let change = node.health.record(outcome.as_ref().map(|_| ()), &policy.health, now);
        let standing = Standing {
            state: node.health.state(),
            failures: node.health.failures(),
            successes: node.health.successes(),
            unhealthy_threshold: policy.health.unhealthy_threshold,
        };
        let message = node.health.report().message.clone();
        let newer = outcome.ok().flatten().filter(|version| node.version.as_ref() != Some(version));
        let versioned = newer.is_some();
        if versioned {
            node.version = newer;
        }
        let urgency = match change {
            HealthChange::Transition(_) => Some(Urgency::Major),
            HealthChange::Reason => Some(Urgency::Minor),
            HealthChange::None => versioned.then_some(Urgency::Minor),
        };
        let mut effects = Effects::default();
        if let HealthChange::Transition(transition) = change {
            effects.transition = Some(history(&subject.id, transition, message));
        }
        if let Some(urgency) = urgency {
            self.entry_changed(&subject.id, urgency);
            effects.changed.push(subject.id.clone());
        }
        Some((standing, effects))
    }

    /// Takes in a version that was asked for beside the health check.
    pub(crate) fn record_version(&mut self, subject: &Subject, version: String) -> Effects {
        let mut effects = Effects::default();
        if let Some(node) = self.subject(subject).filter(|node| node.version.as_ref() != Some(&version)) {
            node.version = Some(version);
            self.entry_changed(&subject.id, Urgency::Minor);
            effects.changed.push(subject.id.clone());
        }
        effects
    }

    /// Takes in both model lists. The flag says whether to look again soon; `None` if the node is gone or has moved.
    pub(crate) fn record_models(
        &mut self,
        subject: &Subject,
        tags: Result<ModelList, ProbeFailure>,
        ps: Result<Vec<LoadedModel>, ProbeFailure>,
    ) -> Option<(bool, Effects)> {
        let node = self.subject(subject)?;
        let told = |tracker: &InventoryTracker| (tracker.state(), tracker.reason());
        let before = told(&node.inventory);
        let change = node.inventory.record(tags, ps);
        let again = node.inventory.wants_another_look();
        let mut effects = Effects::default();
        if before != told(&node.inventory)
            || matches!(change, InventoryChange::Loaded | InventoryChange::Models)
        {
            effects.changed.push(subject.id.clone());
        }
        if change == InventoryChange::Models {
            effects.inventory = Some(Arc::clone(node.inventory.models()));
        }
        let models = inventory::filtered(node.inventory.models(), &node.desired.models);
        if node.models != models {
            node.models = models;
            let minor = change == InventoryChange::Details;
            self.entry_changed(&subject.id, if minor { Urgency::Minor } else { Urgency::Major });
        }
        Some((again, effects))
    }

    /// What is known of a node.
    pub(crate) fn observation(&self, id: &NodeId) -> Option<NodeObservation> {
        let node = self.nodes.get(id)?;
        Some(NodeObservation {
            generation: node.desired.generation,
            health: node.health.report().clone(),
            version: node.version.clone(),
            inventory: InventoryReport {
                state: node.inventory.state(),
                reason: node.inventory.reason(),
                message: node.inventory.message().to_owned(),
                models: Arc::clone(&node.models),
            },
            published: node.published.clone(),
            last_transition: node.health.last_transition(),
        })
    }
}

fn history(node: &NodeId, transition: Transition, message: String) -> HealthTransition {
    let Transition { from, to, at, reason } = transition;
    HealthTransition { node: node.clone(), at, from, to, reason: reason.to_owned(), message }
}

// === leading and publishing ===

impl FleetState {
    /// A term begins: from now on workers are kept.
    pub(crate) fn start_leading(&mut self) {
        self.leading = true;
        self.failing = None;
        self.touched = self.nodes.keys().cloned().collect();
    }

    /// The term is over: what is observed stays as it is.
    pub(crate) fn stop_leading(&mut self) {
        self.leading = false;
        self.current = false;
        self.touched.clear();
        self.seed = None;
    }

    /// Takes over what the stored table says of the nodes: another process has observed them until now.
    pub(crate) fn restore(&mut self, stored: RoutingTable) {
        let RoutingTable { head, nodes: entries } = stored;
        let seed = Seed { version: head.version, published_at: head.published_at, entries };
        let mut restored = Vec::new();
        for (id, node) in &mut self.nodes {
            if let Some(entry) = seed.entries.get(id).filter(|entry| is_same_machine(&node.desired, entry)) {
                node.restore(entry, &seed);
                restored.push(id.clone());
            }
        }
        for id in &restored {
            self.entry_changed(id, Urgency::Major);
        }
        self.seed = Some(seed);
    }

    /// All nodes are listed and the first table of the term is built: gives the nodes of the stored table that are
    /// declared no more, and drops it.
    pub(crate) fn finish_restoring(&mut self) -> Vec<NodeId> {
        let seed = self.seed.take();
        let entries = seed.into_iter().flat_map(|seed| seed.entries.into_keys());
        entries.filter(|id| !self.nodes.contains_key(id)).collect()
    }

    /// Observations speak of this term from now on. Gives all nodes, if that is news.
    pub(crate) fn set_current(&mut self) -> Vec<NodeId> {
        let news = !std::mem::replace(&mut self.current, true);
        if news { self.nodes.keys().cloned().collect() } else { Vec::new() }
    }

    /// Whether observations speak of this term.
    pub(crate) fn is_current(&self) -> bool {
        self.current
    }

    /// Whether a term is on.
    pub(crate) fn is_leading(&self) -> bool {
        self.leading
    }

    /// Whether the source has listed all nodes.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether something is known of every node.
    pub(crate) fn is_settled(&self) -> bool {
        self.nodes.values().all(|node| node.health.is_settled())
    }

    /// The nodes whose worker must be looked at, once.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.touched)
    }

    /// The most urgent change since this was last asked.
    pub(crate) fn take_urgency(&mut self) -> Option<Urgency> {
        self.urgency.take()
    }

    /// What a worker of the node must ask; `None` if the node is gone.
    pub(crate) fn target(&self, id: &NodeId) -> Option<(Subject, ProbeTarget)> {
        let node = self.nodes.get(id)?;
        Some((Subject { id: id.clone(), incarnation: node.incarnation }, node.target()))
    }

    /// Nodes that are declared.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The parts of all entries, and the stamp that covers them.
    pub(crate) fn snapshot(&self) -> (u64, Vec<Parts>) {
        (self.stamp, self.nodes.values().map(Node::parts).collect())
    }

    /// The first store has all changes up to `stamp`. Gives the nodes for which that is news.
    pub(crate) fn accepted(&mut self, stamp: u64, version: TableVersion) -> Vec<NodeId> {
        self.failing = None;
        let before = self.accepted;
        self.accepted = before.max(stamp);
        let mut changed = Vec::new();
        for (id, node) in &mut self.nodes {
            if node.changed_at > stamp {
                continue;
            }
            let was_published = matches!(node.published, PublishReport::Published(_));
            if !was_published || node.changed_at > before {
                node.published = PublishReport::Published(version);
            }
            if !was_published {
                changed.push(id.clone());
            }
        }
        changed
    }

    /// The first store keeps failing. Gives the nodes for which that is news: those with changes that it does not have.
    pub(crate) fn store_failing(&mut self, message: String) -> Vec<NodeId> {
        let mut changed = Vec::new();
        for (id, node) in &mut self.nodes {
            let told = matches!(node.published, PublishReport::Failed { .. });
            if node.changed_at > self.accepted && !told {
                node.published = store_unavailable(&message);
                changed.push(id.clone());
            }
        }
        self.failing = Some(message);
        changed
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
