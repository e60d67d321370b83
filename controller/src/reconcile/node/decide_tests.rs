use super::*;
use crate::fleet::{HealthReport, InventoryReport, Transition};
use aivonx_crds::parse_documents;
use aivonx_state::{NodeModel, TableVersion};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn desired(host: &str) -> Result<DesiredNode, Rejection> {
    let text = format!(
        "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata: {{name: gpu-1}}\nspec: {{url: 'http://{host}:11434'}}\n"
    );
    super::super::validate(&parse_documents(&text).unwrap().remove(0), &Resolution::Direct)
}

fn rejected() -> Result<DesiredNode, Rejection> {
    Err(Rejection { reason: reasons::NOT_SUPPORTED, message: "auth is not supported yet".to_owned() })
}

fn model(name: &str) -> NodeModel {
    NodeModel {
        name: name.to_owned(),
        digest: String::new(),
        size: 1,
        modified_at: String::new(),
        details: Default::default(),
        capabilities: Vec::new(),
        loaded: None,
    }
}

fn version() -> PublishReport {
    PublishReport::Published(TableVersion { epoch: 1, revision: 2 })
}

fn observation(
    health: Health,
    inventory: InventoryState,
    models: &[&str],
    published: PublishReport,
) -> NodeObservation {
    let (reason, message) = match health {
        Health::Healthy => (reasons::REACHABLE, "answers"),
        Health::Unhealthy => (reasons::CONNECTION_REFUSED, "nobody listens"),
        Health::Unknown => (reasons::PENDING, "not probed yet"),
    };
    NodeObservation {
        generation: 1,
        health: HealthReport { state: health, reason, message: message.to_owned(), since: at(1) },
        version: (health == Health::Healthy).then(|| "0.32.1".to_owned()),
        inventory: InventoryReport {
            state: inventory,
            reason: match inventory {
                InventoryState::Synced => reasons::SYNCED,
                InventoryState::Failed => reasons::INVENTORY_FAILED,
                InventoryState::Unknown => reasons::PENDING,
            },
            message: "the list".to_owned(),
            models: Arc::new(models.iter().map(|name| model(name)).collect()),
        },
        published,
        last_transition: None,
    }
}

fn healthy() -> NodeObservation {
    observation(Health::Healthy, InventoryState::Synced, &["a", "b"], version())
}

fn refused() -> NodeObservation {
    let mut refused = observation(Health::Unhealthy, InventoryState::Failed, &["a", "b"], version());
    refused.last_transition = Some(Transition {
        from: Health::Healthy,
        to: Health::Unhealthy,
        at: Timestamp::from_millisecond(9_700).unwrap(),
        reason: reasons::CONNECTION_REFUSED,
    });
    refused
}

struct Case<'a> {
    verdict: &'a Result<DesiredNode, Rejection>,
    observation: Option<&'a NodeObservation>,
    scheduling_state: SchedulingState,
    generation: i64,
    resolution: Resolution,
}

impl<'a> Case<'a> {
    fn new(verdict: &'a Result<DesiredNode, Rejection>, observation: Option<&'a NodeObservation>) -> Self {
        let (scheduling_state, resolution) = (SchedulingState::Active, Resolution::Direct);
        Self { verdict, observation, scheduling_state, generation: 1, resolution }
    }

    fn decide(&self, previous: Option<&OllamaNodeStatus>, second: i64) -> OllamaNodeStatus {
        let situation = Situation {
            generation: self.generation,
            scheduling_state: self.scheduling_state,
            verdict: self.verdict,
            resolution: &self.resolution,
            observation: self.observation,
            now: at(second),
        };
        decide(&situation, previous)
    }
}

/// `Ready Accepted Reachable InventorySynced Published`, each `T`, `F` or `U`, and the reason of `Ready`.
fn told(status: &OllamaNodeStatus) -> (String, &str, NodeState) {
    let letters = status.conditions.iter().map(|condition| &condition.status[..1]).collect();
    (letters, status.condition(READY).unwrap().reason.as_str(), status.state)
}

#[test]
fn at_first_all_conditions_are_there_and_nothing_is_known() {
    let verdict = desired("a");
    let status = Case::new(&verdict, None).decide(None, 1);
    assert_eq!(told(&status), ("UTUUU".to_owned(), reasons::PENDING, NodeState::Pending));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.endpoint.as_deref(), Some("http://a:11434"));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
}

#[test]
fn a_node_that_is_published_is_ready() {
    let (verdict, observation) = (desired("a"), healthy());
    let status = Case::new(&verdict, Some(&observation)).decide(None, 1);
    assert_eq!(told(&status), ("TTTTT".to_owned(), reasons::READY, NodeState::Ready));
    assert_eq!(status.version.as_deref(), Some("0.32.1"));
    assert_eq!(status.models.unwrap().total, 2);
}

