//! What to do next with one store: publish, check, wait. Pure: time and answers come in.

use super::store::Offer;
use aivonx_process::backoff::Backoff;
use aivonx_state::store::Published;
use aivonx_state::{RoutingTable, TableHead, TableVersion};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait after a failure is short: a store that is back must be whole again within two seconds.
const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(1) };
/// Failures in a row before anybody is told that a table does not get through: one lost call is no news.
const TELLING_FAILURES: u32 = 3;

/// The next thing to do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Nothing, until there is another offer.
    Wait,
    /// Nothing before this instant, unless there is another offer.
    WaitUntil(Instant),
    /// Write the table of the offer; `before` is what the store is believed to hold.
    Publish { offer: Arc<Offer>, before: Option<Arc<RoutingTable>> },
    /// Ask for the head and compare it with the offer.
    Check { offer: Arc<Offer> },
}

/// What the fleet must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The store holds the offer.
    Accepted,
    /// The store has failed so often that it is worth telling.
    Failing,
    /// The store holds a higher revision of this term: offer again above it.
    Outrun(TableVersion),
    /// The store holds a higher epoch: the term is over.
    Fenced(TableVersion),
}

/// Follows one store.
#[derive(Debug)]
pub(super) struct Plan {
    guard_interval: Duration,
    offer: Option<Arc<Offer>>,
    /// What the store is known to hold, as far as this writer knows.
    held: Option<Arc<RoutingTable>>,
    failures: u32,
    not_before: Option<Instant>,
    check_at: Option<Instant>,
    /// Set while the offer is known to be refused: only another one helps.
    refused: bool,
}

impl Plan {
    pub(super) fn new(guard_interval: Duration) -> Self {
        Self {
            guard_interval,
            offer: None,
            held: None,
            failures: 0,
            not_before: None,
            check_at: None,
            refused: false,
        }
    }

    /// Takes the newest offer; `None` while there is nothing to publish. The one that is known already changes nothing.
    pub(super) fn offered(&mut self, offer: Option<Arc<Offer>>) {
        let known = match (&self.offer, &offer) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if known {
            return;
        }
        let same_term = match (&self.offer, &offer) {
            (Some(before), Some(now)) => before.term == now.term,
            _ => false,
        };
        if !same_term {
            // Between terms others may have written: what the store holds is not known any more.
            self.held = None;
            self.check_at = None;
        }
        self.refused = false;
        self.offer = offer;
    }

    /// What to do at `now`.
    pub(super) fn next(&self, now: Instant) -> Step {
        let Some(offer) = self.offer.as_ref().filter(|_| !self.refused) else { return Step::Wait };
        if let Some(not_before) = self.not_before.filter(|instant| *instant > now) {
            return Step::WaitUntil(not_before);
        }
        let current = self.held.as_ref().is_some_and(|held| held.head == offer.table.head);
        match self.check_at {
            _ if !current => Step::Publish { offer: Arc::clone(offer), before: self.held.clone() },
            Some(check_at) if check_at > now => Step::WaitUntil(check_at),
            _ => Step::Check { offer: Arc::clone(offer) },
        }
    }

    /// Takes the answer to a publication of `offer`.
    pub(super) fn published(&mut self, offer: &Offer, answer: Published, now: Instant) -> Option<Finding> {
        self.succeeded();
        match answer {
            Published::Accepted => {
                self.held = Some(Arc::clone(&offer.table));
                self.check_at = Some(now + self.guard_interval);
                Some(Finding::Accepted)
            }
            Published::Fenced { held } => Some(self.refused(offer, held)),
        }
    }

    /// Takes the head that the store holds.
    pub(super) fn checked(&mut self, head: Option<&TableHead>, now: Instant) -> Option<Finding> {
        self.succeeded();
        self.check_at = Some(now + self.guard_interval);
        let offer = self.offer.clone()?;
        match head {
            Some(head)
                if head.version == offer.table.head.version && head.digest == offer.table.head.digest =>
            {
                None
            }
            Some(head) if head.version >= offer.table.head.version => {
                Some(self.refused(&offer, head.version))
            }
            // Flushed, or back at an old table: publish the whole once more.
            Some(_) | None => {
                self.held = None;
                None
            }
        }
    }

    fn refused(&mut self, offer: &Offer, held: TableVersion) -> Finding {
        self.refused = true;
        self.held = None;
        if held.epoch > offer.term.epoch { Finding::Fenced(held) } else { Finding::Outrun(held) }
    }

    /// Whether the newest offer has to be written although the store took it before.
    pub(super) fn must_rewrite(&self) -> bool {
        self.held.is_none() && !self.refused
    }

    /// The store holds something that is no table: whatever it is, it is written over.
    pub(super) fn corrupt(&mut self) {
        self.held = None;
    }

