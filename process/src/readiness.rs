//! Whether the program may be sent work.

use parking_lot::Mutex;
use std::sync::Arc;
use tracing::info;

/// Ready when every blocker is cleared, and from then on until [`Readiness::close`].
#[derive(Clone, Default, Debug)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Default, Debug)]
struct State {
    pending: Vec<&'static str>,
    closed: Option<&'static str>,
}

/// One thing that must be there before the program is ready. Dropping it clears it.
#[derive(Debug)]
pub struct Blocker {
    readiness: Readiness,
    what: &'static str,
}

impl Readiness {
    /// Ready at once, until a blocker is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds readiness back until the blocker is cleared. Blockers belong to the start of the program: one added later
    /// would take readiness away again.
    pub fn blocker(&self, what: &'static str) -> Blocker {
        self.0.lock().pending.push(what);
        Blocker { readiness: self.clone(), what }
    }

    /// Not ready any more, for good: the program is about to end. `why` is what `/readyz` answers.
    pub fn close(&self, why: &'static str) {
        self.0.lock().closed.get_or_insert(why);
    }

    /// Whether the program may be sent work.
    pub fn is_ready(&self) -> bool {
        let state = self.0.lock();
        state.closed.is_none() && state.pending.is_empty()
    }

    /// Why the program is not ready: what it waits for, or that it is about to end.
    pub fn pending(&self) -> Vec<&'static str> {
        let state = self.0.lock();
        state.closed.map_or_else(|| state.pending.clone(), |why| vec![why])
    }
}

impl Blocker {
    /// What was waited for is there.
    pub fn clear(self) {
        drop(self);
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        let mut state = self.readiness.0.lock();
        if let Some(position) = state.pending.iter().position(|pending| *pending == self.what) {
            state.pending.remove(position);
        }
        if state.closed.is_none() {
            info!(what = self.what, still_waiting_for = ?state.pending, "ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_blocker_is_cleared() {
        let readiness = Readiness::new();
        let (table, listener) = (readiness.blocker("routing table"), readiness.blocker("listener"));
        assert_eq!(readiness.pending(), ["routing table", "listener"]);
        table.clear();
        assert!(!readiness.is_ready());
        drop(listener);
        assert!(readiness.is_ready());
    }

    #[test]
    fn closed_is_for_good_and_says_why() {
        let readiness = Readiness::new();
        readiness.close("draining");
        readiness.close("later");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.pending(), ["draining"]);
    }
}
