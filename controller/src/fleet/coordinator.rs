//! The task that leads: it starts from the stored table, keeps the workers, and offers tables to the stores.

use super::debounce::{Pending, Urgency};
use super::seed::{self, Stored};
use super::settings::FleetSettings;
use super::shared::Shared;
use super::workers::Workers;
use super::{Fenced, Term};
use crate::publish::store::{Offer, StoreEvent, StoreEventKind};
use crate::table;
use aivonx_state::{RoutingTable, TableVersion, TableWriter};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The store whose acceptance makes a node published.
const FIRST: usize = 0;

/// Leads whenever there is a term, until shutdown.
pub(super) struct Coordinator {
    pub settings: FleetSettings,
    pub shared: Arc<Shared>,
    pub stores: Vec<Arc<dyn TableWriter>>,
    pub workers: Workers,
    pub term: watch::Receiver<Option<Term>>,
    pub offers: watch::Sender<Option<Arc<Offer>>>,
    pub events: mpsc::Receiver<StoreEvent>,
    pub fenced: watch::Sender<Option<Fenced>>,
    pub shutdown: CancellationToken,
    /// The revision of the last table that was offered or found in a store: it never goes back.
    pub revision: u64,
    /// The newest table of this process that the first store took.
    pub accepted: Option<TableVersion>,
}

/// The table that was offered last.
struct Offered {
    table: Arc<RoutingTable>,
    /// The newest state of the fleet that gives this very content.
    stamp: u64,
    accepted: bool,
}

/// One term, from winning it to its end.
struct Lead {
    term: Term,
    pending: Pending,
    /// Publishing waits for all probes until then; `None` when it need not.
    settle_until: Option<Instant>,
    offered: Option<Offered>,
    /// The next table is offered even if its content is known: a store wants a higher revision.
    forced: bool,
}

/// Why a term ended.
enum End {
    Shutdown,
    /// There is another term, or none.
    Term,
    Fenced(Fenced),
}

impl Coordinator {
    pub(super) async fn run(mut self) {
        let mut over = None;
        loop {
            let term = *self.term.borrow_and_update();
            // A term that was fenced does not come back; only a later one leads again.
            let Some(term) = term.filter(|term| Some(*term) != over) else {
                if self.idle().await {
                    continue;
                }
                return;
            };
            tracing::info!(epoch = term.epoch, "leading");
            self.fenced.send_replace(None);
            let end = Box::pin(self.lead(term)).await;
            self.stop();
            match end {
                End::Shutdown => return,
                End::Term => {}
                End::Fenced(fenced) => {
                    tracing::warn!(
                        epoch = term.epoch,
                        held = %fenced.held,
                        store = fenced.store,
                        "another controller has published with a higher epoch: this one stops"
                    );
                    over = Some(term);
                    self.fenced.send_replace(Some(fenced));
                }
            }
        }
    }

