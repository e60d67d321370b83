//! Following the table that the controller publishes.
//!
//! Notices make it quick, a poll of the head makes it sure, and a full read after every reconnect makes up for what was
//! told meanwhile. Nothing here ever takes a table away: a store that is away, or empty, or behind leaves the last good
//! table in place, for any length of time.

use super::endpoint::Surroundings;
use super::{Current, Index};
use aivonx_process::readiness::Blocker;
use aivonx_state::table::{TableHead, TableVersion};
use aivonx_state::{Notice, RoutingTable, StoreError, TableReader};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often the head is read.
const POLL: Duration = Duration::from_secs(1);
/// How often the fallback is asked while the primary does not serve.
const FALLBACK_POLL: Duration = Duration::from_secs(5);
/// Longest time for one answer of a store.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without a store that confirms the table, clients are told.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// Where the table comes from.
#[derive(Clone)]
pub struct TableSources {
    /// The store that is followed.
    pub primary: Arc<dyn TableReader>,
    /// The store that is asked while the primary is empty or away.
    pub fallback: Option<Arc<dyn TableReader>>,
}

/// What a head that a store offers means for the table in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// Read it and use it.
    Newer,
    /// It is the one in use.
    Same,
    /// The store is behind, or holds something else under the same version: a leader that was fenced out.
    Dropped,
}

fn weigh(held: Option<&TableHead>, offered: &TableHead) -> Offer {
    match held {
        Some(held) if offered.version < held.version => Offer::Dropped,
        Some(held) if offered.version == held.version && offered.digest == held.digest => Offer::Same,
        Some(held) if offered.version == held.version => Offer::Dropped,
        _ => Offer::Newer,
    }
}

/// What came of asking a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It holds the table in use, which may have come from it just now.
    Confirmed,
    /// It holds an older table.
    Behind,
    /// It holds none.
    Empty,
    /// It did not answer, or not with a table.
    Away,
}

/// Follows the table until it is dropped.
pub(crate) struct Follower {
    sources: TableSources,
    current: Arc<Current>,
    surroundings: Surroundings,
    /// Cleared by the first table.
    blocker: Option<Blocker>,
    confirmed: Instant,
    fallback_due: Instant,
    /// What was said last of each store, so that logs tell changes alone.
    primary_was: Option<Asked>,
    fallback_was: Option<Asked>,
    /// Why the store that was asked last is away.
    why_away: String,
}

impl Follower {
    /// Puts tables into `current`, and clears `blocker` with the first one.
    pub(crate) fn new(
        sources: TableSources,
        current: Arc<Current>,
        surroundings: Surroundings,
        blocker: Blocker,
    ) -> Self {
        let now = Instant::now();
        Self {
            sources,
            current,
            surroundings,
            blocker: Some(blocker),
            confirmed: now,
            fallback_due: now,
            primary_was: None,
            fallback_was: None,
            why_away: String::new(),
        }
    }

