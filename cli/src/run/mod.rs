//! `aivonx run`: the whole gateway in one process.
//!
//! The fleet of the controller publishes to a memory store, the data plane reads from it, and nothing in between is
//! another than in a cluster.

mod announce;
mod demo;
mod files;
mod greeting;
mod ollama_host;
mod reload;
pub mod sources;
mod stage;

use crate::args::RunArgs;
use aivonx_controller::fleet::{Fleet, FleetSettings, Stores, Term};
use aivonx_dataplane::{Limits, TableSources};
use aivonx_process::admin::{self, Admin};
use aivonx_process::exit::Failure;
use aivonx_process::readiness::Readiness;
use aivonx_process::settings::SettingsError;
use aivonx_process::shutdown::Shutdown;
use aivonx_process::{build, telemetry};
use aivonx_state::store::memory::MemoryStore;
use demo::Demo;
use prometheus::Registry;
use reload::{Reloader, Watch};
use sources::{Nodes, Sources};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whoever runs alone leads.
const TERM: Term = Term { epoch: 1 };

/// Serves until it is told to end and the requests under way are finished.
///
/// # Errors
/// When a node, a file or an address cannot be used, or when a part of the gateway fails.
pub async fn run(args: &RunArgs, ollama_host: Option<&str>) -> Result<(), Failure> {
    let _telemetry = telemetry::init(&args.log, "aivonx")?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(Failure::runtime)?;

    let (sources, _demo) = sources(args, ollama_host).await?;
    // Before the first reading, so that no change falls between the two.
    let watch = Watch::start(sources.files());
    let (sources, nodes) = read(sources).await?;

    let registry = Registry::new();
    build::register_build_info(&registry, "aivonx").map_err(Failure::runtime)?;
    let readiness = Readiness::new();
    let admin_listener = admin::bind(args.admin_listen).await?;
    let admin_address = admin_listener.local_addr().map_err(Failure::runtime)?;
    let stop = CancellationToken::new();
    let store = MemoryStore::new();
    let config = aivonx_dataplane::Config { listen: args.listen, limits: Limits::DEFAULT };
    let tables = TableSources { primary: Arc::new(store.clone()), fallback: None };
    let dataplane = aivonx_dataplane::start(config, tables, &registry, readiness.clone(), shutdown)?;
    let fleet = start_fleet(store, &nodes, &registry, &stop)?;

    let listed: Vec<_> = nodes.values().collect();
    announce::say(&greeting::opening(&listed, dataplane.address, admin_address));
    let (declared, following) = watch::channel(Arc::new(nodes.clone()));
    let announcing = announce::until_ready(fleet.clone(), following, dataplane.address);
    tokio::spawn(stop.clone().run_until_cancelled_owned(announcing));
    if !sources.files().is_empty() {
        let reloader = Reloader::new(sources, nodes);
        let reloading = reload::follow(watch, reloader, fleet.clone(), declared);
        tokio::spawn(stop.clone().run_until_cancelled_owned(reloading));
    }
    let admin = Admin { readiness, registry };
    let administering = tokio::spawn(admin.serve(admin_listener, Default::default(), stop.clone()));

    // The fleet and the admin server go on for as long as requests are under way.
    let served = dataplane.done.await;
    stop.cancel();
    fleet.stopped().await;
    administering.await.map_err(Failure::runtime)?.map_err(Failure::runtime)?;
    served.map_err(Failure::runtime)
}

/// What the flags name, or the local Ollama if they name nothing; and the demo's nodes, which live as long as their owner.
async fn sources(args: &RunArgs, ollama_host: Option<&str>) -> Result<(Sources, Option<Demo>), Failure> {
    let mut sources = Sources::new(&args.nodes).map_err(SettingsError::from)?;
    let mut demo = None;
    if args.demo {
        let started = demo.insert(Demo::start().await?);
        for (name, url) in started.nodes() {
            sources.add_simulated(name, &url).map_err(SettingsError::from)?;
        }
    }
    if sources.is_empty() {
        sources.add_local_ollama(ollama_host).map_err(SettingsError::from)?;
    }
    Ok((sources, demo))
}

async fn read(sources: Sources) -> Result<(Sources, Nodes), Failure> {
    let reading = tokio::task::spawn_blocking(move || sources.read().map(|nodes| (sources, nodes)));
    let read = reading.await.map_err(Failure::runtime)?;
    read.map_err(|refused| SettingsError::from(refused).into())
}

fn start_fleet(
    store: MemoryStore,
    nodes: &Nodes,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<Fleet, Failure> {
    let stores = Stores { tables: vec![Arc::new(store)], history: None };
    // The sender may go: the last value stands.
    let (_, term) = watch::channel(Some(TERM));
    let fleet = Fleet::start(FleetSettings::default(), stores, term, stop.clone(), registry)
        .map_err(Failure::runtime)?;
    for node in nodes.values() {
        fleet.apply(node.clone());
    }
    fleet.listed();
    Ok(fleet)
}
