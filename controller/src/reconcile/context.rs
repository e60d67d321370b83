//! What every reconcile uses.

use super::failures::Failures;
use super::first_list::FirstList;
use super::metrics::ReconcileMetrics;
use super::roster::Roster;
use super::written::Written;
use crate::events::Events;
use crate::fleet::{Fleet, NodeObservation};
use crate::lease::Leadership;
use crate::node::DesiredNode;
use aivonx_state::NodeId;
use kube::Resource;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Shared by all reconciles.
pub struct Context {
    pub(super) client: kube::Client,
    pub(super) fleet: Fleet,
    pub(super) leadership: Leadership,
    pub(super) events: Events,
    pub(super) metrics: ReconcileMetrics,
    pub(super) first_list: FirstList,
    pub(super) written: Written,
    pub(super) roster: Mutex<Roster>,
    /// The watch has a complete list: all objects are looked at.
    pub(super) listed: Notify,
    pub(super) failures: Failures,
}

impl Context {
    /// A context in which nothing was reconciled yet.
    pub fn new(
        client: kube::Client,
        fleet: Fleet,
        leadership: Leadership,
        events: Events,
        metrics: ReconcileMetrics,
    ) -> Self {
        let (first_list, written, roster, listed, failures) = Default::default();
        Self { client, fleet, leadership, events, metrics, first_list, written, roster, listed, failures }
    }

    /// The watch has told something: what is gone leaves the fleet.
    pub(super) fn watched<K: Resource>(&self, event: &Event<K>) {
        let mut roster = self.roster.lock();
        let change = roster.take(event);
        for id in &change.gone {
            self.fleet.remove(id);
            self.first_list.visited(id, &self.fleet);
            self.written.forget(id);
            self.failures.clear(id);
        }
        if let Some(listed) = change.listed {
            self.first_list.listed(listed, &self.fleet);
            self.listed.notify_one();
        }
    }

    /// Hands a node to the fleet and gives what the fleet knows of it; nothing happens if the object is gone meanwhile.
    pub(super) fn run_node(&self, desired: &DesiredNode) -> Option<NodeObservation> {
        let roster = self.roster.lock();
        let uid = Some(desired.uid.as_str()).filter(|uid| !uid.is_empty());
        if !roster.has(&desired.id, uid) {
            return None;
        }
        self.fleet.apply(desired.clone());
        self.fleet.observation(&desired.id)
    }

    /// A node that cannot or need not be run leaves the fleet.
    pub(super) fn drop_node(&self, id: &NodeId) {
        self.fleet.remove(id);
    }
}
