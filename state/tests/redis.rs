//! The store in a real Redis.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in tests a panic is how a failure is told"
)]

mod contract;

use aivonx_state::store::Published;
use aivonx_state::store::redis::RedisStore;
use aivonx_state::{Notice, RoutingTable, StoreError, TableReader, TableWriter};
use aivonx_tests::Redis;
use aivonx_tests::wait::eventually;
use anyhow::ensure;
use contract::{publish, read, table, version};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

const HEAD: &str = "{aivonx}:table:head";
const NODES: &str = "{aivonx}:table:nodes";
const CHANNEL: &str = "{aivonx}:table:changed";

async fn fresh() -> (RedisStore, Redis) {
    let redis = Redis::start().await.unwrap();
    (RedisStore::new(&redis.url()).unwrap(), redis)
}

contract::every_store_must!(fresh);

async fn next(notices: &mut mpsc::Receiver<Notice>) -> Notice {
    let notice = timeout(Duration::from_secs(20), notices.recv()).await;
    notice.expect("no notice came").expect("the notices ended")
}

/// How often the server ran `command`.
async fn calls(redis: &Redis, command: &str) -> u64 {
    let stats: String = redis.command(&["INFO", "commandstats"]).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

fn reason<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Corrupt { reason, .. }) => reason,
        other => panic!("expected something corrupt, not {other:?}"),
    }
}