    /// Takes a failure. What the store holds is unknown then: the call may have been carried out.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Finding> {
        self.held = None;
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + BACKOFF.delay(self.failures));
        (self.failures == TELLING_FAILURES).then_some(Finding::Failing)
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Term;
    use aivonx_state::table::Strategy;
    use std::collections::BTreeMap;

    const GUARD: Duration = Duration::from_millis(500);

    fn offer_with(epoch: u64, revision: u64, strategy: Strategy) -> Arc<Offer> {
        let version = TableVersion { epoch, revision };
        let table = RoutingTable::new(version, jiff::Timestamp::UNIX_EPOCH, strategy, BTreeMap::new());
        Arc::new(Offer { term: Term { epoch }, stamp: revision, table: Arc::new(table) })
    }

    fn offer(epoch: u64, revision: u64) -> Arc<Offer> {
        offer_with(epoch, revision, Strategy::default())
    }

    /// A plan whose store took `offer` at `now`.
    fn settled(offer: &Arc<Offer>, now: Instant) -> Plan {
        let mut plan = Plan::new(GUARD);
        plan.offered(Some(Arc::clone(offer)));
        assert_eq!(plan.published(offer, Published::Accepted, now), Some(Finding::Accepted));
        plan
    }

    fn publishes_whole(step: &Step) -> bool {
        matches!(step, Step::Publish { before: None, .. })
    }

    #[test]
    fn without_an_offer_nothing_is_done() {
        assert!(matches!(Plan::new(GUARD).next(Instant::now()), Step::Wait));
    }

    #[test]
    fn the_first_table_is_written_whole_and_the_next_as_a_difference() {
        let (now, first, second) = (Instant::now(), offer(1, 1), offer(1, 2));
        let mut plan = Plan::new(GUARD);
        plan.offered(Some(Arc::clone(&first)));
        assert!(publishes_whole(&plan.next(now)));
        plan.published(&first, Published::Accepted, now);
        plan.offered(Some(second));
        let Step::Publish { before: Some(before), .. } = plan.next(now) else { panic!("no difference") };
        assert_eq!(before.head, first.table.head);
    }

    #[test]
    fn a_table_that_is_in_place_is_checked_at_every_guard_interval() {
        let (now, offer) = (Instant::now(), offer(1, 1));
        let mut plan = settled(&offer, now);
        assert!(matches!(plan.next(now), Step::WaitUntil(at) if at == now + GUARD));
        assert!(matches!(plan.next(now + GUARD), Step::Check { .. }));
        assert_eq!(plan.checked(Some(&offer.table.head), now + GUARD), None);
        assert!(matches!(plan.next(now + GUARD), Step::WaitUntil(at) if at == now + GUARD * 2));
    }

    #[test]
    fn a_flushed_or_older_store_gets_the_whole_table_again() {
        let (now, current) = (Instant::now(), offer(2, 7));
        for found in [None, Some(&offer(2, 6).table.head), Some(&offer(1, 900).table.head)] {
            let mut plan = settled(&current, now);
            assert_eq!(plan.checked(found, now), None);
            assert!(publishes_whole(&plan.next(now)), "{found:?}");
        }
    }

    #[test]
    fn other_content_under_the_same_version_is_outrun() {
        let (now, current) = (Instant::now(), offer(1, 1));
        let mut plan = settled(&current, now);
        let edited = offer_with(1, 1, Strategy::RoundRobin);
        assert_eq!(
            plan.checked(Some(&edited.table.head), now),
            Some(Finding::Outrun(current.table.head.version))
        );
        assert!(matches!(plan.next(now), Step::Wait), "only a higher revision helps");
        plan.offered(Some(offer(1, 2)));
        assert!(publishes_whole(&plan.next(now)));
    }

    #[test]
    fn a_higher_epoch_ends_the_term_however_it_is_met() {
        let (now, current, held) = (Instant::now(), offer(1, 9), TableVersion { epoch: 2, revision: 1 });
        let mut plan = settled(&current, now);
        assert_eq!(plan.checked(Some(&offer(2, 1).table.head), now), Some(Finding::Fenced(held)));
        assert!(matches!(plan.next(now + GUARD * 9), Step::Wait));
        let mut plan = Plan::new(GUARD);
        plan.offered(Some(Arc::clone(&current)));
        assert_eq!(plan.published(&current, Published::Fenced { held }, now), Some(Finding::Fenced(held)));
        assert!(matches!(plan.next(now + GUARD * 9), Step::Wait));
    }

    #[test]
    fn a_higher_revision_of_the_own_term_is_outrun() {
        let (now, current, held) = (Instant::now(), offer(1, 1), TableVersion { epoch: 1, revision: 5 });
        let mut plan = Plan::new(GUARD);
        plan.offered(Some(Arc::clone(&current)));
        assert_eq!(plan.published(&current, Published::Fenced { held }, now), Some(Finding::Outrun(held)));
    }

    #[test]
    fn a_failure_waits_and_then_writes_the_whole_table() {
        let (now, current) = (Instant::now(), offer(1, 1));
        let mut plan = settled(&current, now);
        assert_eq!(plan.failed(now), None);
        assert!(matches!(plan.next(now), Step::WaitUntil(at) if at > now && at <= now + BACKOFF.initial));
        assert!(publishes_whole(&plan.next(now + BACKOFF.max)), "the failed call may have been carried out");
        assert_eq!(plan.failed(now), None);
        assert_eq!(plan.failed(now), Some(Finding::Failing), "told once");
        assert_eq!(plan.failed(now), None);
        for _ in 0..100 {
            plan.failed(now);
        }
        assert!(matches!(plan.next(now), Step::WaitUntil(at) if at <= now + BACKOFF.max));
    }

    #[test]
    fn a_new_term_knows_nothing_of_what_the_store_holds() {
        let (now, first) = (Instant::now(), offer(1, 1));
        let mut plan = settled(&first, now);
        plan.offered(None);
        assert!(matches!(plan.next(now + GUARD), Step::Wait));
        plan.offered(Some(offer(2, 1)));
        assert!(publishes_whole(&plan.next(now)));
    }
}
