//! What every store must do, told once and asked of each of them by [`every_store_must!`].

use aivonx_state::store::Published;
use aivonx_state::table::Strategy;
use aivonx_state::{NodeEntry, NodeId, RoutingTable, TableReader, TableVersion, TableWriter};
use futures::future::try_join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub trait Store: TableWriter + TableReader + Clone + 'static {}
impl<S: TableWriter + TableReader + Clone + 'static> Store for S {}

/// Makes one test of each promise. `$fresh` is an async function that gives an empty store and what keeps it alive.
macro_rules! every_store_must {
    ($fresh:path) => {
        $crate::contract::every_store_must!($fresh:
            hold_nothing_at_first,
            give_back_what_was_published,
            refuse_what_is_not_newer,
            compare_versions_as_numbers,
            take_the_same_table_twice,
            be_left_alone_by_a_leader_that_was_paused,
            follow_changes_of_every_kind,
            end_whole_when_the_writer_starts_from_another_table,
            agree_with_the_rule_for_any_sequence,
            never_go_backwards_while_writers_race,
        );
    };
    ($fresh:path: $($promise:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let (store, _keeps_alive) = $fresh().await;
                contract::$promise(&store).await;
            }
        )*
    };
}
pub(crate) use every_store_must;

pub fn version(epoch: u64, revision: u64) -> TableVersion {
    TableVersion { epoch, revision }
}

/// A table with a node of each name and weight.
pub fn table(version: TableVersion, weights: &[(&str, u32)]) -> RoutingTable {
    let nodes = weights.iter().map(|&(name, weight)| {
        let id = NodeId::new("ai", name);
        (id.clone(), NodeEntry { weight, ..NodeEntry::new(id, format!("http://{name}.example:11434")) })
    });
    let published_at = "2026-11-22T10:00:00.123456Z".parse().unwrap();
    RoutingTable::new(version, published_at, Strategy::LowestLatency, nodes.collect())
}

pub async fn read(store: &impl Store) -> Option<RoutingTable> {
    let table = TableReader::read(store).await.unwrap();
    assert_eq!(TableWriter::read(store).await.unwrap(), table);
    assert_eq!(TableReader::head(store).await.unwrap(), table.as_ref().map(|table| table.head.clone()));
    table
}

pub async fn publish(store: &impl Store, table: &RoutingTable, before: Option<&RoutingTable>) -> Published {
    store.publish(table, before).await.unwrap()
}

async fn accepted(store: &impl Store, table: &RoutingTable, before: Option<&RoutingTable>) {
    assert_eq!(publish(store, table, before).await, Published::Accepted, "table {}", table.head.version);
    assert_eq!(read(store).await.as_ref(), Some(table));
}

async fn fenced(store: &impl Store, table: &RoutingTable, before: Option<&RoutingTable>) {
    let held = read(store).await.unwrap();
    let outcome = publish(store, table, before).await;
    assert_eq!(outcome, Published::Fenced { held: held.head.version }, "table {}", table.head.version);
    assert_eq!(read(store).await, Some(held), "a refused table changed something");
}

pub async fn hold_nothing_at_first(store: &impl Store) {
    assert_eq!(read(store).await, None);
    assert_eq!(TableWriter::head(store).await.unwrap(), None);
    assert_eq!(TableWriter::name(store), TableReader::name(store));
}

pub async fn give_back_what_was_published(store: &impl Store) {
    accepted(store, &table(version(1, 1), &[("a", 1), ("b", 2)]), None).await;
    accepted(store, &table(version(1, 2), &[]), None).await;
    accepted(store, &table(version(1, 3), &[("ü\"'\\ {0}", 7)]), None).await;
}

pub async fn refuse_what_is_not_newer(store: &impl Store) {
    let held = table(version(5, 5), &[("a", 1)]);
    accepted(store, &held, None).await;
    for older in [version(5, 4), version(4, 5), version(4, 900), version(0, 0)] {
        fenced(store, &table(older, &[("b", 2)]), None).await;
        fenced(store, &table(older, &[("a", 1), ("b", 2)]), Some(&held)).await;
    }
    fenced(store, &table(version(5, 5), &[("a", 2)]), None).await;
    fenced(store, &table(version(5, 5), &[("a", 2)]), Some(&held)).await;
    accepted(store, &table(version(5, 6), &[("a", 2)]), Some(&held)).await;
}

