//! The probe tasks: one for each node while this process leads.

use super::shared::{Shared, Subject};
use crate::probe::ProbeClient;
use crate::probe::worker::{Lanes, ProbeTarget, Worker};
use aivonx_state::NodeId;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Running {
    subject: Subject,
    target: watch::Sender<ProbeTarget>,
    cancel: CancellationToken,
}

/// The probe tasks that run.
pub(super) struct Workers {
    shared: Arc<Shared>,
    client: ProbeClient,
    lanes: Arc<Lanes>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    running: HashMap<NodeId, Running>,
}

impl Workers {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: ProbeClient,
        fan_out: usize,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let lanes = Arc::new(Lanes::new(fan_out));
        Self { shared, client, lanes, tasks, shutdown, running: HashMap::new() }
    }

    /// Starts, tells and stops the workers of all nodes that were touched since the last time.
    pub(super) fn sync(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (touched, fleet_size) = shared.with(|state| {
            let touched: Vec<_> =
                state.take_touched().into_iter().map(|id| (state.target(&id), id)).collect();
            (touched, state.len())
        });
        for (wanted, id) in touched {
            match wanted {
                Some((subject, target)) => self.keep(subject, target, fleet_size),
                None => self.stop(&id),
            }
        }
    }

    fn keep(&mut self, subject: Subject, target: ProbeTarget, fleet_size: usize) {
        if let Some(running) = self.running.get(&subject.id)
            && running.subject == subject
        {
            running.target.send_if_modified(|current| {
                let differs = *current != target;
                *current = target;
                differs
            });
            return;
        }
        self.stop(&subject.id);
        let (sender, receiver) = watch::channel(target);
        let cancel = self.shutdown.child_token();
        let worker = Worker {
            subject: subject.clone(),
            shared: Arc::clone(&self.shared),
            client: self.client.clone(),
            lanes: Arc::clone(&self.lanes),
            target: receiver,
            cancel: cancel.clone(),
            fleet_size,
        };
        self.tasks.spawn(worker.run());
        self.running.insert(subject.id.clone(), Running { subject, target: sender, cancel });
    }

    fn stop(&mut self, id: &NodeId) {
        if let Some(running) = self.running.remove(id) {
            running.cancel.cancel();
        }
    }

    /// Stops all workers.
    pub(super) fn stop_all(&mut self) {
        for (_, running) in self.running.drain() {
            running.cancel.cancel();
        }
    }
}
