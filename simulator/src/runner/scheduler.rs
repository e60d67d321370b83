//! The scheduler: one load at a time, strictly in the order of asking; models leave when they were idle for
//! their keep-alive or when another needs the room.
//!
//! Everything a request holds is a guard: [`Lease`] on the loaded model, [`Slot`] on one of its places. Dropping
//! the future or the guard, at any moment, gives it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::residency::{Launch, Resident, Room, make_room, size_in_vram};
use super::slots::{Slot, Slots};
use super::terms::{Ask, Expiry, Limits, LoadedModel, ModelLoad, Refusal, Totals};
use crate::changed::Changed;
use crate::config::{Capability, Model};
use crate::faults::{FaultKind, Faults};
use crate::keep_alive::KeepAlive;

/// A node's scheduler. Clones are the same scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    pending: mpsc::Sender<Pending>,
    /// Wakes the expiry loop when a deadline came nearer.
    sooner: Notify,
    faults: Faults,
    changed: Changed,
}

#[derive(Debug, Default)]
struct State {
    runners: Vec<Runner>,
    loading: Option<String>,
    /// Requests in the load queue, by digest.
    queued: HashMap<String, usize>,
    last_id: u64,
    uses: u64,
    expiry_sleeps_until: Option<Instant>,
    totals: Totals,
}

#[derive(Debug)]
struct Runner {
    id: u64,
    digest: String,
    shown: String,
    model: Arc<Model>,
    launch: Launch,
    refs: usize,
    keep_alive: KeepAlive,
    last_used: u64,
    /// Set while idle with a finite keep-alive.
    deadline: Option<Instant>,
    /// What `/api/ps` shows; stays in the past while the model is busy, as Ollama's does.
    expires: Option<Expiry>,
    slots: Arc<Slots>,
}

#[derive(Debug)]
struct Pending {
    ask: Ask,
    launch: Launch,
    answer: oneshot::Sender<Result<Lease, Refusal>>,
}

/// The two loops of a scheduler, to be run until the node stops.
#[derive(Debug)]
pub struct Loops {
    shared: Arc<Shared>,
    pending: mpsc::Receiver<Pending>,
}

impl Scheduler {
    /// A scheduler with nothing loaded. It does nothing until its loops run.
    pub fn new(limits: Limits, faults: Faults, changed: Changed) -> (Self, Loops) {
        let (pending, receiver) = mpsc::channel(limits.max_queue.max(1));
        let (state, sooner) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { limits, state, pending, sooner, faults, changed });
        (Self(Arc::clone(&shared)), Loops { shared, pending: receiver })
    }

    /// Gets a loaded model, loading it if need be. Dropping the future leaves the queue or aborts the load.
    pub async fn acquire(&self, ask: Ask) -> Result<Lease, Refusal> {
        let shared = &self.0;
        let launch = Launch::new(&ask.options, shared.limits.num_ctx, ask.model.context_length);
        if let Some(lease) = Shared::use_loaded(shared, &ask, &launch) {
            return Ok(lease);
        }
        let _queued = Queued::new(Arc::clone(shared), ask.digest.clone());
        let (answer, answered) = oneshot::channel();
        match shared.pending.try_send(Pending { ask, launch, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Refusal::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Refusal::Stopping),
        }
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Lets a model go as soon as it is idle.
    pub fn unload(&self, digest: &str) {
        let mut state = self.0.state.lock();
        if let Some(runner) = state.runners.iter_mut().find(|runner| runner.digest == digest) {
            runner.expires = Some(Expiry::At(Instant::now()));
            let id = runner.id;
            expire(&mut state, id);
        }
        drop(state);
        self.0.changed.bump();
    }

    /// The models in memory. One that is still loading is not among them.
    pub fn loaded(&self) -> Vec<LoadedModel> {
        let state = self.0.state.lock();
        let show = |runner: &Runner| LoadedModel {
            model: Arc::clone(&runner.model),
            digest: runner.digest.clone(),
            shown: runner.shown.clone(),
            size_vram: size_in_vram(runner.model.size, self.0.limits.vram),
            num_ctx: runner.launch.num_ctx,
            expires: runner.expires.unwrap_or(Expiry::After(runner.keep_alive.duration())),
        };
        state.runners.iter().map(show).collect()
    }

    /// What a model is doing.
    pub fn load_of(&self, digest: &str) -> ModelLoad {
        let state = self.0.state.lock();
        let waiting = state.queued.get(digest).copied().unwrap_or(0);
        let mut load = ModelLoad {
            loading: state.loading.as_deref() == Some(digest),
            queued: waiting,
            ..ModelLoad::default()
        };
        if let Some(runner) = state.runners.iter().find(|runner| runner.digest == digest) {
            load.loaded = true;
            load.slots = runner.slots.count();
            load.in_flight = runner.slots.in_flight();
            load.queued += runner.slots.queued();
            load.num_ctx = Some(runner.launch.num_ctx);
        }
        load
    }

    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        self.0.state.lock().totals
    }
}

