//! The slots of one loaded model: first come, first served, by guards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::prompt_cache::PromptCache;
use super::terms::Refusal;
use crate::changed::Changed;

/// See the module.
#[derive(Debug)]
pub struct Slots {
    count: usize,
    semaphore: Arc<Semaphore>,
    in_flight: AtomicUsize,
    queued: AtomicUsize,
    prompts: Mutex<PromptCache>,
    changed: Changed,
}

impl Slots {
    pub fn new(count: usize, changed: Changed) -> Arc<Self> {
        Arc::new(Self {
            count,
            semaphore: Arc::new(Semaphore::new(count)),
            in_flight: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            prompts: Mutex::new(PromptCache::new(count + 4)),
            changed,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many are taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// How many requests wait for one.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// Waits for a slot.
    pub async fn take(self: &Arc<Self>) -> Result<Slot, Refusal> {
        let permit = match Arc::clone(&self.semaphore).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::new(self);
                Arc::clone(&self.semaphore).acquire_owned().await.map_err(|_| Refusal::Stopping)?
            }
        };
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.changed.bump();
        Ok(Slot { permit: Some(permit), slots: Arc::clone(self) })
    }
}

/// Counts a request that waits.
struct Waiting<'a>(&'a Slots);

impl<'a> Waiting<'a> {
    fn new(slots: &'a Slots) -> Self {
        slots.queued.fetch_add(1, Ordering::AcqRel);
        slots.changed.bump();
        Self(slots)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.bump();
    }
}

/// A slot of a loaded model. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
}

impl Slot {
    /// How many tokens of a prompt must be evaluated, thanks to what the model remembers.
    pub fn evaluate(&self, prompt: &str) -> u64 {
        self.slots.prompts.lock().evaluate(prompt)
    }

    /// Never gives it back: it is lost until the model leaves memory.
    pub fn leak(mut self) {
        if let Some(permit) = self.permit.take() {
            permit.forget();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        self.slots.in_flight.fetch_sub(1, Ordering::AcqRel);
        drop(permit);
        self.slots.changed.bump();
    }
}
