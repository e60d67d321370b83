//! Wall-clock time that follows tokio's clock, so that both stand still together in tests.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { wall: Timestamp::now(), started: Instant::now() }
    }

    /// When it started.
    pub fn started(&self) -> Timestamp {
        self.wall
    }

    /// Since then.
    pub fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The time of day at a moment.
    pub fn at(&self, moment: Instant) -> Timestamp {
        let since = moment.saturating_duration_since(self.started);
        let before = self.started.saturating_duration_since(moment);
        let offset = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX)
            - SignedDuration::try_from(before).unwrap_or(SignedDuration::ZERO);
        self.wall.checked_add(offset).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn follows_tokios_clock() {
        let clock = Clock::new();
        assert_eq!(clock.now(), clock.started());
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), clock.started() + SignedDuration::from_secs(90));
        assert_eq!(clock.elapsed(), Duration::from_secs(90));
        assert_eq!(
            clock.at(Instant::now() - Duration::from_secs(89)),
            clock.started() + SignedDuration::from_secs(1)
        );
    }
}
