//! The fleet's state as its tasks share it: one short lock, and what must follow from each event.

pub(crate) use super::state::Subject;
use super::state::{Effects, FleetState};
use crate::metrics::FleetMetrics;
use crate::probe::{LoadedModel, ModelList, ProbeFailure, Standing};
use crate::publish::history::HistoryQueue;
use aivonx_state::NodeId;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

/// Changes that a slow listener may be behind before it must look at all nodes.
const MAX_CHANGES: usize = 1_024;

/// What workers, coordinator and handles share.
pub(crate) struct Shared {
    state: Mutex<FleetState>,
    /// Wakes the coordinator: workers or the table may have to change.
    pub(crate) woken: Notify,
    pub(crate) changes: broadcast::Sender<NodeId>,
    pub(crate) history: Option<HistoryQueue>,
    pub(crate) metrics: FleetMetrics,
}

impl Shared {
    pub(crate) fn new(metrics: FleetMetrics, history: Option<HistoryQueue>) -> Self {
        let (state, changes) = (Mutex::default(), broadcast::Sender::new(MAX_CHANGES));
        Self { state, woken: Notify::new(), changes, history, metrics }
    }

    /// Runs `action` on the state. It must be short: probes wait for it.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut FleetState) -> T) -> T {
        action(&mut self.state.lock())
    }

    /// Takes in the outcome of a health check. `None` tells the worker that its node is gone.
    pub(crate) fn record_health(
        &self,
        subject: &Subject,
        outcome: Result<Option<String>, ProbeFailure>,
    ) -> Option<Standing> {
        let (standing, effects) =
            self.with(|state| state.record_health(subject, outcome, Timestamp::now()))?;
        self.follow(subject, effects);
        Some(standing)
    }

    /// Takes in a version that was asked for beside the health check.
    pub(crate) fn record_version(&self, subject: &Subject, version: String) {
        let effects = self.with(|state| state.record_version(subject, version));
        self.follow(subject, effects);
    }

    /// Takes in both model lists. The flag says whether to look again soon; `None` tells the worker that its node is gone.
    pub(crate) fn record_models(
        &self,
        subject: &Subject,
        tags: Result<ModelList, ProbeFailure>,
        ps: Result<Vec<LoadedModel>, ProbeFailure>,
    ) -> Option<bool> {
        let (again, effects) = self.with(|state| state.record_models(subject, tags, ps))?;
        self.follow(subject, effects);
        Some(again)
    }

    fn follow(&self, subject: &Subject, effects: Effects) {
        let Effects { changed, transition, inventory } = effects;
        if let Some(transition) = &transition {
            tracing::info!(
                node = %transition.node,
                from = ?transition.from,
                to = ?transition.to,
                reason = transition.reason,
                detail = transition.message,
                "the health of a node changed"
            );
        }
        if let Some(history) = &self.history {
            if let Some(transition) = transition {
                history.transition(transition);
            }
            if let Some(models) = inventory {
                history.inventory(&subject.id, Some(models));
            }
        }
        self.tell(changed);
        self.woken.notify_one();
    }

    /// Names nodes to whoever listens for changes.
    pub(crate) fn tell(&self, changed: impl IntoIterator<Item = NodeId>) {
        for id in changed {
            // Without a listener there is nobody to tell.
            let _ = self.changes.send(id);
        }
    }
}