impl Shared {
    /// Uses the runner if it is there and was started as wanted.
    fn use_loaded(shared: &Arc<Self>, ask: &Ask, launch: &Launch) -> Option<Lease> {
        let mut state = shared.state.lock();
        let state = &mut *state;
        let runner = state.runners.iter_mut().find(|runner| runner.digest == ask.digest)?;
        if runner.launch.needs_reload(launch) {
            return None;
        }
        state.uses += 1;
        runner.refs += 1;
        runner.last_used = state.uses;
        runner.deadline = None;
        if let Some(keep_alive) = ask.keep_alive {
            runner.keep_alive = keep_alive;
        }
        Some(Lease::new(shared, runner))
    }

    /// A request is done with a runner.
    fn release(&self, id: u64) {
        let mut state = self.state.lock();
        let asleep_until = state.expiry_sleeps_until;
        let Some(runner) = state.runners.iter_mut().find(|runner| runner.id == id) else { return };
        runner.refs = runner.refs.saturating_sub(1);
        if runner.refs > 0 {
            return;
        }
        let mut sooner = false;
        match runner.keep_alive {
            keep_alive if keep_alive.is_zero() => expire(&mut state, id),
            KeepAlive::For(duration) => {
                let deadline = Instant::now().checked_add(duration);
                runner.deadline = deadline;
                runner.expires = Some(deadline.map_or(Expiry::After(duration), Expiry::At));
                sooner = deadline.is_some_and(|new| asleep_until.is_none_or(|old| new < old));
            }
            KeepAlive::Forever => runner.expires = None,
        }
        drop(state);
        if sooner {
            self.sooner.notify_one();
        }
        self.changed.bump();
    }

    /// Finds a place for a model: either the runner can be used, or there is room, or one must go first.
    fn next_step(&self, pending: &Pending) -> Step {
        let mut state = self.state.lock();
        let found = state.runners.iter().find(|runner| runner.digest == pending.ask.digest);
        if let Some(runner) = found {
            if !runner.launch.needs_reload(&pending.launch) {
                return Step::Use;
            }
            let id = runner.id;
            state.totals.reloads += 1;
            expire(&mut state, id);
            return Step::WaitFor(id);
        }
        let residents: Vec<Resident> = state.runners.iter().map(Runner::resident).collect();
        let Limits { max_loaded, vram, .. } = self.limits;
        match make_room(&residents, pending.ask.model.size, max_loaded, vram) {
            Room::Fits => {
                state.loading = Some(pending.ask.digest.clone());
                state.totals.loads += 1;
                Step::Load
            }
            Room::Evict(id) => {
                state.totals.evictions += 1;
                expire(&mut state, id);
                Step::WaitFor(id)
            }
        }
    }

    fn has(&self, id: u64) -> bool {
        self.state.lock().runners.iter().any(|runner| runner.id == id)
    }

    /// Handles one request of the load queue to its end.
    async fn handle(shared: &Arc<Self>, mut pending: Pending) {
        loop {
            if pending.answer.is_closed() {
                return;
            }
            let step = shared.next_step(&pending);
            shared.changed.bump();
            match step {
                Step::Use => {
                    if let Some(lease) = Self::use_loaded(shared, &pending.ask, &pending.launch) {
                        // Nobody there any more: the lease comes back and is dropped.
                        drop(pending.answer.send(Ok(lease)));
                        return;
                    }
                }
                Step::WaitFor(id) => shared.changed.until(|| !shared.has(id)).await,
                Step::Load => {
                    let outcome = shared.load(&mut pending).await;
                    Self::loaded(shared, pending, outcome);
                    return;
                }
            }
        }
    }

    /// The load itself. It ends early when who asked has left.
    async fn load(&self, pending: &mut Pending) -> Result<(), Option<String>> {
        let (faults, path) = (&self.faults, pending.ask.path.as_str());
        let time = pending.ask.model.load_time.unwrap_or(self.limits.load_time);
        let loading = async {
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
            if let Some((stall, ())) = faults.take(path, |k| (*k == FaultKind::StallLoad).then_some(())) {
                faults.removed(stall).await;
            }
            let failing = |kind: &FaultKind| match kind {
                FaultKind::FailLoad { message } => Some(message.clone()),
                _ => None,
            };
            match faults.take(path, failing) {
                Some((_, message)) => Err(message.unwrap_or_else(|| LOAD_FAILED.to_owned())),
                None => Ok(()),
            }
        };
        tokio::select! {
            biased;
            () = pending.answer.closed() => Err(None),
            outcome = loading => outcome.map_err(Some),
        }
    }