    /// Follows for ever.
    pub(crate) async fn run(mut self) {
        let mut notices = Some(self.sources.primary.notices());
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                notice = next(&mut notices) => match notice {
                    // What is known already needs no reading.
                    Some(Notice::Changed(version)) if self.has(version) => {}
                    Some(Notice::Changed(_) | Notice::Reconnected) => self.read_primary().await,
                    None => notices = None,
                },
                _ = poll.tick() => self.poll_primary().await,
            }
            self.tell_age();
        }
    }

    fn has(&self, version: TableVersion) -> bool {
        self.current.load().as_ref().is_some_and(|index| index.head.version >= version)
    }

    /// Reads the whole table, whatever the head says.
    async fn read_primary(&mut self) {
        let primary = self.sources.primary.clone();
        let asked = self.take(&*primary).await;
        self.judge_primary(asked).await;
    }

    /// Reads the head, and the table if that is another one.
    async fn poll_primary(&mut self) {
        let primary = self.sources.primary.clone();
        let asked = self.ask(&*primary).await;
        self.judge_primary(asked).await;
    }

    async fn judge_primary(&mut self, asked: Asked) {
        let was = self.primary_was.replace(asked);
        self.report(&*self.sources.primary, was, asked);
        let Some(fallback) = self.sources.fallback.clone() else { return };
        let now = Instant::now();
        if matches!(asked, Asked::Confirmed | Asked::Behind) || now < self.fallback_due {
            return;
        }
        self.fallback_due = now + FALLBACK_POLL;
        let asked = self.ask(&*fallback).await;
        let was = self.fallback_was.replace(asked);
        self.report(&*fallback, was, asked);
    }

    async fn ask(&mut self, store: &dyn TableReader) -> Asked {
        let head = match bounded(store.head()).await {
            Ok(Some(head)) => head,
            Ok(None) => return Asked::Empty,
            Err(why) => return self.away(why),
        };
        let held = self.current.load().as_ref().map(|index| index.head.clone());
        match weigh(held.as_ref(), &head) {
            Offer::Newer => self.take(store).await,
            Offer::Same => self.confirm(),
            Offer::Dropped => Asked::Behind,
        }
    }

    async fn take(&mut self, store: &dyn TableReader) -> Asked {
        let table = match bounded(store.read()).await {
            Ok(Some(table)) => table,
            Ok(None) => return Asked::Empty,
            Err(why) => return self.away(why),
        };
        let held = self.current.load_full();
        match weigh(held.as_ref().map(|index| &index.head), &table.head) {
            Offer::Newer => self.put(&table, held.as_deref(), store.name()),
            Offer::Same => {}
            Offer::Dropped => return Asked::Behind,
        }
        self.confirm()
    }

    fn put(&mut self, table: &RoutingTable, held: Option<&Index>, store: &'static str) {
        let index = Index::build(table, held, &self.surroundings);
        tracing::debug!(version = %table.head.version, store, nodes = index.endpoint_count(), "routing table taken");
        self.current.swap(Arc::new(index));
        let revision = i64::try_from(table.head.version.revision).unwrap_or(i64::MAX);
        self.surroundings.metrics.table_revision.set(revision);
        drop(self.blocker.take());
    }

    fn away(&mut self, why: String) -> Asked {
        self.why_away = why;
        Asked::Away
    }

    fn confirm(&mut self) -> Asked {
        self.confirmed = Instant::now();
        Asked::Confirmed
    }

    /// Says what a store holds when that is another thing than before.
    fn report(&self, store: &dyn TableReader, was: Option<Asked>, asked: Asked) {
        if was == Some(asked) {
            return;
        }
        let store = store.name();
        let current = self.current.load();
        let Some(index) = current.as_ref() else {
            // At the start of an installation this is the usual course of things.
            return match asked {
                Asked::Away => {
                    tracing::warn!(store, why = self.why_away, "waiting for a store that cannot be read")
                }
                _ => tracing::info!(store, "waiting for the first routing table"),
            };
        };
        let in_use = index.head.version.to_string();
        match asked {
            Asked::Confirmed => tracing::info!(store, in_use, "the store serves the routing table"),
            Asked::Behind => tracing::warn!(store, in_use, "the store holds an older routing table"),
            Asked::Empty => tracing::warn!(store, in_use, "the store holds no routing table"),
            Asked::Away => tracing::warn!(store, in_use, why = self.why_away, "the store cannot be read"),
        }
    }

    fn tell_age(&self) {
        let age = Instant::now().saturating_duration_since(self.confirmed);
        self.surroundings.metrics.table_age.set(age.as_secs_f64());
        self.current.set_stale((age >= STALE_AFTER).then_some(age));
    }
}

/// The next notice; `None` once the store gives no more of them. Without a receiver it waits for ever.
async fn next(notices: &mut Option<mpsc::Receiver<Notice>>) -> Option<Notice> {
    match notices {
        Some(notices) => notices.recv().await,
        None => std::future::pending().await,
    }
}

