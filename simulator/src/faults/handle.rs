//! The faults of a running node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::table::{ActiveFault, FaultId, FaultTable};
use super::{Fault, FaultKind};
use crate::changed::Changed;

/// A handle on the faults of one node. Clones are the same faults.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<FaultTable>,
    /// Whether there is anything to look up: a node without faults pays one load a request.
    any: AtomicBool,
    /// Rings when faults are set or removed.
    edited: Changed,
    /// Rings when anything about the node changes, hits too.
    changed: Changed,
}

impl Faults {
    pub(crate) fn new(changed: Changed) -> Self {
        let (table, any, edited) = (Mutex::default(), AtomicBool::new(false), Changed::new());
        Self(Arc::new(Shared { table, any, edited, changed }))
    }

    /// Sets one more fault.
    pub fn add(&self, fault: Fault) -> FaultId {
        self.edit(|table| table.add(fault, Instant::now()))
    }

    /// Replaces all faults.
    pub fn set(&self, faults: Vec<Fault>) -> Vec<FaultId> {
        let now = Instant::now();
        self.edit(|table| {
            table.clear();
            faults.into_iter().map(|fault| table.add(fault, now)).collect()
        })
    }

    /// Removes one fault; what it held goes on.
    pub fn remove(&self, id: FaultId) {
        self.edit(|table| table.remove(id));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.edit(FaultTable::clear);
    }

    /// The faults that are set.
    pub fn list(&self) -> Vec<ActiveFault> {
        self.0.table.lock().list().to_vec()
    }

    /// How many requests a fault has hit; zero once it was removed.
    pub fn hits(&self, id: FaultId) -> u64 {
        self.0.table.lock().list().iter().find(|active| active.id == id).map_or(0, |active| active.hits)
    }

    fn edit<T>(&self, edit: impl FnOnce(&mut FaultTable) -> T) -> T {
        let mut table = self.0.table.lock();
        let result = edit(&mut table);
        self.0.any.store(!table.is_empty(), Ordering::Release);
        drop(table);
        self.0.edited.bump();
        self.0.changed.bump();
        result
    }

    /// See [`FaultTable::take`].
    pub(crate) fn take<T>(
        &self,
        path: &str,
        wanted: impl Fn(&FaultKind) -> Option<T>,
    ) -> Option<(FaultId, T)> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let taken = self.0.table.lock().take(path, wanted);
        if taken.is_some() {
            self.0.changed.bump();
        }
        taken
    }

    pub(crate) fn refusing(&self) -> Option<bool> {
        self.0.table.lock().refusing()
    }

    /// Waits until connections are refused, or no longer are.
    pub(crate) async fn refusing_is(&self, refusing: bool) {
        self.0.edited.until(|| self.refusing().is_some() == refusing).await;
    }

    /// Waits until the node is killed.
    pub(crate) async fn killed(&self) {
        self.0.edited.until(|| self.refusing() == Some(true)).await;
    }

    /// Waits until a fault is removed.
    pub(crate) async fn removed(&self, id: FaultId) {
        self.0.edited.until(|| !self.0.table.lock().has(id)).await;
    }

    /// Removes faults when their time is over. Never ends.
    pub(crate) async fn expire(&self) {
        loop {
            let now = Instant::now();
            self.edit_if(|table| table.remove_ended(now));
            let next = self.0.table.lock().next_end();
            let changed = self.0.edited.until(|| self.0.table.lock().next_end() != next);
            match next {
                Some(end) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(end) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    fn edit_if(&self, edit: impl FnOnce(&mut FaultTable) -> bool) {
        let mut table = self.0.table.lock();
        let edited = edit(&mut table);
        self.0.any.store(!table.is_empty(), Ordering::Release);
        drop(table);
        if edited {
            self.0.edited.bump();
            self.0.changed.bump();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn faults_end_by_themselves_and_release_who_waits() {
        let faults = Faults::new(Changed::new());
        let expiry = tokio::spawn({
            let faults = faults.clone();
            async move { faults.expire().await }
        });
        let id = faults.add(Fault::hang().lasting(Duration::from_secs(60)));
        let started = Instant::now();
        faults.removed(id).await;
        assert!(started.elapsed() >= Duration::from_secs(60));
        assert!(faults.list().is_empty());
        expiry.abort();
    }

    #[tokio::test]
    async fn removing_releases() {
        let faults = Faults::new(Changed::new());
        let id = faults.add(Fault::hang());
        assert!(faults.take("/x", |kind| (*kind == FaultKind::Hang).then_some(())).is_some());
        assert_eq!(faults.hits(id), 1);
        let waiting = tokio::spawn({
            let faults = faults.clone();
            async move { faults.removed(id).await }
        });
        faults.clear();
        waiting.await.unwrap();
        assert!(faults.take("/x", |_| Some(())).is_none());
    }
}
