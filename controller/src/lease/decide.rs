//! What to do about the Lease, given what was last seen of it. Pure: time comes in, nothing goes out.
//!
//! Two rules keep leaders apart. A Lease is free only after it was *seen* unchanged for its whole duration by this
//! process's own clock, so clocks of other machines do not matter. And whoever takes it writes a number of transitions
//! that nobody had before, by compare-and-set: that number is the epoch which fences all writes to the stores.

use k8s_openapi::api::coordination::v1::LeaseSpec;
use std::time::Duration;
use tokio::time::Instant;

/// The longest duration of someone else's lease that is waited for.
const MAX_DURATION: Duration = Duration::from_secs(3_600);

/// What this process knows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    /// Unlike that of any other process.
    pub identity: &'a str,
    /// The epoch under which this process holds the lease, as far as it knows.
    pub epoch: Option<u64>,
    /// The highest epoch that a store was seen to hold; an own one must be higher.
    pub floor: u64,
}

/// The content of a Lease, and since when this process has seen it unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    seen: LeaseSpec,
    since: Instant,
}

impl Observed {
    /// Goes on from what was seen before.
    pub fn update(before: Option<Self>, seen: &LeaseSpec, now: Instant) -> Self {
        match before {
            Some(before) if before.seen == *seen => before,
            _ => Self { seen: seen.clone(), since: now },
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The lease is this process's own: write that it still is.
    Renew,
    /// The lease is free, or its number does not do: put the own name and this epoch into it.
    Take {
        /// The number of transitions to write.
        epoch: u64,
    },
    /// Somebody else holds it.
    Wait {
        /// When it is free, if nothing is heard of its holder until then.
        until: Instant,
    },
    /// No epoch is left above that of the stores.
    Exhausted,
}

/// Decides. `lease` is what was just read, `None` if there is no Lease; `observed` was updated with it.
pub fn decide(lease: Option<&LeaseSpec>, me: Me<'_>, observed: Option<&Observed>, now: Instant) -> Step {
    let transitions =
        lease.and_then(|lease| lease.lease_transitions).map_or(0, |n| u64::try_from(n).unwrap_or(0));
    // Also above the own last epoch: the Lease may have been deleted while this process led.
    let next = transitions.max(me.floor).max(me.epoch.unwrap_or(0)) + 1;
    let take = if i32::try_from(next).is_ok() { Step::Take { epoch: next } } else { Step::Exhausted };
    let Some(lease) = lease else { return take };
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return take;
    }
    if holder == me.identity && me.epoch == Some(transitions) {
        return if me.floor < transitions { Step::Renew } else { take };
    }
    let since = observed.map_or(now, |observed| observed.since);
    let until = since + duration(lease);
    if now >= until { take } else { Step::Wait { until } }
}

fn duration(lease: &LeaseSpec) -> Duration {
    let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    Duration::from_secs(seconds.max(1)).min(MAX_DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn me(epoch: Option<u64>, floor: u64) -> Me<'static> {
        Me { identity: "a", epoch, floor }
    }

    #[test]
    fn a_missing_lease_is_taken_above_what_the_stores_hold() {
        let now = Instant::now();
        assert_eq!(decide(None, me(None, 0), None, now), Step::Take { epoch: 1 });
        assert_eq!(decide(None, me(None, 7), None, now), Step::Take { epoch: 8 });
        assert_eq!(decide(None, me(Some(9), 7), None, now), Step::Take { epoch: 10 });
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        let free = lease("", 4);
        assert_eq!(decide(Some(&free), me(None, 0), None, Instant::now()), Step::Take { epoch: 5 });
        let absent = LeaseSpec { holder_identity: None, ..free };
        assert_eq!(decide(Some(&absent), me(None, 0), None, Instant::now()), Step::Take { epoch: 5 });
    }

    #[test]
    fn a_held_lease_is_waited_for_from_the_moment_it_was_first_seen() {
        let held = lease("b", 4);
        let seen = Instant::now();
        let observed = Observed::update(None, &held, seen);
        let until = seen + Duration::from_secs(15);
        assert_eq!(decide(Some(&held), me(None, 0), Some(&observed), seen), Step::Wait { until });
        assert_eq!(decide(Some(&held), me(None, 0), Some(&observed), until), Step::Take { epoch: 5 });
    }

    #[test]
    fn a_renewal_starts_the_wait_anew_and_a_look_does_not() {
        let first = lease("b", 4);
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let observed = Observed::update(None, &first, start);
        assert_eq!(Observed::update(Some(observed.clone()), &first, later).since, start);
        let renewed = LeaseSpec { lease_duration_seconds: Some(16), ..first };
        assert_eq!(Observed::update(Some(observed), &renewed, later).since, later);
    }

    #[test]
    fn the_own_lease_is_renewed() {
        assert_eq!(decide(Some(&lease("a", 4)), me(Some(4), 3), None, Instant::now()), Step::Renew);
    }

    #[test]
    fn a_store_that_holds_a_higher_epoch_raises_the_own_one() {
        assert_eq!(
            decide(Some(&lease("a", 4)), me(Some(4), 4), None, Instant::now()),
            Step::Take { epoch: 5 }
        );
        assert_eq!(
            decide(Some(&lease("a", 4)), me(Some(4), 90), None, Instant::now()),
            Step::Take { epoch: 91 }
        );
        let top = u64::from(i32::MAX.unsigned_abs());
        assert_eq!(decide(Some(&lease("a", 4)), me(Some(4), top), None, Instant::now()), Step::Exhausted);
    }

    #[test]
    fn another_process_of_the_same_name_is_another_process() {
        let now = Instant::now();
        assert!(matches!(decide(Some(&lease("a", 4)), me(None, 0), None, now), Step::Wait { .. }));
        assert!(matches!(decide(Some(&lease("a", 5)), me(Some(4), 0), None, now), Step::Wait { .. }));
    }

    #[test]
    fn a_lease_without_a_sensible_duration_is_not_held_for_ever() {
        let now = Instant::now();
        for (seconds, expected) in [(None, 1), (Some(-4), 1), (Some(i32::MAX), 3_600)] {
            let held = LeaseSpec { lease_duration_seconds: seconds, ..lease("b", 1) };
            let until = now + Duration::from_secs(expected);
            assert_eq!(decide(Some(&held), me(None, 0), None, now), Step::Wait { until });
        }
    }
}
