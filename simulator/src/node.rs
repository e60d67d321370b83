//! What all requests of one node share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use http::HeaderValue;
use parking_lot::RwLock;
use serde::Serialize;

use crate::changed::Changed;
use crate::clock::Clock;
use crate::config::Config;
use crate::faults::{ActiveFault, Faults};
use crate::record::{Counters, Recorder};
use crate::runner::{Limits, Loops, ModelLoad, Scheduler, Totals};
use crate::store::Store;

/// A node. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Node(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    address: SocketAddr,
    header: HeaderValue,
    version: RwLock<Arc<str>>,
    store: Store,
    scheduler: Scheduler,
    faults: Faults,
    recorder: Arc<Recorder>,
    clock: Clock,
    changed: Changed,
    tokens: AtomicU64,
    connections: AtomicU64,
    open: AtomicUsize,
    listening: AtomicBool,
}

/// A node's state at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// Its name.
    pub node: String,
    /// The version it tells.
    pub version: String,
    /// Whether it accepts connections.
    pub listening: bool,
    /// Connections open now.
    pub connections: usize,
    /// Counts since the start.
    pub counters: Counters,
    /// The scheduler's counts since the start.
    pub loads: Totals,
    /// What each model is doing.
    pub models: Vec<ModelState>,
    /// The faults that are set.
    pub faults: Vec<ActiveFault>,
}

/// What one model is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelState {
    /// As lists show it.
    pub name: String,
    /// 64 hex digits.
    pub digest: String,
    /// Slots and queue.
    #[serde(flatten)]
    pub load: ModelLoad,
}

impl State {
    /// The model of this name, as lists show it (`llama3.2:latest`).
    pub fn model(&self, name: &str) -> Option<&ModelState> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Requests in slots, over all models.
    pub fn in_flight(&self) -> usize {
        self.models.iter().map(|model| model.load.in_flight).sum()
    }

    /// Requests waiting, over all models.
    pub fn queued(&self) -> usize {
        self.models.iter().map(|model| model.load.queued).sum()
    }
}

impl Node {
    /// A node that does nothing until its loops run and somebody accepts its connections.
    pub fn new(config: Config, address: SocketAddr) -> Result<(Self, Loops), String> {
        let header = HeaderValue::from_str(&config.node)
            .map_err(|_| format!("'{}' cannot stand in a header", config.node.escape_debug()))?;
        let (clock, changed) = (Clock::new(), Changed::new());
        let store = Store::new(config.models.clone(), clock.started())?;
        let faults = Faults::new(changed.clone());
        let limits = Limits {
            slots: config.slots,
            max_loaded: config.max_loaded,
            vram: config.vram,
            max_queue: config.max_queue,
            keep_alive: config.keep_alive,
            num_ctx: config.num_ctx,
            load_time: config.load_time,
        };
        let (scheduler, loops) = Scheduler::new(limits, faults.clone(), changed.clone());
        let (requests, body) = (config.recorded_requests, config.recorded_body);
        let node = Self(Arc::new(Shared {
            address,
            header,
            version: RwLock::new(config.version.as_str().into()),
            store,
            scheduler,
            faults,
            recorder: Arc::new(Recorder::new(requests, body, changed.clone())),
            clock,
            changed,
            tokens: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            listening: AtomicBool::new(true),
            config,
        }));
        Ok((node, loops))
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The node's name as a header's value.
    pub fn header(&self) -> HeaderValue {
        self.0.header.clone()
    }

    pub fn version(&self) -> Arc<str> {
        Arc::clone(&self.0.version.read())
    }

    pub fn set_version(&self, version: &str) {
        *self.0.version.write() = version.into();
        self.0.changed.bump();
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn scheduler(&self) -> &Scheduler {
        &self.0.scheduler
    }

    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.0.recorder
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub fn changed(&self) -> &Changed {
        &self.0.changed
    }

    pub fn count_token(&self) {
        self.0.tokens.fetch_add(1, Ordering::AcqRel);
        self.0.changed.bump();
    }

    pub fn set_listening(&self, listening: bool) {
        self.0.listening.store(listening, Ordering::Release);
        self.0.changed.bump();
    }

    /// A connection was accepted; it is open as long as the guard lives.
    pub fn connected(&self) -> Connected {
        self.0.connections.fetch_add(1, Ordering::AcqRel);
        self.0.open.fetch_add(1, Ordering::AcqRel);
        self.0.changed.bump();
        Connected(self.clone())
    }

    pub fn state(&self) -> State {
        let shared = &self.0;
        let all = shared.store.all();
        let models = all.iter().map(|stored| ModelState {
            name: stored.shown.clone(),
            digest: stored.digest.clone(),
            load: shared.scheduler.load_of(&stored.digest),
        });
        State {
            node: shared.config.node.clone(),
            version: self.version().to_string(),
            listening: shared.listening.load(Ordering::Acquire),
            connections: shared.open.load(Ordering::Acquire),
            counters: Counters {
                tokens: shared.tokens.load(Ordering::Acquire),
                connections: shared.connections.load(Ordering::Acquire),
                ..shared.recorder.counters()
            },
            loads: shared.scheduler.totals(),
            models: models.collect(),
            faults: shared.faults.list(),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connected(Node);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.0.changed.bump();
    }
}
