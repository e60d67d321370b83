//! The life of the controller: check the settings, connect lazily, run, drain.
//!
//! Nothing here waits for a store or for the API server: each part tries on its own and says so. The process is ready
//! when it runs.

use crate::fleet::Stores;
use crate::migrate;
use crate::running::Running;
use crate::settings::Settings;
use aivonx_process::admin::{self, Admin};
use aivonx_process::build;
use aivonx_process::exit::Failure;
use aivonx_process::readiness::Readiness;
use aivonx_process::settings::SettingsError;
use aivonx_process::shutdown::Shutdown;
use aivonx_state::store::postgres::PostgresStore;
use aivonx_state::store::redis::RedisStore;
use aivonx_state::{StoreError, TableWriter};
use kube::Config;
use prometheus::Registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Runs the controller until it is told to stop by a signal.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let kube = Config::infer().await.map_err(no_cluster)?;
    let postgres = PostgresStore::new(settings.database.expose())
        .map_err(|error| wrong("AIVONX_DATABASE_URL", &error))?;
    let stores = stores(&settings, &postgres)?;
    let listener = admin::bind(settings.admin_listen).await?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(Failure::runtime)?;
    info!(
        redis = %settings.redis,
        database = %settings.database,
        namespace = settings.cluster.namespace.as_deref().unwrap_or("all"),
        lease = settings.cluster.lease.name,
        identity = settings.cluster.lease.identity,
        "the controller starts"
    );

    let registry = Registry::new();
    build::register_build_info(&registry, "controller").map_err(Failure::runtime)?;
    let admin = Admin { readiness: Readiness::new(), registry: registry.clone() };
    let (readiness, stop) = (admin.readiness.clone(), CancellationToken::new());
    let serving = tokio::spawn(admin.serve(listener, axum::Router::new(), stop.clone()));
    let migrating = tokio::spawn(migrate::until_done(postgres, stop.clone()));
    let mut running = Running::start(kube, stores, &settings.cluster, &registry)?;

    tokio::select! {
        () = shutdown.drain.cancelled() => {}
        what = running.broken() => return Err(Failure::runtime(format!("{what} has ended unexpectedly"))),
    }
    readiness.close("draining");
    if shutdown.force.run_until_cancelled(running.stop()).await.is_none() {
        warn!("ended before everything was drained");
    }
    stop.cancel();
    drop(tokio::join!(serving, migrating));
    Ok(())
}

/// Redis first: what it has taken counts as published.
fn stores(settings: &Settings, postgres: &PostgresStore) -> Result<Stores, SettingsError> {
    let redis =
        RedisStore::new(settings.redis.expose()).map_err(|error| wrong("AIVONX_REDIS_URL", &error))?;
    let tables: Vec<Arc<dyn TableWriter>> = vec![Arc::new(redis), Arc::new(postgres.clone())];
    Ok(Stores { tables, history: Some(Arc::new(postgres.clone())) })
}

fn wrong(setting: &'static str, error: &StoreError) -> SettingsError {
    SettingsError::new(setting, format!("{setting}: {error}"))
}

fn no_cluster(error: kube::config::InferConfigError) -> SettingsError {
    let sentence = format!(
        "no Kubernetes API server is configured: run in a pod, or set KUBECONFIG to a file that names one ({error})"
    );
    SettingsError::new("KUBECONFIG", sentence)
}
