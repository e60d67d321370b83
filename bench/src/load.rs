//! The load of one slice of time: many clients on one proxy, and what they and the kernel count in the window.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Request};
use crate::procfs::{self, Core, Threads};
use crate::work::Slice;

/// What to do in a slice.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where the requests go.
    pub target: SocketAddr,
    /// The text that each answer must hold.
    pub nonce: String,
    /// Clients at once, each with one request at a time.
    pub clients: u64,
    /// Lines of a stream; 0 for answers in one piece.
    pub lines: u64,
    /// Time before the window, in which the clients begin one by one.
    pub warm_up: Duration,
    /// Time in which everything counts.
    pub window: Duration,
    /// Process id of the proxy.
    pub proxy: u32,
    /// The core of the proxy, and that of node and load.
    pub cores: [usize; 2],
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    lines: AtomicU64,
    reads: AtomicU64,
}

/// All that is looked at when the window opens and when it closes.
struct Look {
    at: Instant,
    counts: [u64; 3],
    threads: Threads,
    cores: [Core; 2],
}

/// Loads the proxy and gives what was counted. Any request that goes wrong is an error.
pub async fn run(plan: Plan) -> Result<Slice> {
    let plan = Arc::new(plan);
    let counters = Arc::new(Counters::default());
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        clients.spawn(client(number, plan.clone(), counters.clone()));
    }
    let window = async {
        sleep(plan.warm_up).await;
        let before = Look::take(&plan, &counters)?;
        sleep(plan.window).await;
        Ok(Look::take(&plan, &counters)?.since(&before))
    };
    tokio::select! {
        slice = window => slice,
        Some(ended) = clients.join_next() => match ended.context("a client")? {
            Err(error) => Err(error),
            Ok(()) => bail!("a client ended"),
        },
    }
}

async fn client(number: u64, plan: Arc<Plan>, counters: Arc<Counters>) -> Result<()> {
    // They begin one after the other and, with streams, end their first one at different times.
    let part = (number + 1) as f64 / plan.clients as f64;
    sleep(plan.warm_up.mul_f64(part / 2.0)).await;
    let mut client = Client::connect(plan.target).await?;
    let mut request = match plan.lines {
        0 => Request::new(0),
        lines => Request::new(((lines as f64 * part) as u64).max(2)),
    };
    loop {
        let seen = |lines| {
            counters.lines.fetch_add(lines, Relaxed);
            counters.reads.fetch_add(u64::from(lines > 0), Relaxed);
        };
        client.ask(&request, &plan.nonce, seen).await?;
        counters.requests.fetch_add(1, Relaxed);
        if request.lines != plan.lines {
            request = Request::new(plan.lines);
        }
    }
}

impl Look {
    fn take(plan: &Plan, counters: &Counters) -> Result<Look> {
        Ok(Look {
            at: Instant::now(),
            counts: [&counters.requests, &counters.lines, &counters.reads].map(|count| count.load(Relaxed)),
            threads: procfs::threads(plan.proxy)?,
            cores: [Core::read(plan.cores[0])?, Core::read(plan.cores[1])?],
        })
    }

    fn since(&self, before: &Look) -> Slice {
        let [requests, lines, reads] = [0, 1, 2].map(|place| self.counts[place] - before.counts[place]);
        let [proxy_core, load_core] = [0, 1].map(|place| self.cores[place].busy_since(&before.cores[place]));
        let stolen = [0, 1].map(|place| self.cores[place].stolen_since(&before.cores[place]));
        Slice {
            seconds: self.at.duration_since(before.at).as_secs_f64(),
            requests,
            answered: self.counts[0],
            lines,
            reads,
            proxy_ns: procfs::spent(&before.threads, &self.threads),
            proxy_core,
            load_core,
            stolen: stolen[0].max(stolen[1]),
        }
    }
}