    /// Waits for another term. Gives false on shutdown.
    async fn idle(&mut self) -> bool {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return false,
                () = changed(&mut self.term) => return true,
                // Late answers of the last term: they tell nothing, but must not block who sends them.
                Some(_) = self.events.recv() => {}
            }
        }
    }

    fn stop(&mut self) {
        self.offers.send_replace(None);
        self.workers.stop_all();
        self.shared.with(|state| state.stop_leading());
        if let Some(history) = &self.shared.history {
            history.drop_inventories();
        }
    }

    async fn lead(&mut self, term: Term) -> End {
        let stored = tokio::select! {
            () = self.shutdown.cancelled() => return End::Shutdown,
            () = changed(&mut self.term) => return End::Term,
            stored = seed::read(&self.stores, self.settings.seed_timeout) => stored,
        };
        let mut lead = match self.start(term, stored) {
            Ok(lead) => lead,
            Err(fenced) => return End::Fenced(fenced),
        };
        self.workers.sync();
        let shared = Arc::clone(&self.shared);
        loop {
            let wake = lead.wake(self.may_publish(&lead));
            tokio::select! {
                () = self.shutdown.cancelled() => return End::Shutdown,
                () = changed(&mut self.term) => {
                    if *self.term.borrow() != Some(term) {
                        return End::Term;
                    }
                }
                Some(event) = self.events.recv() => {
                    if let Some(fenced) = self.hear(&mut lead, event) {
                        return End::Fenced(fenced);
                    }
                }
                () = shared.woken.notified() => {
                    self.workers.sync();
                    if let Some(urgency) = shared.with(|state| state.take_urgency()) {
                        lead.pending.touch(urgency, Instant::now());
                    }
                }
                () = sleep_until(wake) => {
                    if self.may_publish(&lead) && lead.pending.due().is_some_and(|due| due <= Instant::now()) {
                        self.offer(&mut lead).await;
                    }
                }
            }
        }
    }

    /// Takes over what the stores hold. Fails if that is a table of a later leader.
    fn start(&mut self, term: Term, stored: Stored) -> Result<Lead, Fenced> {
        let mut settle_until = None;
        let stored = match stored {
            Stored::Table { table, store } if table.head.version.epoch > term.epoch => {
                return Err(Fenced { term, held: table.head.version, store });
            }
            Stored::Table { table, store } => {
                let version = table.head.version;
                tracing::info!(store, %version, nodes = table.nodes.len(), "starting from the stored routing table");
                self.revision = self.revision.max(version.revision);
                // A table that this process published itself is older than what it has observed since.
                self.accepted.is_none_or(|own| version > own).then_some(table)
            }
            Stored::Nothing => None,
            Stored::Unreadable => {
                settle_until = Some(Instant::now() + self.settings.settle);
                None
            }
        };
        let current = self.shared.with(|state| {
            state.start_leading();
            if let Some(table) = stored {
                state.restore(table);
            }
            // Who knows neither what is stored nor the nodes had better not speak of them yet.
            if settle_until.is_none() { state.set_current() } else { Vec::new() }
        });
        self.shared.tell(current);
        let mut pending = Pending::new(self.settings.debounce);
        // The first table of a term is due even if nothing changed: its epoch is what fences the last leader out.
        pending.touch(Urgency::Major, Instant::now());
        Ok(Lead { term, pending, settle_until, offered: None, forced: false })
    }

    fn may_publish(&self, lead: &Lead) -> bool {
        let settling = lead.settle_until.is_some_and(|until| until > Instant::now());
        self.shared.with(|state| state.is_listed() && (!settling || state.is_settled()))
    }

    /// Builds a table and offers it to the stores, unless they have its content.
    async fn offer(&mut self, lead: &mut Lead) {
        let (current, (stamp, parts)) = self.shared.with(|state| {
            state.take_urgency();
            (state.set_current(), state.snapshot())
        });
        self.shared.tell(current);
        lead.pending.clear();
        lead.settle_until = None;
        let version = TableVersion { epoch: lead.term.epoch, revision: self.revision + 1 };
        let strategy = self.settings.strategy;
        // A large fleet takes a while to copy and to hash; probes must not wait for it.
        let build = tokio::task::spawn_blocking(move || {
            table::build(version, Timestamp::now(), strategy, parts.iter().map(|parts| parts.entry()))
        });
        let Ok(table) = build.await else {
            // The runtime is going down.
            return;
        };
        self.shared.metrics.built(&table);
        self.forget_undeclared();
        if let Some(offered) = &mut lead.offered
            && !lead.forced
            && offered.table.same_content(&table)
        {
            offered.stamp = stamp;
            if offered.accepted {
                self.accept(stamp, offered.table.head.version);
            }
            return;
        }
        self.revision = version.revision;
        lead.forced = false;
        let table = Arc::new(table);
        lead.offered = Some(Offered { table: Arc::clone(&table), stamp, accepted: false });
        self.offers.send_replace(Some(Arc::new(Offer { term: lead.term, stamp, table })));
    }

    /// Nodes of the stored table that nobody declares any more leave the history.
    fn forget_undeclared(&self) {
        let undeclared = self.shared.with(|state| state.finish_restoring());
        if let Some(history) = &self.shared.history {
            for id in undeclared {
                history.inventory(&id, None);
            }
        }
    }

    fn accept(&mut self, stamp: u64, version: TableVersion) {
        let changed = self.shared.with(|state| state.accepted(stamp, version));
        self.shared.tell(changed);
    }

    /// Takes in what became of an offer. Gives the fence if it ended the term.
    fn hear(&mut self, lead: &mut Lead, event: StoreEvent) -> Option<Fenced> {
        if event.term != lead.term {
            return None;
        }
        match event.kind {
            StoreEventKind::Accepted { .. } if event.store != FIRST => {}
            StoreEventKind::Accepted { stamp, version } => {
                self.accepted = Some(version);
                self.shared.metrics.published(version);
                let mut covered = stamp;
                if let Some(offered) = &mut lead.offered
                    && offered.table.head.version == version
                {
                    offered.accepted = true;
                    covered = offered.stamp;
                }
                self.accept(covered, version);
            }
            StoreEventKind::Failing { .. } if event.store != FIRST => {}
            StoreEventKind::Failing { message } => {
                let changed = self.shared.with(|state| state.store_failing(message));
                self.shared.tell(changed);
            }
            StoreEventKind::Outrun(held) => {
                tracing::warn!(store = event.name, %held, "the store holds another table of this epoch: publishing above it");
                self.revision = self.revision.max(held.revision);
                lead.forced = true;
                lead.pending.touch(Urgency::Major, Instant::now());
            }
            StoreEventKind::Fenced(held) => {
                return Some(Fenced { term: lead.term, held, store: event.name });
            }
        }
        None
    }
}

impl Lead {
    /// When to look at the pending table next; `None` while only an event can help.
    fn wake(&self, may_publish: bool) -> Option<Instant> {
        if may_publish {
            return self.pending.due();
        }
        self.settle_until.filter(|until| *until > Instant::now())
    }
}

/// Completes when the term changes. A sender that is gone leaves the last word standing: in the standalone gateway the
/// term never ends.
async fn changed(term: &mut watch::Receiver<Option<Term>>) {
    if term.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_is_gone_is_no_change() {
        let (sender, mut term) = watch::channel(Some(Term { epoch: 1 }));
        drop(sender);
        let waited = tokio::time::timeout(Duration::from_secs(3_600), changed(&mut term)).await;
        assert!(waited.is_err(), "it would be looked at without end");
    }
}