    fn loaded(shared: &Arc<Self>, pending: Pending, outcome: Result<(), Option<String>>) {
        let Pending { ask, launch, answer } = pending;
        let mut state = shared.state.lock();
        state.loading = None;
        let answered = match outcome {
            Ok(()) => {
                let runner = state.start(shared, ask, launch);
                Some(Ok(Lease::new(shared, runner)))
            }
            Err(None) => {
                state.totals.loads_aborted += 1;
                None
            }
            Err(Some(message)) => {
                state.totals.loads_failed += 1;
                Some(Err(Refusal::LoadFailed(message)))
            }
        };
        drop(state);
        shared.changed.bump();
        if let Some(answered) = answered {
            drop(answer.send(answered));
        }
    }

    /// Unloads what was idle long enough; says when to look again.
    fn expire_idle(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let due = |runner: &Runner| runner.deadline.is_some_and(|deadline| deadline <= now);
        let ids: Vec<u64> = state.runners.iter().filter(|r| due(r)).map(|runner| runner.id).collect();
        for id in &ids {
            expire(&mut state, *id);
        }
        let next = state.runners.iter().filter_map(|runner| runner.deadline).min();
        state.expiry_sleeps_until = next;
        drop(state);
        if !ids.is_empty() {
            self.changed.bump();
        }
        next
    }
}

enum Step {
    Use,
    WaitFor(u64),
    Load,
}

/// What Ollama says when its runner does not come up.
pub(crate) const LOAD_FAILED: &str = "model failed to load, this may be due to resource limitations or an internal error, check ollama server logs for details";

impl State {
    fn start(&mut self, shared: &Shared, ask: Ask, launch: Launch) -> &Runner {
        self.last_id += 1;
        self.uses += 1;
        let limits = &shared.limits;
        let slots = if ask.model.can(Capability::Completion) { limits.slots.max(1) } else { 1 };
        self.runners.push(Runner {
            id: self.last_id,
            digest: ask.digest,
            shown: ask.shown,
            model: ask.model,
            launch,
            refs: 1,
            keep_alive: ask.keep_alive.unwrap_or(limits.keep_alive),
            last_used: self.uses,
            deadline: None,
            expires: None,
            slots: Slots::new(slots, shared.changed.clone()),
        });
        &self.runners[self.runners.len() - 1]
    }
}

impl Runner {
    fn resident(&self) -> Resident {
        Resident {
            id: self.id,
            size: self.model.size,
            refs: self.refs,
            keep_alive: self.keep_alive,
            last_used: self.last_used,
        }
    }
}

/// Takes a runner out of memory now if it is idle, else as soon as it is.
fn expire(state: &mut State, id: u64) {
    let Some(at) = state.runners.iter().position(|runner| runner.id == id) else { return };
    let runner = &mut state.runners[at];
    runner.keep_alive = KeepAlive::For(Duration::ZERO);
    runner.deadline = None;
    if runner.refs == 0 {
        state.runners.remove(at);
        state.totals.unloads += 1;
    }
}

impl Loops {
    /// Runs both loops. Never ends.
    pub async fn run(self) {
        let Self { shared, mut pending } = self;
        let loads = async {
            while let Some(request) = pending.recv().await {
                Shared::handle(&shared, request).await;
            }
        };
        let expiry = async {
            loop {
                match shared.expire_idle(Instant::now()) {
                    Some(next) => {
                        tokio::select! {
                            () = tokio::time::sleep_until(next) => {}
                            () = shared.sooner.notified() => {}
                        }
                    }
                    None => shared.sooner.notified().await,
                }
            }
        };
        tokio::join!(loads, expiry);
    }
}

/// Counts a request in the load queue.
struct Queued {
    shared: Arc<Shared>,
    digest: String,
}

impl Queued {
    fn new(shared: Arc<Shared>, digest: String) -> Self {
        *shared.state.lock().queued.entry(digest.clone()).or_default() += 1;
        shared.changed.bump();
        Self { shared, digest }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(count) = state.queued.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.queued.remove(&self.digest);
            }
        }
        drop(state);
        self.shared.changed.bump();
    }
}

/// Keeps a model loaded.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    runner: u64,
    num_ctx: u64,
    slots: Arc<Slots>,
}

impl Lease {
    /// The use must have been counted already.
    fn new(shared: &Arc<Shared>, runner: &Runner) -> Self {
        Self {
            shared: Arc::clone(shared),
            runner: runner.id,
            num_ctx: runner.launch.num_ctx,
            slots: Arc::clone(&runner.slots),
        }
    }

    /// The context length the model runs with.
    pub fn num_ctx(&self) -> u64 {
        self.num_ctx
    }

    /// Waits for a slot, first come first served.
    pub async fn slot(&self) -> Result<Slot, Refusal> {
        self.slots.take().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.release(self.runner);
    }
}

#[cfg(test)]
mod tests;
