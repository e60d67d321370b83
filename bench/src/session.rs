//! A session: both proxies stand side by side, and slices of time go to them in turn.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aivonx_tests::process::run;
use aivonx_tests::{Redis, programs, tools};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::latency::{self, Added};
use crate::load;
use crate::parts::{self, Server, on_core};
use crate::procfs::{cpu_pressure, first_line};
use crate::report::progress;
use crate::work::{Measured, Round, Slice, Work};

/// The core of the proxies, and that of everything else.
const CORES: [usize; 2] = [0, 1];
/// Time between two lines of a stream.
const PACE: Duration = Duration::from_millis(10);
/// Between two slices, for connections to close and logs to be written.
const PAUSE: Duration = Duration::from_millis(150);

/// Settings of a session.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Settings {
    /// Rounds; each is a slice of nginx, one of the data plane, and one of nginx again
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Length of a slice without its warm-up, and a third of that of the comparison of latencies, in milliseconds
    #[arg(long, default_value_t = 2000)]
    pub window: u64,
    /// Clients at once that ask for answers in one piece
    #[arg(long, default_value_t = 32)]
    pub clients: u64,
    /// Clients at once that read streams, of a line every 10 ms
    #[arg(long, default_value_t = 256)]
    pub streams: u64,
    /// Lines of a stream
    #[arg(long, default_value_t = 256)]
    pub lines: u64,
    /// Folder of the results
    #[arg(long, default_value = "bench/results")]
    #[serde(skip)]
    pub results: PathBuf,
}

/// What a session found.
#[derive(Debug, Serialize)]
pub struct Session {
    /// When it ended.
    pub at: jiff::Timestamp,
    /// How it was done.
    pub settings: Settings,
    /// Where.
    pub machine: Machine,
    /// CPU time for an answer in one piece.
    pub request: Work,
    /// CPU time for a line of a stream.
    pub line: Work,
    /// What nginx, nginx again and the data plane add to the latency of a request.
    pub added_latency_us: [Added; 3],
}

/// The machine, and what else it was doing.
#[derive(Debug, Default, Serialize)]
pub struct Machine {
    /// The release of the kernel.
    pub kernel: String,
    /// How TCP paces itself.
    pub congestion_control: String,
    /// Whether new connections begin with what the kernel learned from old ones.
    pub metrics_kept: bool,
    /// What nginx says of its version.
    pub nginx: String,
    /// What the data plane says of its version.
    pub dataplane: String,
    /// The core of the proxies, and that of node and load.
    pub cores: [usize; 2],
    /// Load averages at the beginning and at the end.
    pub loadavg: [String; 2],
    /// CPU pressure, `some avg10`, before the first slice: what strangers cause.
    pub pressure_before: Option<f64>,
    /// The highest after any slice. Node and load wait for each other, so it is never low.
    pub pressure_highest: Option<f64>,
}

/// Starts everything, measures, and ends everything.
pub async fn measure(settings: Settings) -> Result<Session> {
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "proxy and load need a core each: this needs two"
    );
    let mut machine = Machine::look()?;
    parts::settle(CORES[1])?;
    let folder = tempfile::Builder::new().prefix("aivonx-bench-").tempdir()?;
    let redis = Redis::start().await?;
    let mut bench = Bench::start(settings, folder.path(), &redis).await?;
    let request = bench.work(bench.settings.clients, 0, Duration::from_millis(300)).await?;
    let line = bench.work(bench.settings.streams, bench.settings.lines, Duration::from_millis(800)).await?;
    let added_latency_us = bench.latency()?;
    machine.loadavg[1] = first_line("/proc/loadavg");
    machine.pressure_highest = bench.pressure;
    Ok(Session {
        at: jiff::Timestamp::now(),
        settings: bench.settings,
        machine,
        request,
        line,
        added_latency_us,
    })
}

impl Machine {
    fn look() -> Result<Machine> {
        Ok(Machine {
            kernel: first_line("/proc/sys/kernel/osrelease"),
            congestion_control: first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
            metrics_kept: first_line("/proc/sys/net/ipv4/tcp_no_metrics_save") != "1",
            nginx: version(Command::new(tools::path("nginx")?).arg("-v"))?,
            dataplane: version(Command::new(programs::path("aivonx-dataplane")?).arg("--version"))?,
            cores: CORES,
            loadavg: [first_line("/proc/loadavg"), String::new()],
            pressure_before: cpu_pressure(),
            pressure_highest: None,
        })
    }
}

struct Bench {
    settings: Settings,
    program: PathBuf,
    nonce: String,
    node: Server,
    nginx: Server,
    aivonx: Server,
    pressure: Option<f64>,
}

impl Bench {
    async fn start(settings: Settings, folder: &Path, redis: &Redis) -> Result<Bench> {
        let program = std::env::current_exe()?;
        let nonce = format!("{:032x}", rand::random::<u128>());
        let node = parts::mock(&program, folder, CORES[1], &nonce, PACE).await?;
        let nginx = parts::nginx(folder, CORES[0], node.address).await?;
        let aivonx = parts::dataplane(folder, CORES[0], node.address, redis).await?;
        Ok(Bench { settings, program, nonce, node, nginx, aivonx, pressure: None })
    }

    async fn work(&mut self, clients: u64, lines: u64, warm_up: Duration) -> Result<Work> {
        let unit = if lines > 0 { "line" } else { "request" };
        let mut rounds = Vec::new();
        for number in 1..=self.settings.rounds {
            progress(&format!("{unit}s, round {number} of {}", self.settings.rounds));
            let mut slices = [Measured::default(); 3];
            for (slice, proxy) in slices.iter_mut().zip([&self.nginx, &self.aivonx, &self.nginx]) {
                *slice = self.slice(proxy, clients, lines, warm_up).await?;
                self.pressure = cpu_pressure().into_iter().chain(self.pressure).reduce(f64::max);
            }
            let [before, aivonx, after] = slices;
            rounds.push(Round { nginx: [before, after], aivonx });
        }
        Ok(Work::of(unit, clients, rounds))
    }

    async fn slice(&self, proxy: &Server, clients: u64, lines: u64, warm_up: Duration) -> Result<Measured> {
        proxy.drain_log()?;
        let plan = load::Plan {
            target: proxy.address,
            nonce: self.nonce.clone(),
            clients,
            lines,
            warm_up,
            window: Duration::from_millis(self.settings.window),
            proxy: proxy.process.id(),
            cores: CORES,
        };
        let slice: Slice = self.generate("load", &plan).with_context(|| proxy.process.log_tail())?;
        sleep(PAUSE).await;
        let units = if lines > 0 { slice.lines } else { slice.requests };
        ensure!(units > 0, "nothing came through {} in {} s", proxy.address, slice.seconds);
        Ok(Measured::of(slice, units, proxy.drain_log()?))
    }

    fn latency(&self) -> Result<[Added; 3]> {
        progress("latency");
        let targets = [&self.node, &self.nginx, &self.nginx, &self.aivonx].map(|server| server.address);
        let window = Duration::from_millis(3 * self.settings.window);
        self.generate(
            "latency",
            &latency::Plan { targets: targets.into(), nonce: self.nonce.clone(), window },
        )
    }

    /// Runs this program in another role beside the node, and gives what it found.
    fn generate<T: DeserializeOwned>(&self, role: &str, plan: &impl Serialize) -> Result<T> {
        let mut command = on_core(CORES[1], &self.program);
        Ok(serde_json::from_str(&run(command.arg(role).arg(serde_json::to_string(plan)?))?)?)
    }
}

/// The first line that a program says of itself, on either output.
fn version(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
