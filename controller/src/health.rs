//! The health of one node as its probes tell it: thresholds in both directions, so that one lost answer changes nothing.

use crate::fleet::observation::{HealthReport, Transition, reason};
use crate::node::HealthPolicy;
use crate::probe::{FailureReason, ProbeFailure};
use aivonx_state::table::Health;
use jiff::Timestamp;

const ANSWERS: &str = "answers its health check";

/// What one probe changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HealthChange {
    /// Nothing that anybody is told of.
    None,
    /// The state stands, but there is a new reason for it.
    Reason,
    /// The state changed.
    Transition(Transition),
}

/// Counts answers in a row and turns them into a verdict.
///
/// From `Unknown` one success is enough, so that a fresh node serves soon; from `Unhealthy` it takes as many as the policy
/// says, so that a flapping node does not come and go. `Unknown` never returns.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthTracker {
    report: HealthReport,
    successes: u32,
    failures: u32,
    probed: bool,
    last_transition: Option<Transition>,
}

impl HealthTracker {
    /// A node that was never probed.
    pub fn new(now: Timestamp) -> Self {
        Self::of(Health::Unknown, reason::PENDING, "not probed yet".to_owned(), now)
    }

    /// A node as a stored table has it. Until probes say otherwise, the table is believed. A healthy node reads as if it
    /// had been probed, so that a change of leader is no change of status.
    pub fn restored(state: Health, reason: Option<&str>, since: Timestamp) -> Self {
        match state {
            Health::Unknown => Self::new(since),
            Health::Healthy => Self::of(state, reason::REACHABLE, ANSWERS.to_owned(), since),
            Health::Unhealthy => {
                let known = FailureReason::ALL.iter().map(|known| known.as_str());
                let known = known.into_iter().find(|known| Some(*known) == reason);
                let message = "taken over from the stored routing table, not probed yet".to_owned();
                Self::of(state, known.unwrap_or(reason::RESTORED), message, since)
            }
        }
    }

    fn of(state: Health, reason: &'static str, message: String, since: Timestamp) -> Self {
        let report = HealthReport { state, reason, message, since };
        Self { report, successes: 0, failures: 0, probed: false, last_transition: None }
    }

