//! The life of the data plane: as a program, and inside another one.

use crate::attempt::Connectors;
use crate::ending::Ending;
use crate::health::Rechecks;
use crate::metrics::Metrics;
use crate::request::Gateway;
use crate::server;
use crate::settings::{Limits, Settings};
use crate::table::{Current, Follower, Surroundings, TableSources};
use aivonx_process::admin::{self, Admin};
use aivonx_process::build;
use aivonx_process::exit::Failure;
use aivonx_process::readiness::Readiness;
use aivonx_process::settings::SettingsError;
use aivonx_process::shutdown::Shutdown;
use aivonx_state::StoreError;
use aivonx_state::store::postgres::PostgresStore;
use aivonx_state::store::redis::RedisStore;
use prometheus::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a data plane is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address that clients send their requests to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it takes on.
    pub limits: Limits,
}

/// A data plane that serves.
#[derive(Debug)]
pub struct Running {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// Ends after the drain.
    pub done: JoinHandle<()>,
}

/// Why a data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] SettingsError),
    /// The registry already holds a metric of the same name.
    #[error("the metrics of the data plane cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen(error) => error.into(),
            error @ StartError::Metrics(_) => Self::runtime(error),
        }
    }
}

/// Starts a data plane in this process. It accepts at once, is ready with its first table, and ends with `shutdown`.
///
/// Must be called within a tokio runtime, after [`aivonx_process::tls::install_crypto_provider`].
///
/// # Errors
/// When the address cannot be listened on, or when the registry holds the same metrics already.
pub fn start(
    config: Config,
    sources: TableSources,
    registry: &Registry,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<Running, StartError> {
    let listener = server::bind(config.listen)?;
    let address = listener.local_addr().unwrap_or(config.listen);
    let metrics = Metrics::new(registry)?;
    let (current, ending, stop) = (Arc::<Current>::default(), Ending::default(), CancellationToken::new());
    let surroundings = Surroundings {
        connectors: Connectors::new(),
        rechecks: Rechecks::new(stop.clone()),
        metrics: metrics.clone(),
    };
    let blocker = readiness.blocker("routing table");
    let follower = Follower::new(sources, current.clone(), surroundings, blocker);
    let gateway = Arc::new(Gateway::new(config.limits, current, metrics, ending.clone()));
    tracing::info!(%address, "listening");
    let done = tokio::spawn(async move {
        // The table is followed to the very end: requests under way may still need another node.
        tokio::select! {
            () = follower.run() => {}
            () = server::serve(listener, gateway, readiness, shutdown, ending) => {}
        }
        stop.cancel();
    });
    Ok(Running { address, done })
}

/// Runs the program until it is told to end.
///
/// # Errors
/// When a setting is missing or wrong, or when the admin server fails.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    // Nothing is sealed yet that this key would open; a data plane without it must not come up and fail later.
    drop(settings.secret_key.load()?);
    let sources = sources(&settings)?;
    let registry = Registry::new();
    build::register_build_info(&registry, "dataplane").map_err(Failure::runtime)?;
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let admin_listener = admin::bind(settings.admin.admin_listen).await?;
    shutdown.on_signals().map_err(Failure::runtime)?;
    let config = Config { listen: settings.listen, limits: settings.limits };
    let running = start(config, sources, &registry, readiness.clone(), shutdown)?;
    let admin_stop = CancellationToken::new();
    let admin = Admin { readiness, registry };
    let serving = tokio::spawn(admin.serve(admin_listener, axum::Router::new(), admin_stop.clone()));
    let ended = running.done.await;
    admin_stop.cancel();
    serving.await.map_err(Failure::runtime)?.map_err(Failure::runtime)?;
    ended.map_err(Failure::runtime)
}

fn sources(settings: &Settings) -> Result<TableSources, SettingsError> {
    let redis = settings.stores.redis_url()?;
    let postgres = settings.stores.database_url()?;
    let wrong = |setting: &'static str| {
        move |error: StoreError| SettingsError::new(setting, format!("{setting} cannot be used: {error}"))
    };
    Ok(TableSources {
        primary: Arc::new(RedisStore::new(redis.expose()).map_err(wrong("AIVONX_REDIS_URL"))?),
        fallback: Some(Arc::new(
            PostgresStore::new(postgres.expose()).map_err(wrong("AIVONX_DATABASE_URL"))?,
        )),
    })
}
