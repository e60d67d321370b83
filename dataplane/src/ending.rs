//! The end of the time that requests have to finish once the process is told to end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Told once to all requests: what is still under way ends now, visibly. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicBool,
    token: CancellationToken,
}

impl Ending {
    /// Ends what is under way.
    pub(crate) fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.token.cancel();
    }

    /// Waits until it begins.
    pub(crate) async fn begun(&self) {
        self.0.token.cancelled().await;
    }

    /// For a task that polls a stream.
    pub(crate) fn watch(&self) -> EndingWatch {
        EndingWatch { ending: self.clone(), registered: None }
    }
}

/// Wakes the task that polls it when the ending begins. It costs one atomic read a poll: registering with the token takes
/// a lock that all requests share, so that is done once for each task.
#[derive(Debug)]
pub(crate) struct EndingWatch {
    ending: Ending,
    registered: Option<(Waker, Pin<Box<WaitForCancellationFutureOwned>>)>,
}

impl EndingWatch {
    /// Whether it has begun. If it has not, the task is woken when it does.
    pub(crate) fn has_begun(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ending.0.begun.load(Ordering::Acquire) {
            return true;
        }
        match &mut self.registered {
            Some((waker, _)) if waker.will_wake(cx.waker()) => false,
            registered => {
                let mut wait = Box::pin(self.ending.0.token.clone().cancelled_owned());
                let begun = wait.as_mut().poll(cx).is_ready();
                *registered = Some((cx.waker().clone(), wait));
                begun
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let ending = Ending::default();
        let mut watch = ending.watch();
        let waiting = tokio::spawn(async move {
            poll_fn(|cx| if watch.has_begun(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        ending.begin();
        waiting.await.unwrap();
        ending.begun().await;
    }
}