    /// Takes in the outcome of a probe that ended at `now`.
    pub fn record(
        &mut self,
        outcome: Result<(), &ProbeFailure>,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> HealthChange {
        self.probed = true;
        match outcome {
            Ok(()) => self.succeeded(policy, now),
            Err(failure) => self.failed(failure, policy, now),
        }
    }

    fn succeeded(&mut self, policy: &HealthPolicy, now: Timestamp) -> HealthChange {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let needed = match self.report.state {
            Health::Unknown | Health::Healthy => 1,
            Health::Unhealthy => policy.healthy_threshold.max(1),
        };
        if self.successes < needed {
            return HealthChange::None;
        }
        self.settle(Health::Healthy, reason::REACHABLE, ANSWERS.to_owned(), now)
    }

    fn failed(&mut self, failure: &ProbeFailure, policy: &HealthPolicy, now: Timestamp) -> HealthChange {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let state = match self.report.state {
            _ if self.failures >= policy.unhealthy_threshold.max(1) => Health::Unhealthy,
            // A healthy node keeps its good word until the threshold; a restored verdict stands likewise.
            Health::Healthy => return HealthChange::None,
            state => state,
        };
        self.settle(state, failure.reason.as_str(), failure.message.clone(), now)
    }

    fn settle(
        &mut self,
        state: Health,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) -> HealthChange {
        let before = self.report.state;
        if before == state {
            // A message may hold numbers that move; only a reason is news.
            let news = self.report.reason != reason;
            if news {
                self.report.reason = reason;
                self.report.message = message;
            }
            return if news { HealthChange::Reason } else { HealthChange::None };
        }
        self.report = HealthReport { state, reason, message, since: now };
        let transition = Transition { from: before, to: state, at: now, reason };
        self.last_transition = Some(transition);
        HealthChange::Transition(transition)
    }

    /// The verdict with its reason.
    pub fn report(&self) -> &HealthReport {
        &self.report
    }

    /// The verdict.
    pub fn state(&self) -> Health {
        self.report.state
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Successes since the last failure.
    pub fn successes(&self) -> u32 {
        self.successes
    }

    /// Whether anything is known: a probe has ended, or a stored table told.
    pub fn is_settled(&self) -> bool {
        self.probed || self.report.state != Health::Unknown
    }

    /// The last change of state.
    pub fn last_transition(&self) -> Option<Transition> {
        self.last_transition
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(healthy: u32, unhealthy: u32) -> HealthPolicy {
        HealthPolicy { healthy_threshold: healthy, unhealthy_threshold: unhealthy, ..HealthPolicy::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn refused() -> ProbeFailure {
        ProbeFailure::new(FailureReason::ConnectionRefused, "nobody listens")
    }

    #[test]
    fn a_fresh_node_is_healthy_after_one_success() {
        let mut tracker = HealthTracker::new(at(0));
        let change = tracker.record(Ok(()), &policy(3, 3), at(1));
        assert!(matches!(change, HealthChange::Transition(t) if t.to == Health::Healthy && t.at == at(1)));
        assert_eq!(tracker.report().reason, reason::REACHABLE);
    }

    #[test]
    fn a_healthy_node_falls_at_the_threshold_and_not_before() {
        let mut tracker = HealthTracker::restored(Health::Healthy, None, at(0));
        let (policy, failure) = (policy(2, 3), refused());
        assert_eq!(tracker.record(Err(&failure), &policy, at(1)), HealthChange::None);
        assert_eq!(tracker.record(Err(&failure), &policy, at(2)), HealthChange::None);
        let HealthChange::Transition(transition) = tracker.record(Err(&failure), &policy, at(3)) else {
            panic!("no transition");
        };
        assert_eq!(transition.reason, "ConnectionRefused");
        assert_eq!((transition.from, transition.to), (Health::Healthy, Health::Unhealthy));
        assert_eq!(tracker.last_transition(), Some(transition));
    }

    #[test]
    fn recovery_needs_its_own_threshold() {
        let mut tracker = HealthTracker::restored(Health::Unhealthy, None, at(0));
        let policy = policy(2, 3);
        assert_eq!(tracker.record(Ok(()), &policy, at(1)), HealthChange::None);
        tracker.record(Err(&refused()), &policy, at(2));
        assert_eq!(
            tracker.record(Ok(()), &policy, at(3)),
            HealthChange::None,
            "the failure starts the count anew"
        );
        assert!(matches!(tracker.record(Ok(()), &policy, at(4)), HealthChange::Transition(_)));
    }

    #[test]
    fn a_restored_node_keeps_the_reason_it_was_stored_with() {
        let reason = |stored| HealthTracker::restored(Health::Unhealthy, stored, at(0)).report().reason;
        assert_eq!(reason(Some("DnsFailed")), "DnsFailed");
        assert_eq!(reason(Some("WordOfALaterVersion")), reason::RESTORED);
        let mut healthy = HealthTracker::restored(Health::Healthy, None, at(0));
        assert_eq!(healthy.record(Ok(()), &policy(2, 3), at(1)), HealthChange::None, "no news");
    }

    #[test]
    fn a_new_reason_is_told_and_does_not_move_the_time() {
        let mut tracker = HealthTracker::new(at(0));
        let policy = policy(1, 1);
        tracker.record(Err(&refused()), &policy, at(1));
        let timeout = ProbeFailure::new(FailureReason::Timeout, "no answer in 3s");
        assert_eq!(tracker.record(Err(&timeout), &policy, at(2)), HealthChange::Reason);
        assert_eq!(tracker.record(Err(&timeout), &policy, at(3)), HealthChange::None);
        assert_eq!((tracker.report().since, tracker.report().reason), (at(1), "Timeout"));
    }

    #[test]
    fn an_unknown_node_that_fails_says_why_before_the_threshold() {
        let mut tracker = HealthTracker::new(at(0));
        assert!(!tracker.is_settled());
        assert_eq!(tracker.record(Err(&refused()), &policy(1, 3), at(1)), HealthChange::Reason);
        assert_eq!(tracker.state(), Health::Unknown);
        assert!(tracker.is_settled());
    }

    proptest! {
        /// Against a model that keeps the whole history: a state is left only after as many equal answers in a row as
        /// the policy says, and `since` moves exactly when the state does.
        #[test]
        fn thresholds_hold_for_any_history(
            outcomes in proptest::collection::vec(any::<bool>(), 0..200),
            healthy in 0_u32..5,
            unhealthy in 0_u32..5,
        ) {
            let policy = policy(healthy, unhealthy);
            let failure = refused();
            let mut tracker = HealthTracker::new(at(0));
            for end in 1..=outcomes.len() {
                let before = tracker.report().clone();
                let success = outcomes[end - 1];
                let run = outcomes[..end].iter().rev().take_while(|outcome| **outcome == success).count() as u32;
                let now = at(end as i64);
                let change = tracker.record(if success { Ok(()) } else { Err(&failure) }, &policy, now);
                let expected = match (before.state, success) {
                    (Health::Unknown, true) => Health::Healthy,
                    (Health::Unhealthy, true) if run >= healthy.max(1) => Health::Healthy,
                    (_, false) if run >= unhealthy.max(1) => Health::Unhealthy,
                    (state, _) => state,
                };
                prop_assert_eq!(tracker.state(), expected);
                let moved = expected != before.state;
                prop_assert_eq!(matches!(change, HealthChange::Transition(_)), moved);
                prop_assert_eq!(tracker.report().since, if moved { now } else { before.since });
                if let HealthChange::Transition(transition) = change {
                    prop_assert_eq!((transition.from, transition.to), (before.state, expected));
                }
            }
        }
    }
}
