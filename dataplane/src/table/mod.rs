//! The routing table as requests read it.

mod endpoint;
mod fleet_answers;
mod follow;
mod index;
mod version;

pub(crate) use endpoint::{Endpoint, EndpointState, Surroundings};
pub(crate) use fleet_answers::{OpenAiModel, json_line};
pub(crate) use follow::Follower;
pub(crate) use index::{Candidate, ModelEntry};

pub use follow::TableSources;
pub(crate) use index::Index;

use arc_swap::{ArcSwapOption, Guard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The index in use, and whether stores still confirm it.
#[derive(Debug, Default)]
pub(crate) struct Current {
    index: ArcSwapOption<Index>,
    stale_seconds: AtomicU64,
}

impl Current {
    /// The index; `None` before the first table.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Index>>> {
        self.index.load()
    }

    /// The index, held for longer than a moment.
    pub(crate) fn load_full(&self) -> Option<Arc<Index>> {
        self.index.load_full()
    }

    /// Puts another index in place.
    pub(crate) fn swap(&self, index: Arc<Index>) {
        self.index.store(Some(index));
    }

    /// How long no store has confirmed the table, once that is long enough to tell clients.
    pub(crate) fn stale(&self) -> Option<Duration> {
        match self.stale_seconds.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    fn set_stale(&self, age: Option<Duration>) {
        self.stale_seconds.store(age.map_or(0, |age| age.as_secs().max(1)), Ordering::Relaxed);
    }
}
