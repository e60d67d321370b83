//! The store in a real Postgres.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in tests a panic is how a failure is told"
)]

mod contract;

use aivonx_state::store::Published;
use aivonx_state::store::history::Retention;
use aivonx_state::store::postgres::PostgresStore;
use aivonx_state::table::{Health, Loaded, ModelDetails};
use aivonx_state::{
    HealthTransition, HistoryWriter, NodeId, NodeModel, StoreError, TableReader, TableWriter,
};
use aivonx_tests::Postgres;
use aivonx_tests::wait::eventually;
use anyhow::ensure;
use contract::{publish, read, table, version};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

const ALL: [&str; 3] = ["V1__routing_table", "V2__node_inventory", "V3__health_transitions"];

async fn fresh() -> (PostgresStore, Postgres) {
    let (store, postgres) = unmigrated().await;
    store.migrate().await.unwrap();
    (store, postgres)
}

async fn unmigrated() -> (PostgresStore, Postgres) {
    let postgres = Postgres::start().await.unwrap();
    (PostgresStore::new(&postgres.url()).unwrap(), postgres)
}

contract::every_store_must!(fresh);

/// A connection beside the store's own.
async fn session(postgres: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(postgres: &Postgres, query: &str) -> i64 {
    session(postgres).await.query_one(query, &[]).await.unwrap().get(0)
}

fn schema_error<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(error @ StoreError::Schema { .. }) => error.to_string(),
        other => panic!("expected a schema error, not {other:?}"),
    }
}

#[tokio::test]
async fn a_database_without_the_schema_says_what_to_run() {
    let (store, _postgres) = unmigrated().await;
    let node = NodeId::new("ai", "gpu-1");
    let texts = [
        schema_error(TableReader::head(&store).await),
        schema_error(TableReader::read(&store).await),
        schema_error(store.publish(&table(version(1, 1), &[]), None).await),
        schema_error(store.replace_inventory(&node, &[]).await),
        schema_error(store.forget(&node).await),
    ];
    for text in texts {
        assert!(text.starts_with("Postgres schema: ") && text.contains("run `aivonx migrate`"), "{text}");
    }
    assert_eq!(store.schema_version().await.unwrap(), None);
}

#[tokio::test]
async fn migrations_run_once_and_then_never_again() {
    let (store, _postgres) = unmigrated().await;
    let first = store.migrate().await.unwrap();
    assert_eq!(first.applied, ALL);
    assert_eq!(first.version, Some(PostgresStore::latest_schema_version()));
    let second = store.migrate().await.unwrap();
    assert!(second.applied.is_empty());
    assert_eq!(second.version, first.version);
    assert_eq!(store.schema_version().await.unwrap(), first.version);
}

#[tokio::test]
async fn of_four_that_migrate_at_once_one_does_it_all() {
    let (_store, postgres) = unmigrated().await;
    let stores: Vec<_> = (0..4).map(|_| PostgresStore::new(&postgres.url()).unwrap()).collect();
    let reports = join_all(stores.iter().map(PostgresStore::migrate)).await;
    let mut applied: Vec<_> = reports.into_iter().map(|report| report.unwrap().applied).collect();
    applied.sort_by_key(Vec::len);
    assert_eq!(applied.pop().unwrap(), ALL);
    assert!(applied.iter().all(Vec::is_empty), "{applied:?}");
    assert_eq!(number(&postgres, "SELECT count(*) FROM aivonx.schema_history").await, ALL.len() as i64);
}

