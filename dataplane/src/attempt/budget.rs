//! How many retries all requests together may have.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Retries that an idle gateway has in hand.
const CAPACITY: f64 = 100.0;
/// What each request adds: one retry for five requests.
const PER_REQUEST: f64 = 0.2;
/// What time alone adds, so that a gateway with little to do can still retry.
const PER_SECOND: f64 = 10.0;

/// A bucket of retries, filled by requests and by time.
#[derive(Debug)]
pub(crate) struct Budget(Mutex<Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    retries: f64,
    filled: Instant,
}

impl Budget {
    /// A full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Bucket { retries: CAPACITY, filled: now }))
    }

    /// A request came.
    pub(crate) fn deposit(&self) {
        let mut bucket = self.0.lock();
        bucket.retries = (bucket.retries + PER_REQUEST).min(CAPACITY);
    }

    /// Takes one retry, if there is one.
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock();
        let seconds = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.retries = (bucket.retries + seconds * PER_SECOND).min(CAPACITY);
        bucket.filled = now;
        let enough = bucket.retries >= 1.0;
        if enough {
            bucket.retries -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn retries_are_a_fifth_of_the_requests_once_the_reserve_is_spent() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert_eq!((0..1_000).filter(|_| budget.withdraw(now)).count(), 100);
        let granted = (0..1_000)
            .filter(|_| {
                budget.deposit();
                budget.withdraw(now)
            })
            .count();
        assert!((195..=200).contains(&granted), "{granted}");
    }

    #[test]
    fn time_refills_it_up_to_its_capacity() {
        let now = Instant::now();
        let budget = Budget::new(now);
        while budget.withdraw(now) {}
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| budget.withdraw(later)).count(), 10);
        let much_later = now + Duration::from_secs(3_600);
        assert_eq!((0..1_000).filter(|_| budget.withdraw(much_later)).count(), 100);
    }
}
