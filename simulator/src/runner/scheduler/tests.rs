//! Under paused time: a second costs nothing and nothing depends on how fast the machine is.

use super::super::residency::RunnerOptions;
use super::*;
use crate::config::Model;
use crate::faults::Fault;

struct Bench {
    scheduler: Scheduler,
    faults: Faults,
    changed: Changed,
    _loops: tokio::task::JoinHandle<((), ())>,
}

fn bench(edit: impl FnOnce(&mut Limits)) -> Bench {
    let mut limits = Limits {
        slots: 1,
        max_loaded: 2,
        vram: None,
        max_queue: 512,
        keep_alive: KeepAlive::DEFAULT,
        num_ctx: 4096,
        load_time: Duration::from_secs(10),
    };
    edit(&mut limits);
    let changed = Changed::new();
    let faults = Faults::new(changed.clone());
    let (scheduler, loops) = Scheduler::new(limits, faults.clone(), changed.clone());
    let _loops = tokio::spawn(async move {
        loops.run().await;
        ((), ())
    });
    Bench { scheduler, faults, changed, _loops }
}

fn ask(name: &str) -> Ask {
    Ask {
        model: Arc::new(Model::completion(name)),
        digest: name.to_owned(),
        shown: format!("{name}:latest"),
        options: RunnerOptions::default(),
        keep_alive: None,
        path: "/api/chat".to_owned(),
    }
}

fn kept(name: &str, keep_alive: KeepAlive) -> Ask {
    Ask { keep_alive: Some(keep_alive), ..ask(name) }
}

fn secs(secs: u64) -> KeepAlive {
    KeepAlive::For(Duration::from_secs(secs))
}

impl Bench {
    async fn get(&self, ask: Ask) -> Lease {
        self.scheduler.acquire(ask).await.unwrap()
    }

    fn loaded(&self) -> Vec<String> {
        self.scheduler.loaded().into_iter().map(|model| model.digest).collect()
    }