#[tokio::test]
async fn a_migration_waits_for_another_one_and_leaves_no_lock_behind() {
    let (store, postgres) = unmigrated().await;
    let other = session(&postgres).await;
    let lock = i64::from_str_radix("6169766f6e78", 16).unwrap();
    other.query_one("SELECT pg_advisory_lock($1)", &[&lock]).await.unwrap();
    let waits = async |count: i64| {
        let waiting =
            number(&postgres, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
        let waiting = waiting.await;
        ensure!(waiting == count, "{waiting} wait for the lock");
        Ok(())
    };
    let migrating = || {
        let store = store.clone();
        tokio::spawn(async move { store.migrate().await })
    };
    // One that is given up while it waits goes on waiting in the server, and is gone when it is its turn ...
    let given_up = migrating();
    eventually("one waits", Duration::from_secs(5), || waits(1)).await.unwrap();
    given_up.abort();
    // ... so that it is in nobody's way.
    let patient = migrating();
    eventually("two wait", Duration::from_secs(5), || waits(2)).await.unwrap();
    other.query_one("SELECT pg_advisory_unlock($1)", &[&lock]).await.unwrap();
    assert_eq!(patient.await.unwrap().unwrap().applied, ALL);
    let free = async || {
        let held = number(&postgres, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await;
        ensure!(held == 0, "{held} locks");
        Ok(())
    };
    eventually("the lock is free", Duration::from_secs(5), free).await.unwrap();
}

#[tokio::test]
async fn a_migration_that_fails_is_told_and_can_be_run_again() {
    let (store, postgres) = unmigrated().await;
    postgres.execute("CREATE SCHEMA aivonx; CREATE TABLE aivonx.node_inventory ()").await.unwrap();
    let text = schema_error(store.migrate().await);
    assert!(text.contains("V2__node_inventory") && text.contains("already exists"), "{text}");
    assert_eq!(store.schema_version().await.unwrap(), Some(1));
    postgres.execute("DROP TABLE aivonx.node_inventory").await.unwrap();
    assert_eq!(store.migrate().await.unwrap().applied, ALL[1..]);
}

#[tokio::test]
async fn a_schema_of_another_version_of_the_program_is_left_alone() {
    let (store, postgres) = fresh().await;
    postgres
        .execute("INSERT INTO aivonx.schema_history VALUES (99, 'future', '2026-11-22T10:00:00Z', '1')")
        .await
        .unwrap();
    let text = schema_error(store.migrate().await);
    assert!(text.contains("V99__future") && text.contains("another version of aivonx"), "{text}");
    postgres.execute("DELETE FROM aivonx.schema_history WHERE version = 99").await.unwrap();
    postgres.execute("UPDATE aivonx.schema_history SET checksum = '1' WHERE version = 2").await.unwrap();
    let text = schema_error(store.migrate().await);
    assert!(text.contains("V2__node_inventory") && text.contains("another version of aivonx"), "{text}");
}

#[tokio::test]
async fn a_faked_migration_is_marked_and_not_run() {
    let (store, postgres) = unmigrated().await;
    let faked = store.fake("node_inventory").await.unwrap();
    assert_eq!((&faked.applied[..], faked.version), (&[ALL[0].to_owned(), ALL[1].to_owned()][..], Some(2)));
    let tables =
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'aivonx' AND tablename <> 'schema_history'";
    assert_eq!(number(&postgres, tables).await, 0);
    assert!(store.fake("2").await.unwrap().applied.is_empty(), "it is marked already");
    assert_eq!(store.migrate().await.unwrap().applied, ALL[2..]);
    assert_eq!(number(&postgres, tables).await, 1);
    let text = schema_error(store.fake("nothing").await);
    assert!(text.contains("\"nothing\"") && ALL.iter().all(|name| text.contains(name)), "{text}");
}

#[tokio::test]
async fn a_reset_takes_everything_and_the_same_store_starts_anew() {
    let (store, postgres) = fresh().await;
    publish(&store, &table(version(7, 7), &[("a", 1)]), None).await;
    postgres.execute("CREATE TABLE public.other ()").await.unwrap();
    store.reset().await.unwrap();
    assert_eq!(store.schema_version().await.unwrap(), None);
    assert_eq!(number(&postgres, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await, 1);
    store.reset().await.unwrap();
    assert_eq!(store.migrate().await.unwrap().applied, ALL);
    assert_eq!(read(&store).await, None);
    assert_eq!(publish(&store, &table(version(1, 1), &[("a", 1)]), None).await, Published::Accepted);
}

#[tokio::test]
async fn a_role_that_may_not_create_schemas_fills_one_that_was_made_for_it() {
    let (_store, postgres) = unmigrated().await;
    postgres.execute("CREATE ROLE gateway LOGIN; CREATE SCHEMA aivonx AUTHORIZATION gateway").await.unwrap();
    let store = PostgresStore::new(&postgres.url().replace("postgres@", "gateway@")).unwrap();
    assert_eq!(store.migrate().await.unwrap().applied, ALL);
    assert_eq!(publish(&store, &table(version(1, 1), &[]), None).await, Published::Accepted);
}

#[tokio::test]
async fn an_edited_table_is_refused() {
    let (store, postgres) = fresh().await;
    publish(&store, &table(version(1, 1), &[("a", 1)]), None).await;
    for edit in ["body = '{}'", "strategy = 'best'", "body = '[]'", "digest = ''"] {
        postgres.execute(&format!("UPDATE aivonx.routing_table SET {edit}")).await.unwrap();
        let outcome = TableReader::read(&store).await;
        assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{edit}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_version_that_postgres_cannot_count_is_told() {
    let (store, _postgres) = fresh().await;
    let outcome = store.publish(&table(version(1, u64::MAX), &[]), None).await;
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}

#[tokio::test]
async fn notices_stay_silent_and_open() {
    let (store, _postgres) = fresh().await;
    let mut notices = store.notices();
    publish(&store, &table(version(1, 1), &[]), None).await;
    tokio::task::yield_now().await;
    assert_eq!(notices.try_recv(), Err(tokio::sync::mpsc::error::TryRecvError::Empty));
}

#[tokio::test]
async fn a_postgres_that_is_down_is_told_and_used_when_it_is_up() {
    let (store, mut postgres) = fresh().await;
    let held = table(version(1, 1), &[("a", 1)]);
    publish(&store, &held, None).await;
    postgres.kill().unwrap();
    let down = PostgresStore::new(&postgres.url().replace("postgres@", "postgres:hunter2@")).unwrap();
    for store in [&store, &down] {
        let error = TableReader::read(store).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        for shown in [error.to_string(), format!("{error:?}"), format!("{store:?}")] {
            assert!(shown.contains("127.0.0.1:") && !shown.contains("hunter2"), "{shown}");
        }
    }
    postgres.restart().await.unwrap();
    assert_eq!(read(&store).await, Some(held), "it survives a crash");
}

#[tokio::test]
async fn a_postgres_that_hangs_is_given_up_and_taken_back() {
    let (store, mut postgres) = fresh().await;
    let client = session(&postgres).await;
    client.batch_execute("BEGIN; LOCK TABLE aivonx.routing_table").await.unwrap();
    let error = TableReader::head(&store).await.unwrap_err().to_string();
    assert!(error.contains("lock timeout"), "the server ends it: {error}");
    client.batch_execute("ROLLBACK").await.unwrap();

    // The first process only: connections that exist go on, new ones are not made.
    postgres.process().pause().unwrap();
    let new = PostgresStore::new(&postgres.url()).unwrap();
    let began = Instant::now();
    let outcome = TableReader::head(&new).await;
    let took = began.elapsed();
    postgres.process().resume().unwrap();
    assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    assert!(took < Duration::from_secs(15), "took {took:?}");
    assert_eq!(TableReader::head(&new).await.unwrap(), None);
}

#[tokio::test]
async fn a_query_that_the_server_does_not_end_is_given_up_and_its_connection_too() {
    let (_store, postgres) = fresh().await;
    // The URL's own options win over the limits that would end it in the server.
    let url = format!("{}?options=-c%20statement_timeout=0%20-c%20lock_timeout=0", postgres.url());
    let store = PostgresStore::new(&url).unwrap();
    let client = session(&postgres).await;
    client.batch_execute("BEGIN; LOCK TABLE aivonx.routing_table").await.unwrap();
    let error = TableReader::head(&store).await.unwrap_err().to_string();
    assert!(error.contains("no answer within 5 s"), "{error}");
    // Another query on the same connection would wait as long: it gets another connection.
    assert_eq!(store.schema_version().await.unwrap(), Some(PostgresStore::latest_schema_version()));
}

fn transition(node: &NodeId, second: i64) -> HealthTransition {
    HealthTransition {
        node: node.clone(),
        at: jiff::Timestamp::from_second(second).unwrap(),
        from: Health::Healthy,
        to: Health::Unhealthy,
        reason: "ConnectionRefused".to_owned(),
        message: format!("refused at {second}"),
    }
}

async fn record(store: &PostgresStore, node: &NodeId, seconds: impl IntoIterator<Item = i64>) {
    for second in seconds {
        store.record_transition(&transition(node, second)).await.unwrap();
    }
}

async fn seconds(store: &PostgresStore, node: &NodeId) -> Vec<i64> {
    let transitions = store.transitions(node, 1_000).await.unwrap();
    transitions.iter().map(|transition| transition.at.as_second()).collect()
}

#[tokio::test]
async fn transitions_are_kept_as_they_were_newest_first() {
    let (store, _postgres) = fresh().await;
    let node = NodeId::new("ai", "gpu-1");
    record(&store, &node, 1..=3).await;
    let kept = store.transitions(&node, 2).await.unwrap();
    assert_eq!(kept, [transition(&node, 3), transition(&node, 2)]);

    let odd = HealthTransition { message: format!("\0{}", "ä".repeat(5_000)), ..transition(&node, 4) };
    store.record_transition(&odd).await.unwrap();
    let message = &store.transitions(&node, 1).await.unwrap()[0].message;
    assert!(message.starts_with("\u{fffd}ä"), "no NUL is kept");
    assert_eq!(message.chars().count(), 1_024);
}

#[tokio::test]
async fn history_is_kept_by_age_and_by_count() {
    let (store, _postgres) = fresh().await;
    let day = 24 * 3_600;
    let retention =
        Retention { max_age: Duration::from_secs(10 * 24 * 3_600), max_per_node: 3, max_total: 5 };
    let store = store.with_retention(retention);
    let [first, second, third] = ["gpu-1", "gpu-2", "gpu-3"].map(|name| NodeId::new("ai", name));
    record(&store, &first, (1..=5).map(|at| at * day)).await;
    assert_eq!(seconds(&store, &first).await, [5 * day, 4 * day, 3 * day], "by count, for each node");
    record(&store, &second, [5 * day, 6 * day]).await;
    assert_eq!(seconds(&store, &first).await.len(), 3);
    record(&store, &third, [7 * day]).await;
    assert_eq!(seconds(&store, &first).await, [5 * day, 4 * day], "by count, for all together");
    assert_eq!(seconds(&store, &second).await, [6 * day, 5 * day]);
    record(&store, &third, [15 * day]).await;
    assert_eq!(seconds(&store, &first).await, [5 * day], "by age, whoever writes");
    record(&store, &third, [40 * day]).await;
    assert_eq!(seconds(&store, &first).await, [0; 0]);
    assert_eq!(seconds(&store, &second).await, [0; 0]);
    assert_eq!(seconds(&store, &third).await, [40 * day]);
}

fn model(name: &str, size: u64) -> NodeModel {
    NodeModel {
        name: name.to_owned(),
        digest: "d".repeat(64),
        size,
        modified_at: "2026-11-22T10:00:00+01:00".to_owned(),
        details: ModelDetails { family: "llama\0".to_owned(), ..ModelDetails::default() },
        capabilities: vec!["completion".to_owned()],
        loaded: Some(Loaded { size, size_vram: 0, context_length: 4_096, expires_at: String::new() }),
    }
}

#[tokio::test]
async fn an_inventory_is_replaced_whole_for_its_node_only() {
    let (store, _postgres) = fresh().await;
    let (node, other) = (NodeId::new("ai", "gpu-1"), NodeId::new("ai", "gpu-2"));
    store.replace_inventory(&other, &[model("z:latest", 1)]).await.unwrap();
    store.replace_inventory(&node, &[model("a:latest", 1), model("b:latest", u64::MAX)]).await.unwrap();
    assert_eq!(
        store.inventory(&node).await.unwrap(),
        [model("a:latest", 1), model("b:latest", u64::MAX)],
        "all that a node may say is kept"
    );
    let next = [model("c:latest", 3), model("b:latest", 2), model("b:latest", 2)];
    store.replace_inventory(&node, &next).await.unwrap();
    assert_eq!(store.inventory(&node).await.unwrap(), [model("b:latest", 2), model("c:latest", 3)]);
    store.replace_inventory(&node, &[]).await.unwrap();
    assert_eq!(store.inventory(&node).await.unwrap(), []);
    assert_eq!(store.inventory(&other).await.unwrap(), [model("z:latest", 1)]);
}

#[tokio::test]
async fn a_forgotten_node_has_no_inventory_but_a_past() {
    let (store, _postgres) = fresh().await;
    let node = NodeId::new("ai", "gpu-1");
    store.replace_inventory(&node, &[model("a:latest", 1)]).await.unwrap();
    record(&store, &node, [1]).await;
    for _ in 0..2 {
        store.forget(&node).await.unwrap();
    }
    assert_eq!(store.inventory(&node).await.unwrap(), []);
    assert_eq!(seconds(&store, &node).await, [1]);
}
