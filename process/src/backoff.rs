//! How long to wait after a failure.

use rand::RngExt as _;
use std::time::Duration;

/// Waits that double with every failure in a row, up to a cap, with jitter so that many waiters do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling after the first failure.
    pub initial: Duration,
    /// The highest ceiling.
    pub max: Duration,
}

impl Backoff {
    /// The longest wait after `failures` failures in a row; zero after none.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.initial.saturating_mul(factor).min(self.max)
    }

    /// A random wait between half the ceiling and the ceiling.
    pub fn delay(&self, failures: u32) -> Duration {
        self.ceiling(failures).mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(5) };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<_> = (0..8).map(|failures| BACKOFF.ceiling(failures).as_millis()).collect();
        assert_eq!(ceilings, [0, 100, 200, 400, 800, 1_600, 3_200, 5_000]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), BACKOFF.max);
    }

    #[test]
    fn the_wait_stays_between_half_the_ceiling_and_the_ceiling() {
        for failures in 1..200 {
            let (delay, ceiling) = (BACKOFF.delay(failures), BACKOFF.ceiling(failures));
            assert!(delay >= ceiling / 2 && delay <= ceiling, "{delay:?} of {ceiling:?}");
        }
    }
}