    async fn until(&self, holds: impl Fn(&Scheduler) -> bool) {
        self.changed.until(|| holds(&self.scheduler)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_takes_its_time_and_is_not_listed_before() {
    let bench = bench(|_| {});
    let started = Instant::now();
    let mut getting = Box::pin(bench.scheduler.acquire(ask("a")));
    tokio::select! {
        biased;
        _ = &mut getting => panic!("no load takes no time"),
        () = bench.until(|s| s.load_of("a").loading) => {}
    }
    assert!(bench.loaded().is_empty());
    assert_eq!(bench.scheduler.load_of("a").queued, 1);
    let lease = getting.await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(bench.loaded(), ["a"]);
    drop(lease);
    let _again = bench.get(ask("a")).await;
    assert_eq!(started.elapsed(), Duration::from_secs(10), "a loaded model is there at once");
    assert_eq!(bench.scheduler.totals().loads, 1);
}

#[tokio::test(start_paused = true)]
async fn idle_models_leave_after_their_keep_alive() {
    let bench = bench(|_| {});
    drop(bench.get(kept("a", secs(60))).await);
    drop(bench.get(kept("b", KeepAlive::Forever)).await);
    let idle_since = Instant::now();
    bench.until(|s| !s.load_of("a").loaded).await;
    // "a" was idle since before "b" was loaded.
    assert!(idle_since.elapsed() <= Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(bench.loaded(), ["b"]);
    drop(bench.get(kept("b", KeepAlive::For(Duration::ZERO))).await);
    assert!(bench.loaded().is_empty());
    assert_eq!(bench.scheduler.totals().unloads, 2);
}

#[tokio::test(start_paused = true)]
async fn use_puts_the_end_off_and_keep_alive_sticks() {
    let bench = bench(|_| {});
    drop(bench.get(kept("a", secs(60))).await);
    tokio::time::sleep(Duration::from_secs(50)).await;
    let lease = bench.get(ask("a")).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(bench.loaded(), ["a"], "busy models stay");
    drop(lease);
    let idle_since = Instant::now();
    bench.until(|s| !s.load_of("a").loaded).await;
    assert_eq!(idle_since.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn unload_waits_for_the_last_user() {
    let bench = bench(|_| {});
    let (one, two) = (bench.get(ask("a")).await, bench.get(ask("a")).await);
    bench.scheduler.unload("a");
    drop(one);
    assert_eq!(bench.loaded(), ["a"]);
    drop(two);
    assert!(bench.loaded().is_empty());
    bench.scheduler.unload("nothing");
}

#[tokio::test(start_paused = true)]
async fn slots_are_first_come_first_served() {
    let bench = bench(|limits| limits.slots = 2);
    let lease = bench.get(ask("a")).await;
    let (one, _two) = (lease.slot().await.unwrap(), lease.slot().await.unwrap());
    let mut third = Box::pin(lease.slot());
    let mut fourth = Box::pin(lease.slot());
    tokio::select! {
        biased;
        _ = &mut third => panic!("no free slot"),
        _ = &mut fourth => panic!("no free slot"),
        () = bench.until(|s| s.load_of("a").queued == 2) => {}
    }
    let load = bench.scheduler.load_of("a");
    assert_eq!((load.slots, load.in_flight, load.queued), (2, 2, 2));
    drop(one);
    let third = third.await.unwrap();
    let stays = tokio::time::timeout(Duration::from_secs(1), &mut fourth).await;
    assert!(stays.is_err(), "the fourth overtook nobody");
    drop(fourth);
    drop(third);
    let load = bench.scheduler.load_of("a");
    assert_eq!((load.in_flight, load.queued), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_idle_one_of_the_shortest_keep_alive_is_evicted() {
    let bench = bench(|_| {});
    drop(bench.get(kept("long", secs(5000))).await);
    drop(bench.get(kept("short", secs(1000))).await);
    drop(bench.get(ask("new")).await);
    assert_eq!(bench.loaded(), ["long", "new"]);
    assert_eq!(bench.scheduler.totals().evictions, 1);
}

#[tokio::test(start_paused = true)]
async fn vram_evicts_too() {
    let size = Model::completion("x").size;
    let bench = bench(|limits| limits.vram = Some(size + 1));
    drop(bench.get(ask("a")).await);
    drop(bench.get(ask("b")).await);
    assert_eq!(bench.loaded(), ["b"]);
    assert_eq!(bench.scheduler.loaded()[0].size_vram, size);
}

#[tokio::test(start_paused = true)]
async fn a_busy_node_makes_the_next_load_wait_and_everybody_behind_it() {
    let bench = bench(|limits| limits.max_loaded = 1);
    let busy = bench.get(ask("a")).await;
    let mut second = Box::pin(bench.scheduler.acquire(ask("b")));
    let mut third = Box::pin(bench.scheduler.acquire(ask("c")));
    tokio::select! {
        biased;
        _ = &mut second => panic!("no room"),
        _ = &mut third => panic!("no room"),
        () = bench.until(|s| s.totals().evictions == 1 && s.load_of("c").queued == 1) => {}
    }
    // The busy model still takes requests: steady traffic starves the load.
    let more = bench.get(ask("a")).await;
    drop(busy);
    assert_eq!(bench.loaded(), ["a"]);
    drop(more);
    let second = second.await.unwrap();
    assert_eq!(bench.loaded(), ["b"]);
    drop(second);
    drop(third.await.unwrap());
    assert_eq!(bench.loaded(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn another_num_ctx_reloads() {
    let bench = bench(|_| {});
    let with_ctx = |num_ctx| {
        let mut ask = ask("a");
        ask.options.num_ctx = num_ctx;
        ask
    };
    drop(bench.get(with_ctx(None)).await);
    drop(bench.get(with_ctx(Some(8192))).await);
    assert_eq!(bench.scheduler.load_of("a").num_ctx, Some(8192));
    drop(bench.get(with_ctx(None)).await);
    let totals = bench.scheduler.totals();
    assert_eq!((totals.loads, totals.reloads, totals.unloads), (3, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_aborts_his_load_and_only_his() {
    let bench = bench(|limits| limits.load_time = Duration::from_secs(1_000_000));
    let mut first = Box::pin(bench.scheduler.acquire(ask("a")));
    tokio::select! {
        biased;
        _ = &mut first => panic!("loads take long"),
        () = bench.until(|s| s.load_of("a").loading) => {}
    }
    drop(first);
    bench.until(|s| s.totals().loads_aborted == 1).await;
    assert!(bench.loaded().is_empty());
    let load = bench.scheduler.load_of("a");
    assert_eq!((load.loading, load.queued), (false, 0));
    drop(bench.get(ask("b")).await);
    assert_eq!(bench.loaded(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_load_queue_refuses() {
    let bench = bench(|limits| limits.max_queue = 1);
    bench.faults.add(Fault::stall_load());
    let mut first = Box::pin(bench.scheduler.acquire(ask("a")));
    tokio::select! {
        biased;
        _ = &mut first => panic!("stalled"),
        () = bench.until(|s| s.load_of("a").loading) => {}
    }
    let mut second = Box::pin(bench.scheduler.acquire(ask("b")));
    tokio::select! {
        biased;
        _ = &mut second => panic!("behind the first"),
        () = bench.until(|s| s.load_of("b").queued == 1) => {}
    }
    assert_eq!(bench.scheduler.acquire(ask("c")).await.unwrap_err(), Refusal::Busy);
    bench.faults.clear();
    drop((first.await.unwrap(), second.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn loads_fail_as_often_as_told() {
    let bench = bench(|_| {});
    bench.faults.add(Fault::fail_load().times(1).on("/api"));
    let refused = bench.scheduler.acquire(ask("a")).await.unwrap_err();
    assert_eq!(refused, Refusal::LoadFailed(LOAD_FAILED.to_owned()));
    drop(bench.get(ask("a")).await);
    let totals = bench.scheduler.totals();
    assert_eq!((totals.loads, totals.loads_failed), (2, 1));
}
