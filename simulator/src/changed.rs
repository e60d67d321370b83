//! Waiting for a condition on shared state: whoever changes the state bumps, whoever waits looks again.

use tokio::sync::watch;

/// A bell for one node's state.
#[derive(Clone, Debug)]
pub struct Changed(watch::Sender<()>);

impl Changed {
    /// A bell nobody waits for yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Something changed.
    pub fn bump(&self) {
        self.0.send_replace(());
    }

    /// Waits until `look` finds what it looks for. It is called at once and after every change.
    pub async fn find<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut bell = self.0.subscribe();
        loop {
            // Marked as seen before looking: a change after it rings again.
            bell.mark_unchanged();
            if let Some(found) = look() {
                return found;
            }
            if bell.changed().await.is_err() {
                // We hold the sender ourselves, so this does not happen.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until `holds`.
    pub async fn until(&self, mut holds: impl FnMut() -> bool) {
        self.find(|| holds().then_some(())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn every_change_is_seen() {
        let (changed, count) = (Changed::new(), Arc::new(AtomicUsize::new(0)));
        let waiter = {
            let (changed, count) = (changed.clone(), Arc::clone(&count));
            tokio::spawn(async move { changed.until(|| count.load(Ordering::SeqCst) == 100).await })
        };
        for _ in 0..100 {
            count.fetch_add(1, Ordering::SeqCst);
            changed.bump();
            tokio::task::yield_now().await;
        }
        waiter.await.unwrap();
    }
}
