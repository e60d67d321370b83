//! What the status of a node is to be. Pure.

use super::inventory::Inventory;
use super::{Rejection, Resolution};
use crate::conditions::{Finding, set_condition, whole_seconds};
use crate::fleet::{InventoryState, NodeObservation, PublishReport};
use crate::node::DesiredNode;
use aivonx_crds::conditions::{
    ACCEPTED, FALSE, INVENTORY_SYNCED, OF_A_NODE, PUBLISHED, REACHABLE, READY, TRUE, UNKNOWN,
};
use aivonx_crds::v1alpha1::{LastTransition, NodeState, SchedulingState};
use aivonx_crds::{OllamaNodeStatus, reasons};
use aivonx_state::table::Health;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Everything that a status is made of, but for the one before.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    /// The owner's wish.
    pub scheduling_state: SchedulingState,
    /// What validation said.
    pub verdict: &'a Result<DesiredNode, Rejection>,
    /// What became of the references.
    pub resolution: &'a Resolution,
    /// What the fleet knows; `None` if it was not told of the node.
    pub observation: Option<&'a NodeObservation>,
    /// The time of transitions.
    pub now: Timestamp,
}

/// Decides. What the fleet does not know yet stays as the status before says, as long as the address is the same: a new
/// leader must not make healthy nodes unknown.
pub fn decide(situation: &Situation<'_>, previous: Option<&OllamaNodeStatus>) -> OllamaNodeStatus {
    let &Situation { generation, scheduling_state, verdict, resolution, observation, now } = situation;
    let endpoint = verdict.as_ref().ok().map(|desired| desired.url.as_str().trim_end_matches('/').to_owned());
    let same = previous.filter(|previous| endpoint.is_some() && previous.endpoint == endpoint);

    let accepted = accepted(verdict, resolution, previous);
    let reachable = or_before(reachable(verdict, observation), same, REACHABLE);
    let synced = or_before(synced(verdict, observation), same, INVENTORY_SYNCED);
    let published =
        published(verdict, observation, same.filter(|same| same.observed_generation == Some(generation)));
    let inventory = match observation.filter(|observation| has_list(observation)) {
        Some(observation) => Inventory::of(&observation.inventory.models),
        None => same.map(Inventory::kept).unwrap_or_default(),
    };
    let served = same.is_some_and(|same| is(same, READY, TRUE)) && verdict.is_ok();
    let (state, ready) = summary(&Parts {
        accepted: &accepted,
        reachable: &reachable,
        synced: &synced,
        published: &published,
        scheduling_state,
        has_models: inventory.counts.is_some_and(|counts| counts.total > 0),
        served,
    });

    let before = previous.map(|previous| previous.conditions.as_slice()).unwrap_or_default();
    let findings = [ready, accepted, reachable, synced, published];
    let conditions = OF_A_NODE.iter().zip(findings);
    OllamaNodeStatus {
        observed_generation: Some(generation),
        state,
        version: observation
            .and_then(|observation| observation.version.clone())
            .or_else(|| same.and_then(|same| same.version.clone())),
        models: inventory.counts,
        inventory: inventory.entries,
        inventory_truncated: inventory.truncated,
        last_transition: last_transition(observation)
            .or_else(|| same.and_then(|same| same.last_transition.clone())),
        conditions: conditions
            .map(|(type_, finding)| set_condition(before, type_, finding, generation, now))
            .collect(),
        endpoint,
    }
}

fn accepted(
    verdict: &Result<DesiredNode, Rejection>,
    resolution: &Resolution,
    previous: Option<&OllamaNodeStatus>,
) -> Finding {
    match (verdict, resolution) {
        (Err(rejection), _) => Finding::no(rejection.reason, rejection.message.clone()),
        // A look-up that fails says nothing against a Service that was found before.
        (Ok(_), Resolution::Doubtful { .. })
            if previous.is_some_and(|previous| is(previous, ACCEPTED, TRUE)) =>
        {
            valid()
        }
        (Ok(_), Resolution::Doubtful { message, .. }) => {
            Finding::unknown(reasons::RESOLVE_FAILED, message.clone())
        }
        (Ok(_), _) => valid(),
    }
}

fn valid() -> Finding {
    Finding::yes(reasons::ACCEPTED, "The spec is valid.")
}

const NOT_PROBED: &str = "Not probed: the spec is not accepted.";
const NOT_YET_PROBED: &str = "Not probed yet.";

fn reachable(verdict: &Result<DesiredNode, Rejection>, observation: Option<&NodeObservation>) -> Finding {
    match observation.map(|observation| &observation.health) {
        _ if verdict.is_err() => Finding::unknown(reasons::PENDING, NOT_PROBED),
        None => Finding::unknown(reasons::PENDING, NOT_YET_PROBED),
        Some(health) => match health.state {
            Health::Healthy => Finding::yes(health.reason, health.message.clone()),
            Health::Unhealthy => Finding::no(health.reason, health.message.clone()),
            Health::Unknown => Finding::unknown(health.reason, health.message.clone()),
        },
    }
}

