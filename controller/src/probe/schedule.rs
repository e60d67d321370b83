//! When a node is probed next. Pure: chance comes in as a number.

use aivonx_state::table::Health;
use std::time::Duration;

/// How much earlier or later than planned a probe may start, so that nodes do not beat in step.
const JITTER: f64 = 0.2;
/// How soon a changed answer is looked at again, so that thresholds are reached quickly in both directions.
const CONFIRM: Duration = Duration::from_secs(1);
/// Failures of an unhealthy node that are probed at the plain interval. It may well come back soon.
const PATIENCE: u32 = 10;
/// The longest wait between two probes of a node that has long been dead, unless its interval is longer still.
const LONGEST: Duration = Duration::from_secs(60);
/// The share of the start that each node of the fleet adds: many nodes are spread out, one is probed at once.
const START_SHARE: Duration = Duration::from_millis(2);

/// What the last probes of a node said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The verdict.
    pub state: Health,
    /// Failures since the last success.
    pub failures: u32,
    /// Successes since the last failure.
    pub successes: u32,
    /// Failures that make a node unhealthy.
    pub unhealthy_threshold: u32,
}

/// The wait before the first probe of a node, for `chance` in 0..1.
pub fn start(fleet_size: usize, interval: Duration, chance: f64) -> Duration {
    let spread = START_SHARE.saturating_mul(u32::try_from(fleet_size).unwrap_or(u32::MAX)).min(interval);
    spread.mul_f64(chance.clamp(0.0, 1.0))
}

/// The wait before the next probe of a node, for `chance` in 0..1.
pub fn next(interval: Duration, standing: Standing, chance: f64) -> Duration {
    let factor = 1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0);
    plan(interval, standing).mul_f64(factor)
}

fn plan(interval: Duration, standing: Standing) -> Duration {
    let confirm = CONFIRM.min(interval / 2);
    match standing.state {
        Health::Unhealthy if standing.successes > 0 => confirm,
        Health::Unhealthy => {
            let beyond =
                standing.failures.saturating_sub(standing.unhealthy_threshold.saturating_add(PATIENCE));
            let factor = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX);
            interval.saturating_mul(factor).min(LONGEST.max(interval))
        }
        Health::Unknown | Health::Healthy if standing.failures > 0 => confirm,
        Health::Unknown | Health::Healthy => interval,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEN: Duration = Duration::from_secs(10);

    fn standing(state: Health, failures: u32, successes: u32) -> Standing {
        Standing { state, failures, successes, unhealthy_threshold: 3 }
    }

    #[test]
    fn a_healthy_node_is_probed_at_its_interval_with_a_fifth_of_jitter() {
        let healthy = standing(Health::Healthy, 0, 9);
        assert_eq!(next(TEN, healthy, 0.0), Duration::from_secs(8));
        assert_eq!(next(TEN, healthy, 0.5), TEN);
        assert_eq!(next(TEN, healthy, 1.0), Duration::from_secs(12));
    }

    #[test]
    fn a_changed_answer_is_confirmed_soon() {
        assert_eq!(plan(TEN, standing(Health::Healthy, 1, 0)), CONFIRM);
        assert_eq!(plan(TEN, standing(Health::Unhealthy, 0, 1)), CONFIRM);
    }

    #[test]
    fn a_dead_node_is_probed_less_and_less_up_to_a_cap() {
        let waits: Vec<_> =
            (13..18).map(|failures| plan(TEN, standing(Health::Unhealthy, failures, 0)).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        let hour = Duration::from_secs(3_600);
        assert_eq!(
            plan(hour, standing(Health::Unhealthy, 99, 0)),
            hour,
            "never sooner than its own interval"
        );
    }

    #[test]
    fn one_node_starts_at_once_and_many_are_spread_over_an_interval() {
        assert!(start(1, TEN, 0.99) < Duration::from_millis(3));
        assert_eq!(start(100_000, TEN, 0.5), TEN / 2);
    }

    proptest! {
        /// A node that refuses connections is unhealthy before three intervals have passed, for the default threshold
        /// and any interval and chance.
        #[test]
        fn a_refusing_node_falls_well_within_three_intervals(
            millis in 100_u64..600_000,
            chances in proptest::collection::vec(0.0_f64..1.0, 3),
        ) {
            let interval = Duration::from_millis(millis);
            let mut passed = next(interval, standing(Health::Healthy, 0, 1), chances[0]);
            for failures in 1..3 {
                passed += next(interval, standing(Health::Healthy, failures, 0), chances[failures as usize]);
            }
            prop_assert!(passed < interval.mul_f64(2.5), "{passed:?} of {interval:?}");
        }

        #[test]
        fn no_history_gives_a_wait_of_nothing_or_of_ages(
            millis in 1_u64..3_600_000,
            failures in any::<u32>(),
            successes in any::<u32>(),
            unhealthy in any::<bool>(),
            chance in -1.0_f64..2.0,
        ) {
            let interval = Duration::from_millis(millis);
            let state = if unhealthy { Health::Unhealthy } else { Health::Healthy };
            let wait = next(interval, standing(state, failures, successes), chance);
            prop_assert!(wait >= interval.mul_f64(0.39).min(CONFIRM.mul_f64(0.79)), "{wait:?}");
            prop_assert!(wait <= interval.max(LONGEST).mul_f64(1.21), "{wait:?}");
        }
    }
}
