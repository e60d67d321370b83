//! From resources to the fleet, and from what it observes to status.
//!
//! Every replica keeps the watch and the fleet's list of nodes warm; only the leader writes. When leadership comes, all
//! objects are looked at again.

mod context;
mod error;
mod failures;
mod first_list;
mod metrics;
pub mod node;
mod roster;
mod watch;
mod written;

pub use context::Context;
pub use error::ReconcileError;
pub use metrics::ReconcileMetrics;

use aivonx_state::NodeId;
use futures::{Stream, StreamExt as _, stream};
use kube::Api;
use kube::ResourceExt as _;
use kube::runtime::controller::{Action, Controller, Error as ControllerError};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{Config, watcher};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use watch::Guarded;

/// Reconciles at once. Each waits on the API server at most.
const CONCURRENCY: u16 = 16;

/// Reconciles all nodes of a namespace, or of all, until `shutdown`.
pub async fn run(context: Arc<Context>, namespace: Option<&str>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let api: Api<Guarded> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let (reader, writer) = store();
    let changes = changes(&context, reader.clone());
    let all = stream::select(terms(&context), lists(Arc::clone(&context)));
    let nodes = watch::nodes(api, writer, Arc::clone(&context));
    Controller::for_stream(nodes, reader)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(changes)
        .reconcile_all_on(all)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(node::reconcile, retry, Arc::clone(&context))
        .for_each(|outcome| {
            took(&context, outcome);
            std::future::ready(())
        })
        .await;
}

/// The nodes of which the fleet has news.
fn changes(
    context: &Context,
    all: Store<Guarded>,
) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    stream::unfold((context.fleet.changes(), all), |(mut changes, all)| async move {
        let named = match changes.recv().await {
            Ok(id) => vec![ObjectRef::new(id.name()).within(id.namespace())],
            Err(RecvError::Lagged(_)) => {
                all.state().iter().map(|node| ObjectRef::from_obj(node.as_ref())).collect()
            }
            Err(RecvError::Closed) => return None,
        };
        Some((stream::iter(named), (changes, all)))
    })
    .flatten()
}

/// The beginnings of this process's terms.
fn terms(context: &Context) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(context.leadership.term(), |mut term| async move {
        loop {
            term.changed().await.ok()?;
            if term.borrow_and_update().is_some() {
                return Some(((), term));
            }
        }
    })
}

/// Complete lists of the watch. Objects that it shows before the list is complete are not in the cache yet.
fn lists(context: Arc<Context>) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(context, |context| async move {
        context.listed.notified().await;
        Some(((), context))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the controller calls")]
fn retry(guarded: Arc<Guarded>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let id = NodeId::new(&guarded.namespace().unwrap_or_default(), &guarded.name_any());
    let category = error.category();
    context.metrics.failed(category);
    let pause = context.failures.failed(&id);
    match category {
        // Deleted, or written by another leader meanwhile: the watch or the next look tells.
        "not_found" | "conflict" => debug!(node = %id, %error, ?pause, "reconciling failed; trying again"),
        _ => warn!(node = %id, %error, ?pause, "reconciling failed; trying again"),
    }
    Action::requeue(pause)
}

fn took(
    context: &Context,
    outcome: Result<(ObjectRef<Guarded>, Action), ControllerError<ReconcileError, watcher::Error>>,
) {
    match outcome {
        Ok((object, _)) => {
            context.metrics.reconciled();
            context
                .failures
                .clear(&NodeId::new(object.namespace.as_deref().unwrap_or_default(), &object.name));
        }
        // A node that the fleet has news of was just deleted; failed reconciles are told by `retry`.
        Err(ControllerError::ObjectNotFound(_) | ControllerError::ReconcilerFailed(..)) => {}
        Err(error) => warn!(%error, "the controller's queue failed"),
    }
}
