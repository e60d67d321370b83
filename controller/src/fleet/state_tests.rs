use super::*;
use crate::node::tests::node;
use crate::probe::FailureReason;
use aivonx_state::table::{ModelDetails, Strategy};
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn version(revision: u64) -> TableVersion {
    TableVersion { epoch: 1, revision }
}

fn model(name: &str) -> NodeModel {
    NodeModel {
        name: name.to_owned(),
        digest: "d".repeat(64),
        size: 1,
        modified_at: String::new(),
        details: ModelDetails::default(),
        capabilities: Vec::new(),
        loaded: None,
    }
}

fn list(names: &[&str]) -> ModelList {
    ModelList { models: names.iter().map(|name| model(name)).collect(), truncated: false }
}

fn refused() -> ProbeFailure {
    ProbeFailure::new(FailureReason::ConnectionRefused, "nobody listens at the address")
}

const ID: &str = "ai/gpu-1";
const URL: &str = "http://10.0.0.7:11434";

fn id() -> NodeId {
    NodeId::from(ID)
}

/// A leading fleet of one node.
fn fleet() -> FleetState {
    let mut state = FleetState::default();
    state.start_leading();
    assert!(state.apply(node(ID, URL), at(0)));
    state
}

fn subject(state: &FleetState) -> Subject {
    state.target(&id()).unwrap().0
}

fn table_of(state: &FleetState, revision: u64) -> RoutingTable {
    let (_, parts) = state.snapshot();
    table::build(version(revision), at(100), Strategy::default(), parts.iter().map(Parts::entry))
}

/// Probes the node once with success, reads one model, and lets the store take all.
fn settle(state: &mut FleetState) {
    let subject = subject(state);
    state.record_health(&subject, Ok(Some("0.12.3".to_owned())), at(1)).unwrap();
    state.record_models(&subject, Ok(list(&["a:1"])), Ok(Vec::new())).unwrap();
    let (stamp, _) = state.snapshot();
    state.accepted(stamp, version(1));
}

#[test]
fn an_equal_node_changes_nothing() {
    let mut state = fleet();
    let (stamp, _) = state.snapshot();
    assert!(!state.apply(node(ID, URL), at(5)));
    assert_eq!(state.snapshot().0, stamp);
    assert!(state.remove(&id()));
    assert!(!state.remove(&id()));
}

#[test]
fn a_first_success_is_a_transition_with_history() {
    let mut state = fleet();
    let subject = subject(&state);
    let (standing, effects) = state.record_health(&subject, Ok(Some("0.12.3".to_owned())), at(1)).unwrap();
    assert_eq!(standing.state, Health::Healthy);
    assert_eq!(effects.changed, [id()]);
    assert_eq!(effects.transition.unwrap().to, Health::Healthy);
    assert_eq!(state.take_urgency(), Some(Urgency::Major));
    let (_, effects) = state.record_health(&subject, Ok(Some("0.12.3".to_owned())), at(2)).unwrap();
    assert_eq!(effects, Effects::default(), "nothing new");
}

#[test]
fn another_address_is_another_machine() {
    let mut state = fleet();
    settle(&mut state);
    let old = subject(&state);
    state.apply(node(ID, "http://10.0.0.8:11434"), at(2));
    let observation = state.observation(&id()).unwrap();
    assert_eq!((observation.health.state, observation.published), (Health::Unknown, PublishReport::Pending));
    assert!(
        state.record_health(&old, Ok(None), at(3)).is_none(),
        "an answer of the old address counts for nothing"
    );
    assert!(state.record_models(&old, Ok(list(&[])), Ok(Vec::new())).is_none());
}

#[test]
fn a_change_of_weight_keeps_what_is_observed_and_starts_no_probe() {
    let mut state = fleet();
    settle(&mut state);
    state.take_touched();
    let mut changed = node(ID, URL);
    (changed.weight, changed.generation) = (5, 2);
    state.apply(changed, at(2));
    let observation = state.observation(&id()).unwrap();
    assert_eq!((observation.health.state, observation.generation), (Health::Healthy, 2));
    assert_eq!(observation.published, PublishReport::Pending);
    assert!(state.take_touched().is_empty());
}

#[test]
fn a_change_that_no_table_shows_stays_published() {
    let mut state = fleet();
    settle(&mut state);
    let mut changed = node(ID, URL);
    changed.health.interval *= 2;
    changed.generation = 2;
    state.take_touched();
    state.apply(changed, at(2));
    assert_eq!(state.observation(&id()).unwrap().published, PublishReport::Published(version(1)));
    assert_eq!(state.take_touched().len(), 1, "but the worker hears of it");
}

