//! Whether a request that one node did not serve goes to another one.
//!
//! Inference changes nothing but a node's time, so it may run again as long as no byte of a response has arrived. What
//! keeps that from doing harm: a request whose body a node has read goes to one more node and to no third, since it may be
//! the request that breaks nodes; and a budget over all requests keeps retries from doubling the load of a fleet that is
//! already failing.

use super::FailureKind;
use http::StatusCode;

/// What a node did instead of serving the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// No answer.
    Failure {
        /// What happened.
        kind: FailureKind,
        /// Whether the node may have read the whole body.
        body_sent: bool,
    },
    /// An answer that another node may better.
    Answer(Declined),
}

/// Answers that say that the node did not do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// 503: the node's queue is full.
    Busy,
    /// 500: the model could not be loaded, or its process died.
    LoadFailed,
    /// 404: the node does not have the model that the table lists.
    MissingModel,
}

impl Declined {
    /// Sorts an answer; `None` is one that goes to the client as it is.
    pub(crate) fn of(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::SERVICE_UNAVAILABLE => Some(Self::Busy),
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => Some(Self::LoadFailed),
            StatusCode::NOT_FOUND => Some(Self::MissingModel),
            _ => None,
        }
    }

    /// The failure that this counts as.
    pub(crate) fn kind(self) -> FailureKind {
        match self {
            Self::Busy => FailureKind::Busy,
            Self::LoadFailed => FailureKind::LoadFailed,
            Self::MissingModel => FailureKind::MissingModel,
        }
    }
}

/// What has happened to a request so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Nodes tried, the last one included.
    pub attempts: u32,
    /// Those that may have read the whole body and then broke the connection.
    pub broken_after_body: u32,
    /// Those that answered that they are busy.
    pub busy: u32,
    /// Those that could not load the model.
    pub load_failed: u32,
}

impl History {
    /// Takes down what the last node did.
    pub(crate) fn note(&mut self, failed: Failed) {
        self.attempts += 1;
        match failed {
            Failed::Failure { body_sent: true, .. } => self.broken_after_body += 1,
            Failed::Failure { body_sent: false, .. } | Failed::Answer(Declined::MissingModel) => {}
            Failed::Answer(Declined::Busy) => self.busy += 1,
            Failed::Answer(Declined::LoadFailed) => self.load_failed += 1,
        }
    }
}

/// Whether the request may go to another node, if there is one. `history` has taken `failed` down.
pub(crate) fn another_node(failed: Failed, history: &History, max_attempts: u32) -> bool {
    if history.attempts >= max_attempts {
        return false;
    }
    match failed {
        // The time for the answer is spent.
        Failed::Failure { kind: FailureKind::FirstByteTimeout, .. } => false,
        Failed::Failure { body_sent: true, .. } => history.broken_after_body < 2,
        Failed::Failure { body_sent: false, .. } => true,
        Failed::Answer(Declined::Busy) => history.busy < 2,
        Failed::Answer(Declined::LoadFailed) => history.load_failed < 2,
        Failed::Answer(Declined::MissingModel) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REFUSED: Failed = Failed::Failure { kind: FailureKind::Refused, body_sent: false };
    const RESET: Failed = Failed::Failure { kind: FailureKind::Reset, body_sent: true };
    const RESET_EARLY: Failed = Failed::Failure { kind: FailureKind::Reset, body_sent: false };
    const SILENT: Failed = Failed::Failure { kind: FailureKind::FirstByteTimeout, body_sent: true };
    const BUSY: Failed = Failed::Answer(Declined::Busy);
    const LOAD: Failed = Failed::Answer(Declined::LoadFailed);
    const MISSING: Failed = Failed::Answer(Declined::MissingModel);

    /// How many nodes a request reaches when every one of them does the same.
    fn reach(failures: impl IntoIterator<Item = Failed>, max_attempts: u32) -> u32 {
        let mut history = History::default();
        for failed in failures {
            history.note(failed);
            if !another_node(failed, &history, max_attempts) {
                break;
            }
        }
        history.attempts
    }

    fn always(failed: Failed) -> impl Iterator<Item = Failed> {
        std::iter::repeat(failed)
    }

    #[test]
    fn how_far_each_failure_carries_a_request() {
        for (failed, nodes) in
            [(REFUSED, 9), (RESET_EARLY, 9), (MISSING, 9), (RESET, 2), (BUSY, 2), (LOAD, 2), (SILENT, 1)]
        {
            assert_eq!(reach(always(failed), 9), nodes, "{failed:?}");
            assert_eq!(reach(always(failed), 1), 1, "{failed:?}");
        }
    }

    #[test]
    fn a_request_that_breaks_nodes_reaches_two_however_it_got_there() {
        assert_eq!(reach([REFUSED, RESET, REFUSED, RESET, REFUSED], 9), 4);
        assert_eq!(reach([RESET, BUSY, RESET, BUSY], 9), 3);
    }

    #[test]
    fn other_answers_are_the_answer() {
        for status in [200, 400, 401, 403, 413, 422, 429, 499, 501, 504] {
            assert_eq!(Declined::of(StatusCode::from_u16(status).unwrap()), None, "{status}");
        }
        assert_eq!(Declined::of(StatusCode::SERVICE_UNAVAILABLE), Some(Declined::Busy));
    }

    proptest! {
        #[test]
        fn never_more_nodes_than_allowed_and_never_three_that_read_it(
            failures in proptest::collection::vec(
                proptest::sample::select(vec![REFUSED, RESET, RESET_EARLY, SILENT, BUSY, LOAD, MISSING]), 1..20),
            max_attempts in 1_u32..8,
        ) {
            let mut history = History::default();
            for failed in failures {
                history.note(failed);
                if !another_node(failed, &history, max_attempts) {
                    break;
                }
            }
            prop_assert!(history.attempts <= max_attempts);
            prop_assert!(history.broken_after_body <= 2);
        }
    }
}
