//! Reconciles one `OllamaNode`: `guard -> dereference -> validate -> apply -> decide -> status`.
//!
//! [`validate`] and [`decide`] are pure. Status comes after the fleet was told, so it speaks of what was applied.

mod apply;
mod decide;
mod dereference;
mod difference;
mod inventory;
mod status;
mod validate;

pub use decide::{Situation, decide};
pub use dereference::Resolution;
pub use validate::{Rejection, validate};

use super::context::Context;
use super::error::ReconcileError;
use aivonx_crds::{OllamaNode, reasons};
use aivonx_state::NodeId;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use std::sync::Arc;
use std::time::Duration;

/// Changes are told by the watch and by the fleet; this finds what was missed.
const REVISIT: Duration = Duration::from_secs(300);
/// What a spec names may appear at any time, and is not watched.
const REVISIT_UNRESOLVED: Duration = Duration::from_secs(10);

/// Makes the fleet and the status what the resource says.
pub async fn reconcile(
    guarded: Arc<DeserializeGuard<OllamaNode>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let node = match &guarded.0 {
        Ok(node) if node.metadata.deletion_timestamp.is_none() => node,
        Ok(node) => return Ok(apply::deleted(&context, &id_of(node))),
        Err(invalid) => return status::unreadable(&context, invalid).await,
    };
    let id = id_of(node);
    let resolution = dereference::dereference(node, &context).await;
    let verdict = validate(node, &resolution);
    let observation = apply::apply(&context, &id, &verdict);
    context.first_list.visited(&id, &context.fleet);
    let situation = Situation {
        generation: node.metadata.generation.unwrap_or_default(),
        scheduling_state: node.spec.scheduling_state,
        verdict: &verdict,
        resolution: &resolution,
        observation: observation.as_ref(),
        now: Timestamp::now(),
    };
    let base = context.written.base(node);
    let next = decide(&situation, base.status.as_ref());
    let pause = status::write(&context, node, &base, next).await?;
    Ok(Action::requeue(pause.unwrap_or_else(|| revisit(&resolution))))
}

fn revisit(resolution: &Resolution) -> Duration {
    match resolution {
        Resolution::Missing { reason: reasons::NAMESPACE_NOT_ALLOWED, .. } => REVISIT,
        Resolution::Missing { .. } | Resolution::Doubtful { .. } => REVISIT_UNRESOLVED,
        Resolution::Direct | Resolution::Service { .. } | Resolution::NoCluster => REVISIT,
    }
}

/// The id of a resource. The API server gives each a name and a namespace.
pub(crate) fn id_of(node: &OllamaNode) -> NodeId {
    NodeId::new(&node.namespace().unwrap_or_default(), &node.name_any())
}