#[test]
fn a_rejected_node_is_nothing_but_rejected() {
    let verdict = rejected();
    let status = Case::new(&verdict, None).decide(None, 1);
    assert_eq!(told(&status), ("FFUUF".to_owned(), reasons::NOT_SUPPORTED, NodeState::Rejected));
    assert_eq!(status.endpoint, None);
    assert_eq!(status.condition(READY).unwrap().message, "auth is not supported yet");
}

#[test]
fn a_rejection_forgets_what_was_known_of_the_old_address() {
    let (verdict, observation) = (desired("a"), healthy());
    let before = Case::new(&verdict, Some(&observation)).decide(None, 1);
    let status = Case::new(&rejected(), None).decide(Some(&before), 2);
    assert_eq!(told(&status).0, "FFUUF");
    assert_eq!((status.models, status.version, status.inventory.len()), (None, None, 0));
}

#[test]
fn a_node_that_stops_answering_is_unreachable_with_the_probes_reason() {
    let verdict = desired("a");
    let (first, second) = (healthy(), refused());
    let before = Case::new(&verdict, Some(&first)).decide(None, 1);
    let status = Case::new(&verdict, Some(&second)).decide(Some(&before), 10);
    assert_eq!(told(&status), ("FTFFT".to_owned(), reasons::CONNECTION_REFUSED, NodeState::Unreachable));
    assert_eq!(status.models.unwrap().total, 2, "what it had on disk is still told");
    assert_eq!(status.version.as_deref(), Some("0.32.1"));
    let transition = status.last_transition.unwrap();
    assert_eq!((transition.from.as_str(), transition.to.as_str()), ("Healthy", "Unhealthy"));
    assert_eq!(transition.at.0, at(9), "times have whole seconds, or the API server's copy would differ");
}

#[test]
fn a_cordoned_node_takes_no_requests_however_healthy() {
    let (verdict, observation) = (desired("a"), healthy());
    let mut case = Case::new(&verdict, Some(&observation));
    case.scheduling_state = SchedulingState::Cordoned;
    assert_eq!(told(&case.decide(None, 1)), ("FTTTT".to_owned(), reasons::CORDONED, NodeState::Cordoned));
    case.scheduling_state = SchedulingState::Draining;
    assert_eq!(told(&case.decide(None, 1)), ("FTTTT".to_owned(), reasons::DRAINING, NodeState::Draining));
}

#[test]
fn a_new_leader_that_knows_nothing_yet_keeps_what_is_told() {
    let verdict = desired("a");
    let (known, blank) =
        (healthy(), observation(Health::Unknown, InventoryState::Unknown, &[], PublishReport::Pending));
    let before = Case::new(&verdict, Some(&known)).decide(None, 1);
    assert_eq!(Case::new(&verdict, Some(&blank)).decide(Some(&before), 9), before);
    assert_eq!(Case::new(&verdict, None).decide(Some(&before), 9), before);
}

#[test]
fn another_address_is_another_machine() {
    let (verdict, moved) = (desired("a"), desired("b"));
    let (known, blank) =
        (healthy(), observation(Health::Unknown, InventoryState::Unknown, &[], PublishReport::Pending));
    let before = Case::new(&verdict, Some(&known)).decide(None, 1);
    let status = Case::new(&moved, Some(&blank)).decide(Some(&before), 9);
    assert_eq!(told(&status), ("UTUUU".to_owned(), reasons::PENDING, NodeState::Pending));
    assert_eq!((status.version, status.models), (None, None));
}

#[test]
fn a_new_generation_is_published_when_the_store_has_it() {
    let verdict = desired("a");
    let known = healthy();
    let before = Case::new(&verdict, Some(&known)).decide(None, 1);
    let pending = observation(Health::Healthy, InventoryState::Synced, &["a"], PublishReport::Pending);
    let mut case = Case::new(&verdict, Some(&pending));
    assert_eq!(told(&case.decide(Some(&before), 2)).0, "TTTTT", "a table on its way unpublishes nothing");
    case.generation = 2;
    let status = case.decide(Some(&before), 2);
    assert_eq!(told(&status), ("TTTTU".to_owned(), reasons::READY, NodeState::Ready));
    assert_eq!(
        told(&case.decide(None, 2)),
        ("UTTTU".to_owned(), reasons::PUBLISH_PENDING, NodeState::Pending)
    );
}

