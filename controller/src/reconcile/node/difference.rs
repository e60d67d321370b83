//! How two statuses differ. Pure.

use aivonx_crds::OllamaNodeStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How two statuses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all, but for timestamps.
    None,
    /// In what moves by itself: models, version, messages.
    Detail,
    /// In what people wait for: state, conditions, address.
    Transition,
}

pub(super) fn difference(previous: Option<&OllamaNodeStatus>, next: &OllamaNodeStatus) -> Difference {
    let Some(previous) = previous else { return Difference::Transition };
    // All fields by name: a new one must be put on one side.
    let OllamaNodeStatus {
        observed_generation,
        state,
        endpoint,
        version,
        models,
        inventory,
        inventory_truncated,
        last_transition,
        conditions,
    } = previous;
    let same_essence = *observed_generation == next.observed_generation
        && *state == next.state
        && *endpoint == next.endpoint
        && *last_transition == next.last_transition
        && same(conditions, &next.conditions, |a, b| {
            (&a.type_, &a.status, &a.reason, a.observed_generation)
                == (&b.type_, &b.status, &b.reason, b.observed_generation)
        });
    let same_details = *version == next.version
        && *models == next.models
        && *inventory == next.inventory
        && *inventory_truncated == next.inventory_truncated
        && same(conditions, &next.conditions, |a, b| a.message == b.message);
    match (same_essence, same_details) {
        (false, _) => Difference::Transition,
        (true, false) => Difference::Detail,
        (true, true) => Difference::None,
    }
}

fn same(a: &[Condition], b: &[Condition], alike: impl Fn(&Condition, &Condition) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Finding, set_condition};
    use aivonx_crds::conditions::READY;
    use aivonx_crds::reasons;
    use aivonx_crds::v1alpha1::{InventoryEntry, ModelCounts, NodeState};
    use jiff::Timestamp;

    fn status() -> OllamaNodeStatus {
        let finding = Finding::yes(reasons::READY, "Takes requests.");
        OllamaNodeStatus {
            state: NodeState::Ready,
            conditions: vec![set_condition(&[], READY, finding, 1, Timestamp::from_second(5).unwrap())],
            ..OllamaNodeStatus::default()
        }
    }

    #[test]
    fn timestamps_alone_are_no_difference() {
        let mut later = status();
        later.conditions[0].last_transition_time.0 = Timestamp::from_second(9).unwrap();
        assert_eq!(difference(Some(&status()), &later), Difference::None);
    }

    #[test]
    fn models_and_messages_are_details_and_conditions_are_transitions() {
        let mut next = status();
        next.models = Some(ModelCounts { total: 1, loaded: 1 });
        next.inventory = vec![InventoryEntry::default()];
        assert_eq!(difference(Some(&status()), &next), Difference::Detail);
        let mut next = status();
        next.conditions[0].message.push('!');
        assert_eq!(difference(Some(&status()), &next), Difference::Detail);
        next.conditions[0].status = "False".to_owned();
        assert_eq!(difference(Some(&status()), &next), Difference::Transition);
        let next = OllamaNodeStatus { observed_generation: Some(2), ..status() };
        assert_eq!(difference(Some(&status()), &next), Difference::Transition);
        assert_eq!(difference(None, &status()), Difference::Transition);
    }
}
