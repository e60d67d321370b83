//! `aivonx-simulator`: one simulated Ollama node as a program. The first line on stdout says where it listens;
//! logs go to stderr. Faults are set over HTTP, below `/_sim/`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use aivonx_simulator::{Config, KeepAlive, Model, Simulator};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for an Ollama server: its routes and shapes, slots, load times, VRAM, eviction, and faults on demand.
#[derive(Debug, Parser)]
#[command(name = "aivonx-simulator", version)]
struct Args {
    /// Where to listen; port 0 picks a free one
    #[arg(long, env = "AIVONX_SIM_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The node's name, sent as x-sim-node
    #[arg(long, env = "AIVONX_SIM_NAME", default_value = "sim")]
    name: String,
    /// A model that generates; may be repeated, or separated by commas
    #[arg(long = "model", env = "AIVONX_SIM_MODEL", value_delimiter = ',', default_value = "llama3.2")]
    models: Vec<String>,
    /// A model that embeds; may be repeated, or separated by commas
    #[arg(long = "embedding-model", env = "AIVONX_SIM_EMBEDDING_MODEL", value_delimiter = ',')]
    embedding_models: Vec<String>,
    /// The version it tells
    #[arg(long, env = "AIVONX_SIM_OLLAMA_VERSION", default_value = "0.32.15")]
    ollama_version: String,
    /// Requests a loaded model serves at once (OLLAMA_NUM_PARALLEL)
    #[arg(long, env = "AIVONX_SIM_SLOTS", default_value_t = 1)]
    slots: usize,
    /// Models loaded at once (OLLAMA_MAX_LOADED_MODELS)
    #[arg(long, env = "AIVONX_SIM_MAX_LOADED", default_value_t = 3)]
    max_loaded: usize,
    /// Bytes of VRAM; without it everything fits
    #[arg(long, env = "AIVONX_SIM_VRAM")]
    vram: Option<u64>,
    /// Requests that may wait for a load (OLLAMA_MAX_QUEUE)
    #[arg(long, env = "AIVONX_SIM_MAX_QUEUE", default_value_t = 512)]
    max_queue: usize,
    /// How long an idle model stays (OLLAMA_KEEP_ALIVE): 5m, 0, -1
    #[arg(long, env = "AIVONX_SIM_KEEP_ALIVE", default_value = "5m", allow_hyphen_values = true)]
    keep_alive: KeepAlive,
    /// Default context length (OLLAMA_CONTEXT_LENGTH)
    #[arg(long, env = "AIVONX_SIM_NUM_CTX", default_value_t = 4096)]
    num_ctx: u64,
    /// How long a load takes
    #[arg(long, env = "AIVONX_SIM_LOAD_TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    load_time: Duration,
    /// Time for each prompt token that is not in the cache
    #[arg(long, env = "AIVONX_SIM_PROMPT_TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    prompt_time_per_token: Duration,
    /// Generation speed; 0 is as fast as it goes
    #[arg(long, env = "AIVONX_SIM_TOKENS_PER_SECOND", default_value_t = 0.0, value_parser = speed)]
    tokens_per_second: f64,
    /// Tokens of a reply that num_predict does not cut short
    #[arg(long, env = "AIVONX_SIM_REPLY_TOKENS", default_value_t = 32)]
    reply_tokens: u64,
    /// What to log, as in RUST_LOG
    #[arg(long, env = "AIVONX_SIM_LOG", default_value = "warn")]
    log: tracing_subscriber::EnvFilter,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed >= 0.0 => Ok(speed),
        _ => Err("a number of tokens a second, zero or more".to_owned()),
    }
}

impl Args {
    fn config(self) -> (Config, tracing_subscriber::EnvFilter) {
        let embedding = self.embedding_models.into_iter().map(Model::embedding);
        let models = self.models.into_iter().map(Model::completion).chain(embedding);
        let config = Config {
            listen: self.listen,
            node: self.name,
            version: self.ollama_version,
            models: models.filter(|model| !model.name.is_empty()).collect(),
            slots: self.slots,
            max_loaded: self.max_loaded,
            vram: self.vram,
            max_queue: self.max_queue,
            keep_alive: self.keep_alive,
            num_ctx: self.num_ctx,
            load_time: self.load_time,
            prompt_time_per_token: self.prompt_time_per_token,
            tokens_per_second: self.tokens_per_second,
            reply_tokens: self.reply_tokens,
            ..Config::default()
        };
        (config, self.log)
    }
}

fn main() -> ExitCode {
    let (config, log) = Args::parse().config();
    tracing_subscriber::fmt().with_env_filter(log).with_writer(io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed(&problem),
    }
}

async fn run(config: Config) -> Result<(), String> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| format!("cannot wait for SIGTERM: {error}"))?;
    let simulator = Simulator::start(config).await.map_err(|error| error.to_string())?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", simulator.url())
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot write to stdout: {error}"))?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| format!("cannot wait for SIGINT: {error}"))?;
        }
    }
    simulator.shutdown().await;
    Ok(())
}

fn failed(problem: &str) -> ExitCode {
    // Nothing is left to be told when stderr is gone too.
    let _ = writeln!(io::stderr(), "aivonx-simulator: {problem}");
    ExitCode::FAILURE
}