pub async fn compare_versions_as_numbers(store: &impl Store) {
    let rising = [
        version(0, 9),
        version(0, 10),
        version(9, 2),
        version(9, 10),
        version(9, 9_007_199_254_740_992),
        version(9, 9_007_199_254_740_993),
        version(10, 1),
        version(100, 0),
        version(i64::MAX as u64, i64::MAX as u64 - 1),
        version(i64::MAX as u64, i64::MAX as u64),
    ];
    for pair in rising.windows(2) {
        accepted(store, &table(pair[1], &[("a", 1)]), None).await;
        fenced(store, &table(pair[0], &[("b", 1)]), None).await;
    }
}

pub async fn take_the_same_table_twice(store: &impl Store) {
    let first = table(version(1, 1), &[("a", 1)]);
    let second = table(version(1, 2), &[("a", 2)]);
    accepted(store, &first, None).await;
    for _ in 0..2 {
        accepted(store, &second, Some(&first)).await;
        accepted(store, &second, None).await;
    }
}

pub async fn be_left_alone_by_a_leader_that_was_paused(store: &impl Store) {
    let old = table(version(1, 7), &[("a", 1)]);
    accepted(store, &old, None).await;
    let new = table(version(2, 1), &[("a", 1), ("b", 1)]);
    accepted(store, &new, Some(&old)).await;
    // The old leader wakes up and goes on from where it was, again and again.
    for revision in 8..12 {
        fenced(store, &table(version(1, revision), &[("c", 9)]), Some(&old)).await;
    }
    accepted(store, &table(version(2, 2), &[("b", 1)]), Some(&new)).await;
}

pub async fn follow_changes_of_every_kind(store: &impl Store) {
    let mut before = table(version(1, 1), &[("a", 1), ("b", 1), ("c", 1)]);
    accepted(store, &before, None).await;
    let steps: [&[(&str, u32)]; 6] = [
        &[("a", 1), ("b", 2), ("c", 1)],           // changed
        &[("a", 1), ("b", 2), ("c", 1), ("d", 1)], // added
        &[("b", 2), ("d", 1)],                     // removed
        &[("b", 3), ("e", 1)],                     // all at once
        &[("b", 3), ("e", 1)],                     // nothing but the version
        &[],
    ];
    for (revision, weights) in (2..).zip(steps) {
        let next = table(version(1, revision), weights);
        accepted(store, &next, Some(&before)).await;
        before = next;
    }
}

pub async fn end_whole_when_the_writer_starts_from_another_table(store: &impl Store) {
    accepted(store, &table(version(1, 1), &[("a", 1), ("x", 1)]), None).await;
    let imagined = table(version(1, 1), &[("a", 1), ("b", 1)]);
    accepted(store, &table(version(1, 2), &[("a", 1), ("b", 2)]), Some(&imagined)).await;
}