#[test]
fn a_new_refresh_annotation_probes_at_once() {
    let mut state = fleet();
    state.take_touched();
    let before = state.target(&id()).unwrap().1;
    let mut changed = node(ID, URL);
    changed.refresh = Some("2026-11-22T10:00:00Z".to_owned());
    state.apply(changed, at(2));
    assert_ne!(state.target(&id()).unwrap().1, before);
    assert_eq!(state.take_touched().len(), 1);
}

#[test]
fn a_filter_is_applied_to_what_is_known_already() {
    let mut state = fleet();
    let subject = subject(&state);
    state.record_models(&subject, Ok(list(&["a:1", "b:1"])), Ok(Vec::new())).unwrap();
    let mut changed = node(ID, URL);
    changed.models.deny = vec!["a*".to_owned()];
    state.apply(changed.clone(), at(2));
    let names = |state: &FleetState| {
        let models = state.observation(&id()).unwrap().inventory.models;
        models.iter().map(|model| model.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&state), ["b:1"]);
    changed.models.deny.clear();
    state.apply(changed, at(3));
    assert_eq!(names(&state), ["a:1", "b:1"]);
}

#[test]
fn a_change_of_a_denied_model_is_no_change_of_the_table() {
    let mut state = FleetState::default();
    let mut denying = node(ID, URL);
    denying.models.deny = vec!["b*".to_owned()];
    state.apply(denying, at(0));
    let subject = subject(&state);
    state.record_models(&subject, Ok(list(&["a:1"])), Ok(Vec::new())).unwrap();
    let (stamp, _) = state.snapshot();
    let (_, effects) = state.record_models(&subject, Ok(list(&["a:1", "b:1"])), Ok(Vec::new())).unwrap();
    assert_eq!(state.snapshot().0, stamp);
    assert_eq!(effects.inventory.unwrap().len(), 2, "the history has what is on disk");
}

#[test]
fn a_node_is_published_when_the_store_has_what_changed_last() {
    let mut state = fleet();
    let (stamp, _) = state.snapshot();
    let subject = subject(&state);
    state.record_health(&subject, Ok(None), at(1)).unwrap();
    assert_eq!(state.accepted(stamp, version(1)), [], "this table is from before the change");
    assert_eq!(state.observation(&id()).unwrap().published, PublishReport::Pending);
    let (stamp, _) = state.snapshot();
    assert_eq!(state.accepted(stamp, version(2)), [id()]);
    assert_eq!(state.observation(&id()).unwrap().published, PublishReport::Published(version(2)));
    assert_eq!(state.accepted(stamp, version(3)), []);
    assert_eq!(
        state.observation(&id()).unwrap().published,
        PublishReport::Published(version(2)),
        "as of version 2"
    );
}

#[test]
fn a_failing_store_is_told_of_nodes_that_it_does_not_have() {
    let mut state = fleet();
    settle(&mut state);
    state.apply(node("ai/gpu-2", "http://10.0.0.8:11434"), at(2));
    let other = NodeId::from("ai/gpu-2");
    assert_eq!(state.store_failing("down".to_owned()), std::slice::from_ref(&other));
    assert!(matches!(state.observation(&id()).unwrap().published, PublishReport::Published(_)));
    let published = |state: &FleetState, id: &NodeId| state.observation(id).unwrap().published;
    assert!(matches!(
        published(&state, &other),
        PublishReport::Failed { reason: reason::STORE_UNAVAILABLE, .. }
    ));
    assert_eq!(state.store_failing("down".to_owned()), [], "told once");
    state.apply(node("ai/gpu-3", "http://10.0.0.9:11434"), at(3));
    assert!(
        matches!(published(&state, &NodeId::from("ai/gpu-3")), PublishReport::Failed { .. }),
        "known to fail"
    );
    let (stamp, _) = state.snapshot();
    assert_eq!(state.accepted(stamp, version(2)).len(), 2);
}

#[test]
fn a_new_leader_starts_from_the_stored_table() {
    let mut old = fleet();
    settle(&mut old);
    let stored = table_of(&old, 9);

    let mut new = FleetState::default();
    new.apply(node(ID, URL), at(200));
    new.start_leading();
    new.restore(stored.clone());
    let observation = new.observation(&id()).unwrap();
    assert_eq!(observation.health.state, Health::Healthy);
    assert_eq!(observation.version.as_deref(), Some("0.12.3"));
    assert_eq!(observation.inventory.models.len(), 1);
    assert_eq!(observation.published, PublishReport::Published(version(9)));
    assert!(table_of(&new, 10).same_content(&stored), "nothing is lost and nothing is added");
}

