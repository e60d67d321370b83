//! When a table is built after a change. Pure: time comes in.

use std::time::Duration;
use tokio::time::Instant;

/// How much a change matters to routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing depends on it at once: a time of unloading, a version.
    Minor,
    /// Requests go elsewhere because of it.
    Major,
}

/// Waits for a lull, but not for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// After a major change, the time without another that is waited for.
    pub quiet: Duration,
    /// A major change waits this long at most.
    pub longest: Duration,
    /// A minor change waits this long, or goes along with a major one.
    pub minor: Duration,
}

impl Default for Debounce {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            longest: Duration::from_millis(200),
            minor: Duration::from_secs(1),
        }
    }
}

/// The changes that wait for a table.
#[derive(Debug)]
pub(crate) struct Pending {
    debounce: Debounce,
    first_major: Option<Instant>,
    last_major: Option<Instant>,
    first_minor: Option<Instant>,
}

impl Pending {
    pub(crate) fn new(debounce: Debounce) -> Self {
        Self { debounce, first_major: None, last_major: None, first_minor: None }
    }

    /// Takes in a change.
    pub(crate) fn touch(&mut self, urgency: Urgency, now: Instant) {
        match urgency {
            Urgency::Minor => {
                self.first_minor.get_or_insert(now);
            }
            Urgency::Major => {
                self.first_major.get_or_insert(now);
                self.last_major = Some(now);
            }
        }
    }

    /// When the table is to be built; `None` if nothing waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        let major = match (self.first_major, self.last_major) {
            (Some(first), Some(last)) => {
                Some((last + self.debounce.quiet).min(first + self.debounce.longest))
            }
            _ => None,
        };
        let minor = self.first_minor.map(|first| first + self.debounce.minor);
        [major, minor].into_iter().flatten().min()
    }

    /// All that waited is in the table that is built now.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.debounce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_single_change_waits_for_the_lull() {
        let (mut pending, start) = (Pending::new(Debounce::default()), Instant::now());
        assert_eq!(pending.due(), None);
        pending.touch(Urgency::Major, start);
        assert_eq!(pending.due(), Some(start + millis(50)));
        pending.clear();
        assert_eq!(pending.due(), None);
    }

    #[test]
    fn changes_that_never_stop_do_not_put_it_off_for_ever() {
        let (mut pending, start) = (Pending::new(Debounce::default()), Instant::now());
        for n in 0..100 {
            pending.touch(Urgency::Major, start + millis(10 * n));
        }
        assert_eq!(pending.due(), Some(start + millis(200)));
    }

    #[test]
    fn a_minor_change_waits_longer_or_goes_along() {
        let (mut pending, start) = (Pending::new(Debounce::default()), Instant::now());
        pending.touch(Urgency::Minor, start);
        pending.touch(Urgency::Minor, start + millis(900));
        assert_eq!(pending.due(), Some(start + millis(1_000)));
        pending.touch(Urgency::Major, start + millis(100));
        assert_eq!(pending.due(), Some(start + millis(150)));
    }

    proptest! {
        #[test]
        fn no_change_waits_longer_than_its_limit(
            changes in proptest::collection::vec((0_u64..2_000, any::<bool>()), 1..50),
        ) {
            let (mut pending, start) = (Pending::new(Debounce::default()), Instant::now());
            let mut changes = changes;
            changes.sort_unstable();
            for (at, major) in &changes {
                pending.touch(if *major { Urgency::Major } else { Urgency::Minor }, start + millis(*at));
            }
            let due = pending.due().unwrap();
            for (at, major) in changes {
                let limit = if major { 200 } else { 1_000 };
                prop_assert!(due <= start + millis(at + limit));
            }
        }
    }
}
