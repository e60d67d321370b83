//! Writes status: by server-side apply, only while surely leading, only when it differs, and only over the version that it
//! was decided from.

use super::difference::{Difference, difference};
use crate::conditions::{Finding, set_condition};
use crate::events::{CONTROLLER, notable};
use crate::reconcile::context::Context;
use crate::reconcile::error::ReconcileError;
use crate::reconcile::written::Base;
use aivonx_crds::conditions::{ACCEPTED, READY};
use aivonx_crds::v1alpha1::NodeState;
use aivonx_crds::{OllamaNode, OllamaNodeStatus, reasons};
use aivonx_state::NodeId;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// For one write.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A leader that has just not heard from its lease looks again after this.
const UNCONFIRMED: Duration = Duration::from_secs(2);

/// Only what this controller owns.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    status: &'a OllamaNodeStatus,
}

/// Writes a status if it differs and this process surely leads, and tells of it. Gives how long to wait if the write has
/// to wait.
pub(super) async fn write(
    context: &Context,
    node: &OllamaNode,
    base: &Base,
    next: OllamaNodeStatus,
) -> Result<Option<Duration>, ReconcileError> {
    let id = super::id_of(node);
    let previous = base.status.as_ref();
    let difference = difference(previous, &next);
    if difference == Difference::None {
        return Ok(None);
    }
    let Some(term) = context.leadership.confirmed(Instant::now()) else {
        // A follower is told when its term comes; a leader that is not sure looks again.
        return Ok(context.leadership.term().borrow().map(|_| UNCONFIRMED));
    };
    if !context.fleet.is_current() {
        // A new leader knows nothing of its own before it has taken over the stored table, and would say Unknown of all.
        // The fleet names every node when it has.
        return Ok(Some(UNCONFIRMED));
    }
    if difference == Difference::Detail
        && let Some(wait) = context.written.wait(&id, term.epoch, Instant::now())
    {
        return Ok(Some(wait));
    }
    let version = match patch(context, &node.metadata, base.resource_version.clone(), &next).await {
        Ok(version) => version,
        Err(error) => {
            context.written.distrust(&id);
            return Err(error);
        }
    };
    debug!(node = %id, state = %next.state, ?difference, "wrote status");
    let notables = notable(previous, &next);
    let result = Base { status: Some(next), resource_version: version };
    context.written.wrote(node, result, term.epoch, Instant::now());
    context.events.tell(node, notables).await;
    Ok(None)
}

/// Gives the version of the object with the new status.
async fn patch(
    context: &Context,
    of: &ObjectMeta,
    over: Option<String>,
    status: &OllamaNodeStatus,
) -> Result<Option<String>, ReconcileError> {
    let (name, namespace) = (of.name.clone().unwrap_or_default(), of.namespace.clone().unwrap_or_default());
    let patch = Patch::Apply(StatusPatch {
        api_version: OllamaNode::api_version(&()).into_owned(),
        kind: OllamaNode::kind(&()).into_owned(),
        metadata: ObjectMeta { name: Some(name.clone()), resource_version: over, ..ObjectMeta::default() },
        status,
    });
    // The answer need not be an object that this version can read.
    let nodes: Api<PartialObjectMeta<OllamaNode>> = Api::namespaced(context.client.clone(), &namespace);
    // By force: the fields of the status belong to the controller, whoever has set them by hand.
    let params = PatchParams::apply(CONTROLLER).force();
    match timeout(TIMEOUT, nodes.patch_status(&name, &params, &patch)).await {
        Ok(Ok(written)) => {
            context.metrics.status_written();
            Ok(written.metadata.resource_version)
        }
        Ok(Err(source)) => Err(ReconcileError::Status { source: Box::new(source) }),
        Err(_) => Err(ReconcileError::Timeout { what: "writing status", limit: TIMEOUT }),
    }
}

/// An object that cannot be read: the definition and this program are of different versions. It leaves the fleet, and its
/// status says why.
pub(super) async fn unreadable(context: &Context, invalid: &InvalidObject) -> Result<Action, ReconcileError> {
    let InvalidObject { error, metadata } = invalid;
    let id = NodeId::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    );
    context.drop_node(&id);
    context.first_list.visited(&id, &context.fleet);
    warn!(node = %id, error, "an OllamaNode cannot be read");
    let mut node = OllamaNode::new(id.name(), Default::default());
    node.metadata = metadata.clone();
    let generation = metadata.generation.unwrap_or_default();
    let message = format!("The spec cannot be read by this version of the controller: {error}");
    let condition = |type_| {
        let finding = Finding::no(reasons::INVALID_SPEC, message.clone());
        set_condition(&[], type_, finding, generation, Timestamp::now())
    };
    let next = OllamaNodeStatus {
        observed_generation: Some(generation),
        state: NodeState::Rejected,
        conditions: vec![condition(READY), condition(ACCEPTED)],
        ..OllamaNodeStatus::default()
    };
    // Its own status cannot be read either, so that of the last write stands for it.
    let base = Base {
        status: context.written.last(&node),
        resource_version: context.written.base(&node).resource_version,
    };
    let pause = write(context, &node, &base, next).await?;
    Ok(pause.map_or_else(Action::await_change, Action::requeue))
}
