//! A timer whose deadline moves with almost every event. Moving it costs nothing: the timer is set again only when it
//! fires too early, which for a stream that flows is once for each time limit and not once for each frame.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes the task no later than at a deadline that is told at each poll.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `deadline` is past. If it is not, the task is woken when it is, or earlier.
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while let Poll::Ready(()) = timer.as_mut().poll(cx) {
            if Instant::now() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_is_due_at_the_deadline_that_was_told_last() {
        let start = Instant::now();
        for (first, last) in [(10, 60), (60, 10), (10, 10)] {
            let mut alarm = Alarm::default();
            let begun = Instant::now();
            let deadline = |seconds| begun + Duration::from_secs(seconds);
            poll_fn(|cx| {
                assert!(!alarm.is_due(cx, deadline(first)));
                Poll::Ready(())
            })
            .await;
            poll_fn(|cx| if alarm.is_due(cx, deadline(last)) { Poll::Ready(()) } else { Poll::Pending })
                .await;
            assert_eq!(begun.elapsed().as_secs(), last);
        }
        assert!(start.elapsed() < Duration::from_secs(81));
    }
}