/// A store's answer, or why there is none.
async fn bounded<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match timeout(STORE_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {STORE_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Connectors;
    use crate::health::Rechecks;
    use crate::metrics::Metrics;
    use aivonx_process::readiness::Readiness;
    use aivonx_state::table::{NodeEntry, NodeId, Strategy};
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    fn table(epoch: u64, revision: u64, nodes: &[&str]) -> RoutingTable {
        let nodes: BTreeMap<_, _> = nodes
            .iter()
            .map(|name| NodeId::new("ai", name))
            .map(|id| (id.clone(), NodeEntry::new(id, "http://10.0.0.7:11434")))
            .collect();
        let version = TableVersion { epoch, revision };
        RoutingTable::new(version, jiff::Timestamp::UNIX_EPOCH, Strategy::LeastActive, nodes)
    }

    /// A store whose content and availability a test sets.
    #[derive(Default)]
    struct FakeStore {
        table: Mutex<Option<RoutingTable>>,
        away: Mutex<bool>,
        silent: Mutex<bool>,
        notices: Mutex<Option<mpsc::Sender<Notice>>>,
        reads: Mutex<u32>,
    }

    impl FakeStore {
        fn set(&self, table: Option<RoutingTable>) {
            *self.table.lock() = table;
        }

        async fn answer(&self) -> Result<Option<RoutingTable>, StoreError> {
            if *self.silent.lock() {
                std::future::pending::<()>().await;
            }
            if *self.away.lock() {
                return Err(StoreError::Unavailable {
                    store: "fake",
                    address: "nowhere".into(),
                    reason: "away".into(),
                });
            }
            Ok(self.table.lock().clone())
        }

        async fn tell(&self, notice: Notice) {
            let notices = self.notices.lock().clone();
            notices.unwrap().send(notice).await.unwrap();
        }
    }

    #[async_trait]
    impl TableReader for FakeStore {
        fn name(&self) -> &'static str {
            "fake"
        }

        async fn head(&self) -> Result<Option<TableHead>, StoreError> {
            Ok(self.answer().await?.map(|table| table.head))
        }

        async fn read(&self) -> Result<Option<RoutingTable>, StoreError> {
            *self.reads.lock() += 1;
            self.answer().await
        }

        fn notices(&self) -> mpsc::Receiver<Notice> {
            let (sender, receiver) = mpsc::channel(1);
            *self.notices.lock() = Some(sender);
            receiver
        }
    }

    struct Setup {
        primary: Arc<FakeStore>,
        fallback: Arc<FakeStore>,
        current: Arc<Current>,
        readiness: Readiness,
        metrics: Arc<Metrics>,
    }

    fn follow() -> Setup {
        aivonx_process::tls::install_crypto_provider();
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let setup = Setup {
            primary: Arc::default(),
            fallback: Arc::default(),
            current: Arc::default(),
            readiness: Readiness::new(),
            metrics: metrics.clone(),
        };
        let surroundings = Surroundings {
            connectors: Connectors::new(),
            rechecks: Rechecks::new(CancellationToken::new()),
            metrics,
        };
        let sources = TableSources { primary: setup.primary.clone(), fallback: Some(setup.fallback.clone()) };
        let blocker = setup.readiness.blocker("routing table");
        tokio::spawn(Follower::new(sources, setup.current.clone(), surroundings, blocker).run());
        setup
    }

    impl Setup {
        fn version(&self) -> Option<String> {
            self.current.load().as_ref().map(|index| index.head.version.to_string())
        }

        fn nodes(&self) -> Option<usize> {
            self.current.load().as_ref().map(|index| index.endpoint_count())
        }
    }

    const A_WHILE: Duration = Duration::from_secs(20);

    #[test]
    fn only_a_newer_table_is_taken() {
        let held = table(2, 5, &["a"]).head;
        assert_eq!(weigh(None, &held), Offer::Newer);
        assert_eq!(weigh(Some(&held), &held), Offer::Same);
        for (epoch, revision, offer) in
            [(2, 6, Offer::Newer), (3, 1, Offer::Newer), (2, 4, Offer::Dropped), (1, 900, Offer::Dropped)]
        {
            assert_eq!(weigh(Some(&held), &table(epoch, revision, &["a"]).head), offer);
        }
        assert_eq!(weigh(Some(&held), &table(2, 5, &["b"]).head), Offer::Dropped);
    }

    #[tokio::test(start_paused = true)]
    async fn ready_with_the_first_table_and_not_before() {
        let setup = follow();
        sleep(A_WHILE).await;
        assert!(!setup.readiness.is_ready());
        setup.primary.set(Some(table(1, 1, &["a"])));
        sleep(POLL * 2).await;
        assert!(setup.readiness.is_ready());
        assert_eq!(setup.version().as_deref(), Some("1.1"));
        *setup.primary.away.lock() = true;
        sleep(A_WHILE).await;
        assert!(setup.readiness.is_ready(), "readiness does not follow the stores");
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_of_an_older_epoch_is_dropped() {
        let setup = follow();
        setup.primary.set(Some(table(2, 1, &["a"])));
        sleep(POLL * 2).await;
        setup.primary.set(Some(table(1, 900, &[])));
        setup.primary.tell(Notice::Reconnected).await;
        sleep(A_WHILE).await;
        assert_eq!((setup.version().as_deref(), setup.nodes()), (Some("2.1"), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_emptied_store_and_one_that_is_away_change_nothing() {
        let setup = follow();
        setup.primary.set(Some(table(1, 1, &["a", "b"])));
        sleep(POLL * 2).await;
        setup.primary.set(None);
        setup.primary.tell(Notice::Reconnected).await;
        sleep(A_WHILE).await;
        assert_eq!(setup.nodes(), Some(2));
        *setup.primary.away.lock() = true;
        *setup.fallback.away.lock() = true;
        sleep(Duration::from_secs(24 * 3_600)).await;
        assert_eq!(setup.nodes(), Some(2));
        assert!(setup.current.stale().unwrap() > Duration::from_secs(3_600));
        assert!(setup.metrics.table_age.get() > 3_600.0);
        *setup.primary.away.lock() = false;
        setup.primary.set(Some(table(1, 2, &["a"])));
        sleep(POLL * 2).await;
        assert_eq!((setup.nodes(), setup.current.stale()), (Some(1), None));
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_told_of_staleness_only_after_a_while() {
        let setup = follow();
        setup.primary.set(Some(table(1, 1, &["a"])));
        sleep(POLL * 2).await;
        *setup.primary.away.lock() = true;
        sleep(STALE_AFTER - POLL * 3).await;
        assert_eq!(setup.current.stale(), None);
        sleep(POLL * 5).await;
        assert!(setup.current.stale().unwrap() >= STALE_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn the_fallback_serves_while_the_primary_is_empty_or_away() {
        for away in [false, true] {
            let setup = follow();
            *setup.primary.away.lock() = away;
            setup.fallback.set(Some(table(1, 7, &["a"])));
            sleep(FALLBACK_POLL * 2).await;
            assert_eq!(setup.version().as_deref(), Some("1.7"));
            assert!(setup.readiness.is_ready());
            sleep(STALE_AFTER * 2).await;
            assert_eq!(setup.current.stale(), None, "the fallback confirms the table");
            *setup.primary.away.lock() = false;
            setup.primary.set(Some(table(1, 8, &["a", "b"])));
            sleep(POLL * 2).await;
            assert_eq!(setup.version().as_deref(), Some("1.8"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_away() {
        let setup = follow();
        *setup.primary.silent.lock() = true;
        setup.fallback.set(Some(table(1, 7, &["a"])));
        sleep(A_WHILE).await;
        assert_eq!(setup.version().as_deref(), Some("1.7"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_is_followed_before_the_next_poll() {
        let setup = follow();
        setup.primary.set(Some(table(1, 1, &["a"])));
        sleep(POLL * 2).await;
        sleep(POLL / 10).await;
        setup.primary.set(Some(table(1, 2, &["a"])));
        let told = Instant::now();
        setup.primary.tell(Notice::Changed(TableVersion { epoch: 1, revision: 2 })).await;
        while setup.version().as_deref() != Some("1.2") {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(told.elapsed() < POLL / 2);
        let reads = *setup.primary.reads.lock();
        setup.primary.tell(Notice::Changed(TableVersion { epoch: 1, revision: 2 })).await;
        sleep(POLL * 3).await;
        assert_eq!(*setup.primary.reads.lock(), reads, "what is known already is not read again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconnect_reads_all_and_a_store_without_notices_is_polled() {
        let setup = follow();
        setup.primary.set(Some(table(1, 1, &["a"])));
        sleep(POLL * 2).await;
        let reads = *setup.primary.reads.lock();
        setup.primary.tell(Notice::Reconnected).await;
        sleep(POLL).await;
        assert_eq!(*setup.primary.reads.lock(), reads + 1);
        *setup.primary.notices.lock() = None;
        setup.primary.set(Some(table(1, 2, &["a"])));
        sleep(POLL * 2).await;
        assert_eq!(setup.version().as_deref(), Some("1.2"));
    }
}
