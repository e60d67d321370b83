//! Tells the fleet what to run.

use super::Rejection;
use crate::fleet::NodeObservation;
use crate::node::DesiredNode;
use crate::reconcile::context::Context;
use aivonx_state::NodeId;
use kube::runtime::controller::Action;

/// Hands the node to the fleet, or takes it away if it was rejected; gives what the fleet knows of it.
pub(super) fn apply(
    context: &Context,
    id: &NodeId,
    verdict: &Result<DesiredNode, Rejection>,
) -> Option<NodeObservation> {
    match verdict {
        Ok(desired) => context.run_node(desired),
        Err(_) => {
            context.drop_node(id);
            None
        }
    }
}

/// The resource is about to go: so is the node.
pub(super) fn deleted(context: &Context, id: &NodeId) -> Action {
    context.drop_node(id);
    context.first_list.visited(id, &context.fleet);
    Action::await_change()
}
