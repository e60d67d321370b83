//! How soon a node began to answer lately.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The weight of the newest observation.
const ALPHA: f32 = 0.3;

/// A moving average of the time to the first byte, with the moment of the last observation. Lock-free.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

/// What is known of a node's latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The average, in milliseconds.
    pub milliseconds: f32,
    /// How long ago the last observation was.
    pub age: Duration,
}

impl Latency {
    /// Takes an observation in. `now` is the time since the process's epoch.
    pub(crate) fn observe(&self, first_byte: Duration, now: Duration) {
        let newest = (first_byte.as_secs_f32() * 1_000.0).max(0.001);
        let update = |held: u64| {
            let average = match unpack(held) {
                Some((average, _)) => average + ALPHA * (newest - average),
                None => newest,
            };
            Some(pack(average, now))
        };
        // The closure always gives a value, so this always succeeds.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// The average; `None` before the first observation.
    pub(crate) fn sample(&self, now: Duration) -> Option<Sample> {
        let (milliseconds, at) = unpack(self.0.load(Ordering::Relaxed))?;
        Some(Sample { milliseconds, age: now.saturating_sub(at) })
    }
}

/// The average in the upper half, the moment in tenths of a second in the lower one. Zero is no observation.
fn pack(average: f32, at: Duration) -> u64 {
    let tenths = u32::try_from(at.as_millis() / 100).unwrap_or(u32::MAX);
    u64::from(average.to_bits()) << 32 | u64::from(tenths)
}

fn unpack(held: u64) -> Option<(f32, Duration)> {
    let average = f32::from_bits((held >> 32) as u32);
    (average > 0.0).then(|| (average, Duration::from_millis((held & u64::from(u32::MAX)) * 100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_the_observations_and_ages() {
        let latency = Latency::default();
        assert_eq!(latency.sample(Duration::ZERO), None);
        latency.observe(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(latency.sample(Duration::from_secs(1)).unwrap().milliseconds, 100.0);
        latency.observe(Duration::from_millis(200), Duration::from_secs(2));
        let sample = latency.sample(Duration::from_secs(5)).unwrap();
        assert!((sample.milliseconds - 130.0).abs() < 0.01, "{sample:?}");
        assert_eq!(sample.age, Duration::from_secs(3));
    }

    #[test]
    fn an_answer_in_no_time_is_an_observation_too() {
        let latency = Latency::default();
        latency.observe(Duration::ZERO, Duration::ZERO);
        assert!(latency.sample(Duration::ZERO).is_some());
    }
}