#[tokio::test]
async fn a_person_can_read_the_table() {
    let (store, redis) = fresh().await;
    publish(&store, &table(version(3, 14), &[("gpu-1", 2)]), None).await;
    let head: BTreeMap<String, String> = redis.command(&["HGETALL", HEAD]).await.unwrap();
    let digest = table(version(3, 14), &[("gpu-1", 2)]).head.digest;
    let expected = [
        ("digest", digest.as_str()),
        ("epoch", "3"),
        ("publishedAt", "2026-11-22T10:00:00.123456Z"),
        ("revision", "14"),
        ("strategy", "lowest_latency"),
    ];
    assert_eq!(head, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let node: String = redis.command(&["HGET", NODES, "ai/gpu-1"]).await.unwrap();
    assert!(node.starts_with(r#"{"id":"ai/gpu-1","url":"http://gpu-1.example:11434","#), "{node}");
}

#[tokio::test]
async fn a_table_is_read_in_one_transaction() {
    let (store, redis) = fresh().await;
    publish(&store, &table(version(1, 1), &[("a", 1)]), None).await;
    TableReader::read(&store).await.unwrap();
    assert_eq!((calls(&redis, "multi").await, calls(&redis, "exec").await), (1, 1));
}

#[tokio::test]
async fn a_refused_table_is_told_to_nobody() {
    let (store, redis) = fresh().await;
    publish(&store, &table(version(2, 1), &[]), None).await;
    assert_eq!(calls(&redis, "publish").await, 1);
    publish(&store, &table(version(1, 2), &[]), None).await;
    assert_eq!(calls(&redis, "publish").await, 1);
}

#[tokio::test]
async fn only_the_differences_travel_and_a_torn_table_is_seen() {
    let (store, redis) = fresh().await;
    let first = table(version(1, 1), &[("a", 1), ("b", 1)]);
    publish(&store, &first, None).await;
    // Somebody edits what does not travel: it stays edited, so it did not travel.
    redis.command::<i64>(&["HSET", NODES, "ai/b", "{}"]).await.unwrap();
    let second = table(version(1, 2), &[("a", 2), ("b", 1)]);
    assert_eq!(publish(&store, &second, Some(&first)).await, Published::Accepted);
    assert_eq!(redis.command::<String>(&["HGET", NODES, "ai/b"]).await.unwrap(), "{}");
    let torn = reason(TableReader::read(&store).await);
    assert!(torn.contains("table 1.2 has 2 nodes") && torn.contains(&second.head.digest), "{torn}");
    // The same table once more, whole, repairs it.
    publish(&store, &second, None).await;
    assert_eq!(read(&store).await, Some(second));
}

#[tokio::test]
async fn nodes_that_were_lost_behind_the_heads_back_come_back_whole() {
    let (store, redis) = fresh().await;
    let mut before = table(version(1, 1), &[("a", 1), ("b", 1), ("c", 1)]);
    publish(&store, &before, None).await;
    for (revision, loss) in [(2, &["DEL", NODES][..]), (3, &["HDEL", NODES, "ai/b"])] {
        redis.command::<i64>(loss).await.unwrap();
        assert!(reason(TableReader::read(&store).await).contains("digest"));
        let next = table(version(1, revision), &[("a", revision as u32), ("b", 1), ("c", 1)]);
        assert_eq!(publish(&store, &next, Some(&before)).await, Published::Accepted);
        assert_eq!(read(&store).await.as_ref(), Some(&next));
        before = next;
    }
}

#[tokio::test]
async fn a_flush_leaves_no_table_and_the_next_one_is_whole() {
    let (store, redis) = fresh().await;
    let first = table(version(4, 1), &[("a", 1), ("b", 1)]);
    publish(&store, &first, None).await;
    redis.flushall().await.unwrap();
    assert_eq!(read(&store).await, None);
    let second = table(version(4, 2), &[("a", 1), ("b", 2)]);
    assert_eq!(publish(&store, &second, Some(&first)).await, Published::Accepted);
    assert_eq!(read(&store).await, Some(second));
    // The script went with the flush too; that is no error.
    redis.command::<String>(&["SCRIPT", "FLUSH"]).await.unwrap();
    let third = table(version(4, 3), &[("a", 1), ("b", 3)]);
    assert_eq!(publish(&store, &third, None).await, Published::Accepted);
}

#[tokio::test]
async fn large_tables_fit_the_scripts_stack_both_ways() {
    let (store, _redis) = fresh().await;
    let names: Vec<String> = (0..6_000).map(|number| format!("node-{number}")).collect();
    let weights: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let large = table(version(1, 1), &weights);
    assert_eq!(publish(&store, &large, None).await, Published::Accepted);
    assert_eq!(read(&store).await.as_ref(), Some(&large));
    let small = table(version(1, 2), &weights[..10]);
    assert_eq!(publish(&store, &small, Some(&large)).await, Published::Accepted);
    assert_eq!(read(&store).await, Some(small));
}

#[tokio::test]
async fn versions_beyond_what_lua_can_count_are_compared_exactly() {
    let (store, _redis) = fresh().await;
    publish(&store, &table(version(u64::MAX, u64::MAX - 1), &[]), None).await;
    let held = version(u64::MAX, u64::MAX - 1);
    let older = table(version(u64::MAX, u64::MAX - 2), &[]);
    assert_eq!(publish(&store, &older, None).await, Published::Fenced { held });
    assert_eq!(publish(&store, &table(version(u64::MAX, u64::MAX), &[]), None).await, Published::Accepted);
}

#[tokio::test]
async fn what_is_no_table_is_told_and_a_damaged_head_is_repaired() {
    let (store, redis) = fresh().await;
    let next = table(version(1, 1), &[("a", 1)]);
    redis.command::<String>(&["SET", HEAD, "mine"]).await.unwrap();
    assert!(reason(TableReader::head(&store).await).contains("wrong type"));
    assert!(reason(TableReader::read(&store).await).contains("wrong type"));
    assert!(reason(store.publish(&next, None).await).contains("wrong type"));
    assert_eq!(
        redis.command::<String>(&["GET", HEAD]).await.unwrap(),
        "mine",
        "nothing of others is touched"
    );

    redis.flushall().await.unwrap();
    redis.command::<i64>(&["HSET", HEAD, "epoch", "many", "revision", "9"]).await.unwrap();
    assert!(reason(TableReader::read(&store).await).contains("head"));
    assert_eq!(publish(&store, &next, Some(&next)).await, Published::Accepted);
    assert_eq!(read(&store).await, Some(next));
}

#[tokio::test]
async fn gateways_with_prefixes_of_their_own_share_one_redis() {
    let (store, redis) = fresh().await;
    let other = RedisStore::new(&redis.url()).unwrap().with_prefix("other").unwrap();
    let mut notices = other.notices();
    assert_eq!(next(&mut notices).await, Notice::Reconnected);
    publish(&store, &table(version(9, 9), &[("a", 1)]), None).await;
    assert_eq!(read(&other).await, None);
    publish(&other, &table(version(1, 1), &[]), None).await;
    assert_eq!(next(&mut notices).await, Notice::Changed(version(1, 1)));
    assert_eq!(read(&store).await, Some(table(version(9, 9), &[("a", 1)])));
    assert!(RedisStore::new(&redis.url()).unwrap().with_prefix("a}b").is_err());
}

#[tokio::test]
async fn both_protocols_and_passwords_work() {
    let redis = Redis::start_with_password("open-sesame").await.unwrap();
    for (revision, protocol) in [(1, "resp2"), (2, "resp3")] {
        let store = RedisStore::new(&format!("{}?protocol={protocol}", redis.url())).unwrap();
        let mut notices = store.notices();
        assert_eq!(next(&mut notices).await, Notice::Reconnected);
        let table = table(version(1, revision), &[("a", 1)]);
        assert_eq!(publish(&store, &table, None).await, Published::Accepted);
        assert_eq!(read(&store).await, Some(table));
        assert_eq!(next(&mut notices).await, Notice::Changed(version(1, revision)));
    }
    let wrong = redis.url().replace("open-sesame", "hunter2");
    let store = RedisStore::new(&wrong).unwrap();
    let Err(error @ StoreError::Unavailable { .. }) = TableReader::head(&store).await else {
        panic!("let in with a wrong password")
    };
    let text = error.to_string();
    assert!(text.starts_with("Redis at 127.0.0.1:"), "{text}");
    assert!(text.to_lowercase().contains("password"), "{text}");
    for shown in [text, format!("{error:?}"), format!("{store:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn tls_to_a_server_that_has_none_is_an_error() {
    let (_store, redis) = fresh().await;
    let store = RedisStore::new(&redis.url().replace("redis://", "rediss://")).unwrap();
    assert!(matches!(TableReader::head(&store).await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn a_redis_that_is_down_is_told_soon_and_used_as_soon_as_it_is_up() {
    let mut redis = Redis::start().await.unwrap();
    redis.kill().unwrap();
    let store = RedisStore::new(&redis.url()).unwrap();
    let mut notices = store.notices();
    let began = Instant::now();
    for _ in 0..3 {
        let error = TableReader::head(&store).await.unwrap_err().to_string();
        assert!(error.starts_with("Redis at 127.0.0.1:") && error.contains("refused"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(15), "three refusals took {:?}", began.elapsed());
    redis.restart().await.unwrap();
    // The very next one, not the one after it.
    let table = table(version(1, 1), &[("a", 1)]);
    assert_eq!(publish(&store, &table, None).await, Published::Accepted);
    assert_eq!(next(&mut notices).await, Notice::Reconnected);
}

#[tokio::test]
async fn a_restart_between_two_commands_costs_none_of_them() {
    let (store, mut redis) = fresh().await;
    let mut before: Option<RoutingTable> = None;
    for revision in 1..=3 {
        let table = table(version(1, revision), &[("a", 1), ("b", revision as u32)]);
        assert_eq!(publish(&store, &table, before.as_ref()).await, Published::Accepted);
        assert_eq!(read(&store).await.as_ref(), Some(&table));
        redis.restart().await.unwrap();
        assert_eq!(read(&store).await, None, "a restart empties this Redis");
        redis.restart().await.unwrap();
        before = Some(table);
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_given_up_and_taken_back() {
    let (store, mut redis) = fresh().await;
    publish(&store, &table(version(1, 1), &[]), None).await;
    redis.process().pause().unwrap();
    let began = Instant::now();
    let outcome = TableReader::read(&store).await;
    let took = began.elapsed();
    redis.process().resume().unwrap();
    assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    assert!(took < Duration::from_secs(15), "took {took:?}");
    assert!(read(&store).await.is_some());
}

#[tokio::test]
async fn notices_come_to_every_listener_and_once_more_after_a_restart() {
    let (writer, mut redis) = fresh().await;
    let mut listeners = Vec::new();
    for _ in 0..2 {
        let mut notices = RedisStore::new(&redis.url()).unwrap().notices();
        assert_eq!(next(&mut notices).await, Notice::Reconnected);
        listeners.push(notices);
    }
    publish(&writer, &table(version(1, 1), &[]), None).await;
    for notices in &mut listeners {
        assert_eq!(next(notices).await, Notice::Changed(version(1, 1)));
    }
    redis.restart().await.unwrap();
    for notices in &mut listeners {
        assert_eq!(next(notices).await, Notice::Reconnected);
    }
    publish(&writer, &table(version(1, 2), &[]), None).await;
    for notices in &mut listeners {
        assert_eq!(next(notices).await, Notice::Changed(version(1, 2)));
    }
}

#[tokio::test]
async fn a_listener_that_is_slow_still_hears_of_the_last_table() {
    let (store, _redis) = fresh().await;
    let mut notices = store.notices();
    assert_eq!(next(&mut notices).await, Notice::Reconnected);
    for revision in 1..=200 {
        publish(&store, &table(version(1, revision), &[]), None).await;
    }
    let mut heard = 0;
    loop {
        heard += 1;
        match next(&mut notices).await {
            Notice::Changed(version) if version.revision == 200 => break,
            Notice::Changed(_) => {}
            Notice::Reconnected => panic!("no connection was lost"),
        }
    }
    assert!(heard < 200, "notices do not pile up");
}

#[tokio::test]
async fn a_subscription_whose_server_hangs_is_given_up() {
    let (store, mut redis) = fresh().await;
    let mut notices = store.notices();
    assert_eq!(next(&mut notices).await, Notice::Reconnected);
    // The system goes on acknowledging what is sent, so no error ever comes from below.
    redis.process().pause().unwrap();
    let lost = timeout(Duration::from_secs(10), notices.recv()).await;
    assert!(lost.is_err(), "{lost:?} from a server that hangs");
    redis.process().resume().unwrap();
    assert_eq!(next(&mut notices).await, Notice::Reconnected);
}

#[tokio::test]
async fn a_subscription_ends_with_its_receiver() {
    let (store, redis) = fresh().await;
    let mut notices = store.notices();
    assert_eq!(next(&mut notices).await, Notice::Reconnected);
    let subscribers = async || {
        let (_, count): (String, i64) = redis.command(&["PUBSUB", "NUMSUB", CHANNEL]).await?;
        anyhow::Ok(count)
    };
    assert_eq!(subscribers().await.unwrap(), 1);
    drop(notices);
    let gone = async || {
        let count = subscribers().await?;
        ensure!(count == 0, "{count} subscribers");
        Ok(())
    };
    eventually("the subscription ends", Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn both_sides_are_named_alike() {
    let store = RedisStore::new("redis://localhost").unwrap();
    assert_eq!((TableWriter::name(&store), TableReader::name(&store)), ("redis", "redis"));
}
