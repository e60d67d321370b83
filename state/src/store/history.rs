//! What happened to the nodes, and what they had on disk last: kept for people, never read on the way of a request.

use super::StoreError;
use crate::table::{Health, NodeId, NodeModel};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A change of a node's health.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthTransition {
    /// Whose health.
    pub node: NodeId,
    /// When the controller saw it.
    pub at: jiff::Timestamp,
    /// What it was.
    pub from: Health,
    /// What it is since.
    pub to: Health,
    /// A condition reason, such as `ConnectionRefused`.
    pub reason: String,
    /// One sentence for people. A store may cut it short.
    pub message: String,
}

/// How much history is kept. All three limits hold.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Transitions older than this, seen from the newest, are deleted.
    pub max_age: Duration,
    /// The newest transitions of a node that are kept.
    pub max_per_node: u32,
    /// The newest transitions of all nodes together, those of deleted ones included, that are kept.
    pub max_total: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(30 * 24 * 3600), max_per_node: 1_000, max_total: 100_000 }
    }
}

/// The controller's side of the history.
#[async_trait]
pub trait HistoryWriter: Send + Sync {
    /// Appends a transition and deletes what is too old or too much.
    async fn record_transition(&self, transition: &HealthTransition) -> Result<(), StoreError>;

    /// Makes `models` all that the node has on disk.
    async fn replace_inventory(&self, node: &NodeId, models: &[NodeModel]) -> Result<(), StoreError>;

    /// Drops the inventory of a node that is declared no more. Its transitions stay until they are too old: they say why
    /// it was taken away.
    async fn forget(&self, node: &NodeId) -> Result<(), StoreError>;
}

/// The history of the standalone gateway: in memory, the newest transitions only.
#[derive(Debug)]
pub struct MemoryHistory {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    transitions: VecDeque<HealthTransition>,
    inventory: HashMap<NodeId, Vec<NodeModel>>,
}

impl MemoryHistory {
    /// Keeps the newest `capacity` transitions of all nodes together.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    /// The transitions of `node`, newest first.
    pub fn transitions(&self, node: &NodeId) -> Vec<HealthTransition> {
        self.state.lock().transitions.iter().rev().filter(|entry| entry.node == *node).cloned().collect()
    }

    /// The models of `node`; `None` if it was never heard of or is forgotten.
    pub fn inventory(&self, node: &NodeId) -> Option<Vec<NodeModel>> {
        self.state.lock().inventory.get(node).cloned()
    }
}

#[async_trait]
impl HistoryWriter for MemoryHistory {
    async fn record_transition(&self, transition: &HealthTransition) -> Result<(), StoreError> {
        let transitions = &mut self.state.lock().transitions;
        transitions.push_back(transition.clone());
        let excess = transitions.len().saturating_sub(self.capacity);
        transitions.drain(..excess);
        Ok(())
    }

    async fn replace_inventory(&self, node: &NodeId, models: &[NodeModel]) -> Result<(), StoreError> {
        self.state.lock().inventory.insert(node.clone(), models.to_vec());
        Ok(())
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        self.state.lock().inventory.remove(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_transitions_are_kept_and_the_inventory_is_replaced() {
        let history = MemoryHistory::new(2);
        let node = NodeId::new("ai", "gpu-1");
        for second in 1..=3 {
            let at = jiff::Timestamp::from_second(second).unwrap();
            let (from, to) = (Health::Healthy, Health::Unhealthy);
            let (reason, message) = ("Timeout".to_owned(), String::new());
            let transition = HealthTransition { node: node.clone(), at, from, to, reason, message };
            history.record_transition(&transition).await.unwrap();
        }
        let seconds: Vec<_> = history.transitions(&node).iter().map(|entry| entry.at.as_second()).collect();
        assert_eq!(seconds, [3, 2]);

        history.replace_inventory(&node, &[]).await.unwrap();
        assert_eq!(history.inventory(&node), Some(vec![]));
        history.forget(&node).await.unwrap();
        assert_eq!(history.inventory(&node), None);
        assert_eq!(history.transitions(&node).len(), 2);
    }
}