#[test]
fn nodes_that_are_listed_later_find_the_stored_table_too() {
    let mut old = fleet();
    settle(&mut old);
    old.apply(node("ai/gone", "http://10.0.0.9:11434"), at(2));
    let stored = table_of(&old, 9);

    let mut new = FleetState::default();
    new.start_leading();
    new.restore(stored);
    new.apply(node(ID, URL), at(200));
    assert_eq!(new.observation(&id()).unwrap().health.state, Health::Healthy);
    assert_eq!(new.finish_restoring(), [NodeId::from("ai/gone")]);
    assert_eq!(new.finish_restoring(), []);
}

#[test]
fn a_node_that_changed_while_nobody_led_is_not_published_yet() {
    let mut old = fleet();
    settle(&mut old);
    let mut new = FleetState::default();
    let mut changed = node(ID, URL);
    changed.weight = 9;
    new.apply(changed, at(200));
    new.start_leading();
    new.restore(table_of(&old, 9));
    let observation = new.observation(&id()).unwrap();
    assert_eq!((observation.health.state, observation.published), (Health::Healthy, PublishReport::Pending));
}

#[test]
fn the_stored_table_says_nothing_of_another_object_or_address() {
    let mut old = fleet();
    settle(&mut old);
    let stored = table_of(&old, 9);
    let mut recreated = node(ID, URL);
    recreated.uid = "uid-2".to_owned();
    for other in [recreated, node(ID, "http://10.0.0.8:11434")] {
        let mut new = FleetState::default();
        new.apply(other, at(200));
        new.start_leading();
        new.restore(stored.clone());
        assert_eq!(new.observation(&id()).unwrap().health.state, Health::Unknown);
        assert!(!new.is_settled());
    }
}

#[test]
fn a_follower_keeps_no_list_of_touched_nodes() {
    let mut state = FleetState::default();
    state.apply(node(ID, URL), at(0));
    state.refresh(None);
    state.remove(&id());
    assert!(state.take_touched().is_empty());
}

proptest! {
    /// Whatever happens, a node is never called published while the store lacks its newest entry, once all is accepted
    /// every node is, and the table has exactly the nodes that are declared.
    #[test]
    fn published_means_that_the_store_has_it(
        events in proptest::collection::vec((0_u8..6, 0_usize..3, any::<bool>()), 0..80),
    ) {
        let ids = ["ai/a", "ai/b", "ai/c"];
        let mut state = FleetState::default();
        state.start_leading();
        let mut in_store = table_of(&state, 0);
        let mut revision = 0;
        for (event, which, flag) in events {
            let id = NodeId::from(ids[which]);
            let subject = state.target(&id).map(|(subject, _)| subject);
            match (event, subject) {
                (0, _) => {
                    let mut node = node(ids[which], URL);
                    node.weight = u32::from(flag);
                    state.apply(node, at(1));
                }
                (1, _) => {
                    state.remove(&id);
                }
                (2, Some(subject)) => {
                    let outcome = if flag { Ok(Some("1".to_owned())) } else { Err(refused()) };
                    state.record_health(&subject, outcome, at(2));
                }
                (3, Some(subject)) => {
                    let models = if flag { &["a:1"][..] } else { &["b:1"][..] };
                    state.record_models(&subject, Ok(list(models)), Ok(Vec::new()));
                }
                (4, _) => {
                    state.store_failing("down".to_owned());
                }
                (5, _) => {
                    revision += 1;
                    let (stamp, _) = state.snapshot();
                    in_store = table_of(&state, revision);
                    state.accepted(stamp, version(revision));
                    for id in ids.map(NodeId::from) {
                        if let Some(observation) = state.observation(&id) {
                            prop_assert!(matches!(observation.published, PublishReport::Published(_)));
                        }
                    }
                }
                _ => {}
            }
            let current = table_of(&state, revision);
            for id in ids.map(NodeId::from) {
                prop_assert_eq!(current.nodes.contains_key(&id), state.observation(&id).is_some());
            }
            // The spec of a published node is in the store; its health and models may be on their way.
            for (id, entry) in &current.nodes {
                if let PublishReport::Published(_) = state.observation(id).unwrap().published {
                    let stored = in_store.nodes.get(id);
                    prop_assert_eq!(stored.map(|stored| stored.weight), Some(entry.weight));
                }
            }
        }
    }
}
