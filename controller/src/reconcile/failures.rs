//! Back-off for each object by itself.

use aivonx_process::backoff::Backoff;
use aivonx_state::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(60) };

/// How often in a row each object has failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    counts: Mutex<HashMap<NodeId, u32>>,
}

impl Failures {
    /// It failed again: gives how long to wait.
    pub fn failed(&self, id: &NodeId) -> Duration {
        let mut counts = self.counts.lock();
        let count = counts.entry(id.clone()).or_default();
        *count = count.saturating_add(1);
        BACKOFF.delay(*count)
    }

    /// It succeeded, or is gone.
    pub fn clear(&self, id: &NodeId) {
        self.counts.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_waits_longer_each_time_up_to_a_cap_until_it_succeeds() {
        let failures = Failures::default();
        let (a, b) = (NodeId::new("ai", "a"), NodeId::new("ai", "b"));
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            last = failures.failed(&a);
        }
        assert!(last >= BACKOFF.max / 2 && last <= BACKOFF.max, "{last:?}");
        assert!(failures.failed(&b) <= BACKOFF.initial);
        failures.clear(&a);
        assert!(failures.failed(&a) <= BACKOFF.initial);
    }
}
