//! When a node is suspected.

use crate::attempt::FailureKind;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many broken exchanges in a row convict a node that still accepts connections.
const BROKEN_IN_A_ROW: u32 = 3;

/// What a failure says of a node's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// No connection: the node is not there.
    Dead,
    /// A connection that broke: a process died, perhaps the model's alone.
    Broken,
}

impl Sign {
    /// What a failure says; `None` when it says nothing: a busy or slow node is alive.
    pub(crate) fn of(kind: FailureKind) -> Option<Self> {
        match kind {
            FailureKind::Refused | FailureKind::ConnectTimeout | FailureKind::Connect => Some(Self::Dead),
            FailureKind::Reset | FailureKind::Protocol | FailureKind::BrokenStream => Some(Self::Broken),
            FailureKind::FirstByteTimeout
            | FailureKind::Busy
            | FailureKind::LoadFailed
            | FailureKind::MissingModel
            | FailureKind::IdleTimeout
            | FailureKind::TotalTimeout
            | FailureKind::Truncated => None,
        }
    }

    fn convicts(self, in_a_row: u32) -> bool {
        match self {
            Self::Dead => true,
            Self::Broken => in_a_row >= BROKEN_IN_A_ROW,
        }
    }
}

/// What the requests of this process think of one node.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    suspect: AtomicBool,
    broken_in_a_row: Mutex<u32>,
}

impl Suspicion {
    /// Whether requests should go elsewhere.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// A request failed here. True when the node has just become a suspect.
    pub(crate) fn failed(&self, sign: Sign) -> bool {
        let mut broken = self.broken_in_a_row.lock();
        *broken = broken.saturating_add(1);
        sign.convicts(*broken) && !self.suspect.swap(true, Ordering::Relaxed)
    }

    /// The node answered.
    pub(crate) fn answered(&self) {
        // The usual case writes nothing.
        if self.is_suspect() || *self.broken_in_a_row.lock() > 0 {
            *self.broken_in_a_row.lock() = 0;
            self.suspect.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_is_suspected_at_once() {
        let suspicion = Suspicion::default();
        assert!(suspicion.failed(Sign::Dead));
        assert!(suspicion.is_suspect());
        assert!(!suspicion.failed(Sign::Dead), "it is told once");
        suspicion.answered();
        assert!(!suspicion.is_suspect());
    }

    #[test]
    fn broken_connections_convict_only_in_a_row() {
        let suspicion = Suspicion::default();
        assert!(!suspicion.failed(Sign::Broken));
        assert!(!suspicion.failed(Sign::Broken));
        suspicion.answered();
        assert!(!suspicion.failed(Sign::Broken));
        assert!(!suspicion.failed(Sign::Broken));
        assert!(suspicion.failed(Sign::Broken));
    }

    #[test]
    fn a_busy_or_slow_node_is_no_suspect() {
        for kind in [FailureKind::Busy, FailureKind::FirstByteTimeout, FailureKind::MissingModel] {
            assert_eq!(Sign::of(kind), None);
        }
        assert_eq!(Sign::of(FailureKind::Refused), Some(Sign::Dead));
        assert_eq!(Sign::of(FailureKind::Reset), Some(Sign::Broken));
    }
}