#[test]
fn a_store_that_is_away_degrades_a_node_that_served_and_holds_up_one_that_did_not() {
    let verdict = desired("a");
    let known = healthy();
    let before = Case::new(&verdict, Some(&known)).decide(None, 1);
    let failed =
        PublishReport::Failed { reason: reasons::STORE_UNAVAILABLE, message: "no answer".to_owned() };
    let failed = observation(Health::Healthy, InventoryState::Synced, &["a"], failed);
    let case = Case::new(&verdict, Some(&failed));
    assert_eq!(
        told(&case.decide(Some(&before), 2)),
        ("TTTTF".to_owned(), reasons::STORE_UNAVAILABLE, NodeState::Degraded)
    );
    assert_eq!(
        told(&case.decide(None, 2)),
        ("FTTTF".to_owned(), reasons::STORE_UNAVAILABLE, NodeState::Degraded)
    );
}

#[test]
fn a_list_that_fails_degrades_a_node_with_known_models() {
    let verdict = desired("a");
    let failed = observation(Health::Healthy, InventoryState::Failed, &["a"], version());
    let status = Case::new(&verdict, Some(&failed)).decide(None, 1);
    assert_eq!(told(&status), ("TTTFT".to_owned(), reasons::INVENTORY_FAILED, NodeState::Degraded));
    let empty = observation(Health::Healthy, InventoryState::Failed, &[], version());
    let status = Case::new(&verdict, Some(&empty)).decide(None, 1);
    assert_eq!(told(&status), ("FTTFT".to_owned(), reasons::INVENTORY_FAILED, NodeState::Degraded));
}

#[test]
fn a_look_up_that_fails_does_not_unaccept_a_node() {
    let (verdict, observation) = (desired("a"), healthy());
    let mut case = Case::new(&verdict, Some(&observation));
    let before = case.decide(None, 1);
    case.resolution = Resolution::Doubtful { host: "a".to_owned(), message: "no answer".to_owned() };
    assert_eq!(case.decide(Some(&before), 2), before);
    assert_eq!(
        told(&case.decide(None, 2)),
        ("TUTTT".to_owned(), reasons::RESOLVE_FAILED, NodeState::Degraded)
    );
}

fn any_observation() -> impl Strategy<Value = Option<NodeObservation>> {
    let health = prop::sample::select(vec![Health::Unknown, Health::Healthy, Health::Unhealthy]);
    let inventory =
        prop::sample::select(vec![InventoryState::Unknown, InventoryState::Synced, InventoryState::Failed]);
    let failed = PublishReport::Failed { reason: reasons::STORE_UNAVAILABLE, message: "no".to_owned() };
    let published = prop::sample::select(vec![PublishReport::Pending, version(), failed]);
    prop::option::of((health, inventory, any::<bool>(), published).prop_map(
        |(health, inventory, some, published)| {
            observation(health, inventory, if some { &["a"] } else { &[] }, published)
        },
    ))
}

proptest! {
    #[test]
    fn a_status_is_stable_complete_and_consistent(
        observations in proptest::collection::vec((any_observation(), 0u8..8, 1i64..3, 0u8..3), 1..12),
    ) {
        static NODES: LazyLock<[Result<DesiredNode, Rejection>; 2]> = LazyLock::new(|| [desired("a"), desired("b")]);
        let [a, b] = &*NODES;
        let mut previous: Option<OllamaNodeStatus> = None;
        for (second, (observation, choice, generation, wish)) in observations.into_iter().enumerate() {
            let verdict = match choice { 0 => rejected(), 1 => b.clone(), _ => a.clone() };
            let observation = observation.filter(|_| verdict.is_ok());
            let mut case = Case::new(&verdict, observation.as_ref());
            case.generation = generation;
            case.scheduling_state =
                [SchedulingState::Active, SchedulingState::Cordoned, SchedulingState::Draining][usize::from(wish)];
            let second = i64::try_from(second).unwrap() + 1;
            let status = case.decide(previous.as_ref(), second);

            let types: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
            prop_assert_eq!(types, OF_A_NODE);
            prop_assert!(status.conditions.iter().all(|condition| !condition.reason.is_empty()));
            if is(&status, READY, TRUE) {
                prop_assert!(is(&status, REACHABLE, TRUE) && !is(&status, ACCEPTED, FALSE));
                prop_assert!(matches!(status.state, NodeState::Ready | NodeState::Degraded));
                prop_assert_eq!(wish, 0);
            }
            prop_assert_eq!(status.state == NodeState::Rejected, is(&status, ACCEPTED, FALSE));
            // Nothing changes while nothing happens: no writes at steady state.
            prop_assert_eq!(&case.decide(Some(&status), second + 100), &status);
            previous = Some(status);
        }
    }
}
