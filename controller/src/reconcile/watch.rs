//! The watch of the nodes: survives the API server, and tells the fleet what went away.

use super::context::Context;
use aivonx_crds::OllamaNode;
use aivonx_process::backoff::Backoff;
use futures::{Stream, StreamExt as _};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::Backoff as RuntimeBackoff;
use kube::runtime::{Predicate, WatchStreamExt as _, predicates, watcher};
use kube::{Api, ResourceExt as _};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// An `OllamaNode`, or why it cannot be read: one bad object must not stop the watch.
pub(super) type Guarded = DeserializeGuard<OllamaNode>;

/// Asked of the API server for each watch, in seconds. A connection that goes silent is noticed soon after.
const WATCH_TIMEOUT: u32 = 60;

/// Objects whose spec or annotations changed, or that the first list shows. Errors are counted, logged and retried here;
/// the stream never ends by itself.
pub(super) fn nodes(
    api: Api<Guarded>,
    writer: Writer<Guarded>,
    context: Arc<Context>,
) -> impl Stream<Item = watcher::Result<Guarded>> + Send + 'static {
    let mut failures: u32 = 0;
    watcher(api, watcher::Config::default().timeout(WATCH_TIMEOUT))
        .backoff(WatchBackoff::default())
        .inspect(move |event| match event {
            Ok(event) => {
                if failures > 0 && matches!(event, watcher::Event::InitDone | watcher::Event::Apply(_)) {
                    info!(failures, "the watch of OllamaNodes works again");
                    failures = 0;
                }
                context.watched(event);
            }
            Err(failure) => {
                failures += 1;
                context.metrics.watch_failed();
                told(failure, failures);
            }
        })
        // Nobody reads them, and they are the larger part of an object.
        .modify(|node| node.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        // Deletes are told above; writes of status alone are the controller's own.
        .predicate_filter(
            Predicate::combine(predicates::generation, predicates::annotations),
            Default::default(),
        )
        .filter(|event| futures::future::ready(event.is_ok()))
}

fn told(failure: &watcher::Error, failures: u32) {
    let missing = match failure {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.is_not_found(),
        _ => false,
    };
    if missing && failures.is_power_of_two() {
        error!(
            "the API server does not know OllamaNode: install the definition ollamanodes.aivonx.io; trying again"
        );
    } else if failures.is_power_of_two() {
        warn!(error = %failure, failures, "OllamaNodes cannot be watched; going on with what is known and trying again");
    }
}

/// Back-off of the watch; starts anew after each success.
struct WatchBackoff {
    schedule: Backoff,
    failures: u32,
}

impl Default for WatchBackoff {
    fn default() -> Self {
        let schedule = Backoff { initial: Duration::from_millis(250), max: Duration::from_secs(10) };
        Self { schedule, failures: 0 }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(self.schedule.delay(self.failures))
    }
}

impl RuntimeBackoff for WatchBackoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