fn synced(verdict: &Result<DesiredNode, Rejection>, observation: Option<&NodeObservation>) -> Finding {
    match observation.map(|observation| &observation.inventory) {
        _ if verdict.is_err() => Finding::unknown(reasons::PENDING, NOT_PROBED),
        None => Finding::unknown(reasons::PENDING, NOT_YET_PROBED),
        Some(report) => match report.state {
            InventoryState::Synced => Finding::yes(report.reason, report.message.clone()),
            InventoryState::Failed => Finding::no(report.reason, report.message.clone()),
            InventoryState::Unknown => Finding::unknown(report.reason, report.message.clone()),
        },
    }
}

/// `same`: the status before, if it is of the same generation. A table that follows another within moments does not
/// unpublish the node.
fn published(
    verdict: &Result<DesiredNode, Rejection>,
    observation: Option<&NodeObservation>,
    same: Option<&OllamaNodeStatus>,
) -> Finding {
    if verdict.is_err() {
        return Finding::no(reasons::PENDING, "Not in the routing table: the spec is not accepted.");
    }
    match observation.map(|observation| &observation.published) {
        Some(PublishReport::Published(_)) => {
            Finding::yes(reasons::PUBLISHED, "The routing table with this node has reached the store.")
        }
        Some(PublishReport::Failed { reason, message }) => Finding::no(reason, message.clone()),
        Some(PublishReport::Pending) | None => {
            let pending = Finding::unknown(
                reasons::PUBLISH_PENDING,
                "The routing table with this node is on its way to the store.",
            );
            or_before(pending, same, PUBLISHED)
        }
    }
}

/// What was found, or what the status before says if nothing was.
fn or_before(finding: Finding, before: Option<&OllamaNodeStatus>, type_: &str) -> Finding {
    if finding.status != UNKNOWN {
        return finding;
    }
    before
        .and_then(|before| before.condition(type_))
        .filter(|condition| condition.status != UNKNOWN)
        .map_or(finding, Finding::of)
}

/// Whether the observation holds a list of models that was read at some time.
fn has_list(observation: &NodeObservation) -> bool {
    match observation.inventory.state {
        InventoryState::Synced => true,
        InventoryState::Failed => !observation.inventory.models.is_empty(),
        InventoryState::Unknown => false,
    }
}

fn last_transition(observation: Option<&NodeObservation>) -> Option<LastTransition> {
    let transition = observation?.last_transition?;
    Some(LastTransition {
        from: format!("{:?}", transition.from),
        to: format!("{:?}", transition.to),
        at: Time(whole_seconds(transition.at)),
        reason: transition.reason.to_owned(),
    })
}

struct Parts<'a> {
    accepted: &'a Finding,
    reachable: &'a Finding,
    synced: &'a Finding,
    published: &'a Finding,
    scheduling_state: SchedulingState,
    has_models: bool,
    /// Whether the node took requests at this address until now.
    served: bool,
}

/// All in one: the state for people, and the condition `Ready`. The worst comes first.
fn summary(parts: &Parts<'_>) -> (NodeState, Finding) {
    let &Parts { accepted, reachable, synced, published, scheduling_state, has_models, served } = parts;
    let no = |finding: &Finding| Finding::no(&finding.reason, finding.message.clone());
    let unknown = |finding: &Finding| Finding::unknown(&finding.reason, finding.message.clone());
    let works = |finding: &Finding| {
        Finding::yes(&finding.reason, format!("Takes requests, but: {}", finding.message))
    };
    if accepted.status == FALSE {
        return (NodeState::Rejected, no(accepted));
    }
    match scheduling_state {
        SchedulingState::Cordoned => {
            let message = "Takes no new requests: spec.schedulingState is Cordoned.";
            return (NodeState::Cordoned, Finding::no(reasons::CORDONED, message));
        }
        SchedulingState::Draining => {
            let message = "Takes no new requests: spec.schedulingState is Draining.";
            return (NodeState::Draining, Finding::no(reasons::DRAINING, message));
        }
        SchedulingState::Active => {}
    }
    match reachable.status {
        TRUE => {}
        FALSE => return (NodeState::Unreachable, no(reachable)),
        _ => return (NodeState::Pending, unknown(reachable)),
    }
    match synced.status {
        TRUE => {}
        FALSE if has_models && published.status != UNKNOWN => return (NodeState::Degraded, works(synced)),
        FALSE => return (NodeState::Degraded, no(synced)),
        _ => return (NodeState::Pending, unknown(synced)),
    }
    match published.status {
        TRUE if accepted.status == TRUE => {
            (NodeState::Ready, Finding::yes(reasons::READY, "Takes requests."))
        }
        TRUE => (NodeState::Degraded, works(accepted)),
        // The data planes go on with the last table that they read.
        FALSE if served => (NodeState::Degraded, works(published)),
        FALSE => (NodeState::Degraded, no(published)),
        _ if served => (NodeState::Ready, Finding::yes(reasons::READY, "Takes requests.")),
        _ => (NodeState::Pending, unknown(published)),
    }
}

fn is(status: &OllamaNodeStatus, type_: &str, wanted: &str) -> bool {
    status.condition(type_).is_some_and(|condition| condition.status == wanted)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