/// Publications of a few versions and contents in any order, each from any starting point, beside the rule itself.
pub async fn agree_with_the_rule_for_any_sequence(store: &impl Store) {
    const CONTENTS: [&[(&str, u32)]; 4] = [&[], &[("a", 1)], &[("a", 2), ("b", 1)], &[("b", 1), ("c", 3)]];
    let content = || 0..CONTENTS.len();
    let step = (0..3_u64, 0..4_u64, content(), proptest::option::of(content()));
    let sequence = proptest::collection::vec(step, 1..25);
    let held = parking_lot::Mutex::new(None::<RoutingTable>);
    let cases = AtomicUsize::new(0);
    let handle = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&sequence, |steps| {
            // Each case begins above all that came before it.
            let base = 10 * (1 + cases.fetch_add(1, Ordering::Relaxed) as u64);
            for (epoch, revision, content, before) in steps {
                let offered = table(version(base + epoch, revision), CONTENTS[content]);
                let before = before.map(|before| table(version(base, 0), CONTENTS[before]));
                let mut held = held.lock();
                let expected = match &*held {
                    Some(held) if offered.head.version < held.head.version => {
                        Published::Fenced { held: held.head.version }
                    }
                    Some(held)
                        if offered.head.version == held.head.version && !offered.same_content(held) =>
                    {
                        Published::Fenced { held: held.head.version }
                    }
                    _ => Published::Accepted,
                };
                if expected == Published::Accepted {
                    *held = Some(offered.clone());
                }
                let (outcome, now_held) = handle.block_on(async {
                    (publish(store, &offered, before.as_ref()).await, TableReader::read(store).await.unwrap())
                });
                prop_assert_eq!(outcome, expected);
                prop_assert_eq!(&now_held, &*held);
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

/// Leaders of three terms publish at once, none of them giving way, while readers watch.
pub async fn never_go_backwards_while_writers_race(store: &impl Store) {
    const TERMS: u64 = 3;
    let running = Arc::new(AtomicUsize::new(TERMS as usize));
    let seen: Arc<[AtomicUsize; 2]> = Arc::default();
    let mut tasks = Vec::new();
    for epoch in 1..=TERMS {
        tasks.push(tokio::spawn(lead(store.clone(), epoch, running.clone(), seen.clone())));
    }
    for reader in 0..seen.len() {
        tasks.push(tokio::spawn(watch(store.clone(), reader, running.clone(), seen.clone())));
    }
    // The first that fails ends the test: the others would wait for it.
    try_join_all(tasks).await.unwrap();
    assert_eq!(read(store).await, Some(table_of(version(TERMS, REVISIONS))));
}

const REVISIONS: u64 = 60;

/// Publishes revision after revision, whatever the store says.
async fn lead(store: impl Store, epoch: u64, running: Arc<AtomicUsize>, seen: Arc<[AtomicUsize; 2]>) {
    // A later term begins while the one before it is at work.
    let earlier = version(epoch - 1, 5);
    while epoch > 1 && TableReader::head(&store).await.unwrap().is_none_or(|head| head.version < earlier) {
        tokio::task::yield_now().await;
    }
    let mut before = None;
    let mut highest = version(0, 0);
    for revision in 1..=REVISIONS {
        let next = table_of(version(epoch, revision));
        match store.publish(&next, before.as_ref()).await.unwrap() {
            Published::Accepted => before = Some(next),
            Published::Fenced { held } => {
                assert!(held > next.head.version, "{} was fenced by {held}", next.head.version);
                assert!(held >= highest, "held {highest}, then {held}");
                highest = held;
            }
        }
        // Readers must see some of it for the test to tell anything.
        while seen.iter().any(|seen| seen.load(Ordering::SeqCst) < revision as usize / 10) {
            tokio::task::yield_now().await;
        }
    }
    running.fetch_sub(1, Ordering::SeqCst);
}

/// Reads until all leaders are done; counts the versions in `seen`.
async fn watch(store: impl Store, reader: usize, running: Arc<AtomicUsize>, seen: Arc<[AtomicUsize; 2]>) {
    let mut last = version(0, 0);
    while running.load(Ordering::SeqCst) > 0 {
        // `read` fails for a table that is not whole.
        if let Some(table) = TableReader::read(&store).await.unwrap() {
            let now = table.head.version;
            assert!(now >= last, "{now} after {last}");
            assert_eq!(table, table_of(now));
            seen[reader].fetch_add(usize::from(now > last), Ordering::SeqCst);
            last = now;
        }
        tokio::task::yield_now().await;
    }
}

/// The one content that goes with a version: nodes come, change and go from one revision to the next.
fn table_of(of: TableVersion) -> RoutingTable {
    let weight = |every: u64| (of.epoch * 1_000 + of.revision / every) as u32;
    let names = ["a", "b", "c", "d", "e"];
    let weights: BTreeMap<_, _> = (2..)
        .zip(names)
        .filter(|(every, _)| !of.revision.is_multiple_of(*every))
        .map(|(every, name)| (name, weight(every)))
        .collect();
    table(of, &weights.into_iter().collect::<Vec<_>>())
}
