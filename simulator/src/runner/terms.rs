//! The words of the scheduler: what is asked of it, what it answers, what it tells.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::residency::RunnerOptions;
use crate::config::Model;
use crate::keep_alive::KeepAlive;

/// The limits of a node.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Slots of a completion model.
    pub slots: usize,
    /// Models loaded at once.
    pub max_loaded: usize,
    /// Bytes of VRAM.
    pub vram: Option<u64>,
    /// Requests waiting for a load.
    pub max_queue: usize,
    /// How long idle models stay.
    pub keep_alive: KeepAlive,
    /// The default context length.
    pub num_ctx: u64,
    /// How long a load takes.
    pub load_time: Duration,
}

/// A model somebody wants.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The model.
    pub model: Arc<Model>,
    /// What identifies its weights: models of one digest share a runner.
    pub digest: String,
    /// The name to show in `/api/ps`.
    pub shown: String,
    /// The options that belong to the runner.
    pub options: RunnerOptions,
    /// The request's keep-alive.
    pub keep_alive: Option<KeepAlive>,
    /// The request's path: faults may be limited to it.
    pub path: String,
}

/// Why a model cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The load queue is full.
    Busy,
    /// The load failed.
    LoadFailed(String),
    /// The node is stopping.
    Stopping,
}

/// A model in memory, for `/api/ps`.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// The model.
    pub model: Arc<Model>,
    /// Its digest.
    pub digest: String,
    /// The name that caused the load.
    pub shown: String,
    /// Bytes in VRAM.
    pub size_vram: u64,
    /// The context length it runs with.
    pub num_ctx: u64,
    /// When it leaves, seen from now; negative when that is past (it is busy). `None`: never was idle.
    pub expires: Expiry,
}

/// When a loaded model leaves.
#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    /// At this moment.
    At(Instant),
    /// This long after it will become idle.
    After(Duration),
}

/// What a model is doing, for `/_sim/state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelLoad {
    /// Whether it is in memory.
    pub loaded: bool,
    /// Whether it is being loaded.
    pub loading: bool,
    /// Its slots, when loaded.
    pub slots: usize,
    /// Requests in its slots.
    pub in_flight: usize,
    /// Requests waiting for a slot or for its load.
    pub queued: usize,
    /// The context length it runs with, when loaded.
    pub num_ctx: Option<u64>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Loads that began.
    pub loads: u64,
    /// Loads given up because who asked had left.
    pub loads_aborted: u64,
    /// Loads that failed by a fault.
    pub loads_failed: u64,
    /// Models that left.
    pub unloads: u64,
    /// Of those, to make room for another.
    pub evictions: u64,
    /// Of those, because other options were asked for.
    pub reloads: u64,
}
