//! The prepared index: from a model's name to the nodes that can be asked for it.

use super::endpoint::{Endpoint, Surroundings};
use super::fleet_answers::{FleetAnswers, Shown, timestamp};
use crate::metrics::ModelSeries;
use aivonx_state::table::{NodeEntry, NodeId, NodeModel, RoutingTable, Strategy, TableHead};
use aivonx_state::{ModelKey, ModelName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Models that have a metric label of their own; the others share one.
const LABELLED_MODELS: usize = 200;

/// One table, prepared for requests. Built aside and swapped in whole.
#[derive(Debug)]
pub(crate) struct Index {
    /// Which table this is.
    pub head: TableHead,
    /// What is answered about the fleet as a whole.
    pub answers: FleetAnswers,
    models: HashMap<ModelKey, ModelEntry>,
    endpoints: BTreeMap<NodeId, Arc<Endpoint>>,
    any_takes_requests: bool,
}

/// A model that at least one node lists.
#[derive(Debug)]
pub(crate) struct ModelEntry {
    /// Its counters.
    pub series: Arc<ModelSeries>,
    /// The nodes that can be asked: they are healthy, take requests and have the model with the winning digest. Empty
    /// when only nodes that cannot be asked have it.
    pub candidates: Vec<Candidate>,
    /// When it was changed last, in seconds since 1970.
    pub created: i64,
    /// Its namespace.
    pub owned_by: Box<str>,
    /// Where the node that `round_robin` chose last stood.
    pub turn: AtomicU64,
}

/// A node that can be asked for a model.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The node.
    pub endpoint: Arc<Endpoint>,
    /// Its requests for this model.
    pub in_flight: Arc<AtomicU32>,
    /// Where it stands in the order of `round_robin`.
    pub pass: AtomicU64,
}

/// A model on one node.
type Listed<'a> = (&'a NodeEntry, &'a NodeModel);

impl Index {
    /// Prepares a table. What requests have found out about nodes of `before` stays, and what is gone since is forgotten.
    pub(crate) fn build(table: &RoutingTable, before: Option<&Index>, surroundings: &Surroundings) -> Self {
        let endpoints = endpoints(table, before, surroundings);
        let mut listed: BTreeMap<ModelKey, (ModelName, Vec<Listed<'_>>)> = BTreeMap::new();
        for node in table.nodes.values() {
            for model in &node.models {
                match ModelName::parse(&model.name) {
                    // A name of ollama.com's is never run by a node itself.
                    Ok(name) if !name.is_cloud() => {
                        listed.entry(name.key()).or_insert_with(|| (name, Vec::new())).1.push((node, model));
                    }
                    _ => {}
                }
            }
        }
        let mut models = HashMap::with_capacity(listed.len());
        let mut shown = Vec::with_capacity(listed.len());
        for (key, (name, on_nodes)) in listed {
            let Some(winner) = winner(&on_nodes) else { continue };
            let usable = |(node, model): &&Listed<'_>| node.takes_requests() && model.digest == winner.digest;
            let candidates: Vec<_> = on_nodes
                .iter()
                .filter(usable)
                .filter_map(|(node, _)| endpoints.get(&node.id))
                .map(|endpoint| Candidate {
                    in_flight: endpoint.state.in_flight_for(&key),
                    endpoint: endpoint.clone(),
                    pass: AtomicU64::new(0),
                })
                .collect();
            let modified = timestamp(&winner.modified_at);
            let entry = ModelEntry {
                series: series(&key, winner, before, models.len(), surroundings),
                created: modified.as_second(),
                owned_by: name.namespace().into(),
                turn: AtomicU64::new(0),
                candidates,
            };
            if !entry.candidates.is_empty() {
                shown.push(Shown { name, model: winner, modified });
            }
            models.insert(key, entry);
        }
        let answers = FleetAnswers::render(table, shown);
        let any_takes_requests = table.nodes.values().any(NodeEntry::takes_requests);
        let index = Self { head: table.head.clone(), answers, models, endpoints, any_takes_requests };
        index.forget_what_is_gone(before, surroundings);
        index
    }

    /// The model of this name, if any node lists it.
    pub(crate) fn model(&self, key: &ModelKey) -> Option<&ModelEntry> {
        self.models.get(key)
    }

    /// Whether any node takes requests. Where none does, a model that nobody lists may be one that nobody could list.
    pub(crate) fn any_takes_requests(&self) -> bool {
        self.any_takes_requests
    }

    /// How a node is chosen.
    pub(crate) fn strategy(&self) -> Strategy {
        self.head.strategy
    }

    /// The nodes of the table.
    pub(crate) fn endpoint_count(&self) -> usize {
        self.endpoints.len()
    }

    fn forget_what_is_gone(&self, before: Option<&Index>, surroundings: &Surroundings) {
        for endpoint in self.endpoints.values() {
            endpoint.state.forget_idle_models(|model| {
                self.models
                    .get(model)
                    .is_some_and(|entry| entry.candidates.iter().any(|one| one.endpoint.id == endpoint.id))
            });
        }
        let Some(before) = before else { return };
        for (id, endpoint) in &before.endpoints {
            let now = self.endpoints.get(id);
            if now.is_none_or(|now| !Arc::ptr_eq(&now.state, &endpoint.state)) {
                endpoint.state.retire();
            }
            if now.is_none() {
                surroundings.metrics.forget_node(id);
            }
        }
        for (key, model) in &before.models {
            if !self.models.contains_key(key) && model.series.is_own() {
                model.series.forget();
            }
        }
    }
}

fn endpoints(
    table: &RoutingTable,
    before: Option<&Index>,
    surroundings: &Surroundings,
) -> BTreeMap<NodeId, Arc<Endpoint>> {
    let mut endpoints = BTreeMap::new();
    for node in table.nodes.values() {
        let known = before.and_then(|before| before.endpoints.get(&node.id));
        match Endpoint::new(node, known.map(|known| &**known), surroundings) {
            Ok(endpoint) => drop(endpoints.insert(node.id.clone(), endpoint)),
            Err(error) => tracing::warn!(node = %node.id, %error, "node of the routing table is left out"),
        }
    }
    endpoints
}

/// The one model that stands for a name. Nodes may list different contents under one name; then requests go only to
/// nodes with the digest that most of the nodes that take requests have; among equals to the newest one, and among
/// those to the lowest digest, so that all data planes choose the same. Where no node takes requests, all are counted.
fn winner<'a>(on_nodes: &[Listed<'a>]) -> Option<&'a NodeModel> {
    let any_takes_requests = on_nodes.iter().any(|(node, _)| node.takes_requests());
    let counted = || {
        on_nodes
            .iter()
            .filter(|(node, _)| node.takes_requests() || !any_takes_requests)
            .map(|(_, model)| *model)
    };
    let mut votes: HashMap<&str, usize> = HashMap::new();
    for model in counted() {
        *votes.entry(&model.digest).or_default() += 1;
    }
    counted().max_by_key(|model| {
        (
            votes.get(&*model.digest),
            timestamp(&model.modified_at),
            Reverse(&model.digest),
            Reverse(&model.name),
        )
    })
}

fn series(
    key: &ModelKey,
    model: &NodeModel,
    before: Option<&Index>,
    place: usize,
    surroundings: &Surroundings,
) -> Arc<ModelSeries> {
    match before.and_then(|before| before.models.get(key)) {
        Some(known) => known.series.clone(),
        None if place < LABELLED_MODELS => surroundings.metrics.model(&model.name),
        None => surroundings.metrics.other_model(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Connectors;
    use crate::health::Rechecks;
    use crate::metrics::Metrics;
    use aivonx_state::table::{Health, Loaded, ModelDetails, SchedulingState, TableVersion};
    use futures::FutureExt as _;
    use serde_json::{Value, json};
    use std::sync::atomic::Ordering;
    use tokio_util::sync::CancellationToken;

    fn surroundings(registry: &prometheus::Registry) -> Surroundings {
        aivonx_process::tls::install_crypto_provider();
        Surroundings {
            connectors: Connectors::new(),
            rechecks: Rechecks::new(CancellationToken::new()),
            metrics: Metrics::new(registry).unwrap(),
        }
    }

    fn model(name: &str, digest: &str, modified_at: &str) -> NodeModel {
        NodeModel {
            name: name.into(),
            digest: digest.into(),
            size: 7,
            modified_at: modified_at.into(),
            details: ModelDetails::default(),
            capabilities: vec![],
            loaded: None,
        }
    }

    fn node(name: &str, models: Vec<NodeModel>) -> NodeEntry {
        NodeEntry {
            health: Health::Healthy,
            version: Some("0.32.15".into()),
            models,
            ..NodeEntry::new(NodeId::new("ai", name), "http://10.0.0.7:11434")
        }
    }

    fn table(nodes: Vec<NodeEntry>) -> RoutingTable {
        let nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
        let version = TableVersion { epoch: 1, revision: 1 };
        RoutingTable::new(version, jiff::Timestamp::UNIX_EPOCH, Strategy::LeastActive, nodes)
    }

    fn candidates<'a>(index: &'a Index, name: &str) -> Option<Vec<&'a str>> {
        let entry = index.model(&ModelName::parse(name).unwrap().key())?;
        Some(entry.candidates.iter().map(|candidate| candidate.endpoint.id.name()).collect())
    }

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-02-01T00:00:00+02:00";

    #[tokio::test]
    async fn candidates_are_the_nodes_that_take_requests_and_have_the_model() {
        let mut sick = node("sick", vec![model("a:latest", "1", OLD), model("only-sick:latest", "2", OLD)]);
        sick.health = Health::Unhealthy;
        let mut cordoned = node("cordoned", vec![model("a:latest", "1", OLD)]);
        cordoned.scheduling_state = SchedulingState::Cordoned;
        let index = Index::build(
            &table(vec![
                sick,
                cordoned,
                node("well", vec![model("A:latest", "1", OLD)]),
                node("none", vec![]),
            ]),
            None,
            &surroundings(&prometheus::Registry::new()),
        );
        assert_eq!(candidates(&index, "library/a"), Some(vec!["well"]));
        assert_eq!(candidates(&index, "only-sick"), Some(vec![]));
        assert_eq!(candidates(&index, "nope"), None);
        assert_eq!(parsed(&index.answers.tags)["models"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn one_digest_stands_for_a_name() {
        let build = |nodes| Index::build(&table(nodes), None, &surroundings(&prometheus::Registry::new()));
        let most = build(vec![
            node("x", vec![model("a:latest", "1", OLD)]),
            node("y", vec![model("a:latest", "1", OLD)]),
            node("z", vec![model("a:latest", "2", NEW)]),
        ]);
        assert_eq!(candidates(&most, "a"), Some(vec!["x", "y"]));
        assert_eq!(parsed(&most.answers.tags)["models"][0]["digest"], "1");
        let newest = build(vec![
            node("x", vec![model("a:latest", "1", OLD)]),
            node("z", vec![model("a:latest", "2", NEW)]),
        ]);
        assert_eq!(candidates(&newest, "a"), Some(vec!["z"]));
        let mut sick = node("z", vec![model("a:latest", "2", NEW)]);
        sick.health = Health::Unhealthy;
        let only_well = build(vec![node("x", vec![model("a:latest", "1", OLD)]), sick]);
        assert_eq!(candidates(&only_well, "a"), Some(vec!["x"]));
    }

    #[tokio::test]
    async fn the_fleet_answers_as_one_server() {
        let mut loaded = model("b:latest", "2", NEW);
        loaded.loaded = Some(Loaded {
            size: 5,
            size_vram: 4,
            context_length: 4096,
            expires_at: "2026-03-01T00:00:00Z".into(),
        });
        let mut longer = loaded.clone();
        longer.loaded.as_mut().unwrap().expires_at = "2026-03-01T01:00:00Z".into();
        let index = Index::build(
            &table(vec![
                node("x", vec![model("a:latest", "1", OLD), loaded]),
                node("y", vec![model("A:latest", "1", OLD), longer]),
            ]),
            None,
            &surroundings(&prometheus::Registry::new()),
        );
        let tags = parsed(&index.answers.tags);
        assert_eq!(tags["models"].as_array().unwrap().len(), 2);
        assert_eq!(tags["models"][0]["name"], "b:latest", "newest first");
        let ps = parsed(&index.answers.loaded);
        assert_eq!(ps["models"].as_array().unwrap().len(), 1);
        assert_eq!(ps["models"][0]["expires_at"], "2026-03-01T01:00:00Z");
        assert_eq!(ps["models"][0]["size_vram"], 4);
        let models = parsed(&index.answers.models);
        assert_eq!(models["object"], "list");
        assert_eq!(
            models["data"][0],
            json!({"id":"b:latest","object":"model","created":1_769_896_800,"owned_by":"library"})
        );
        assert_eq!(parsed(&index.answers.version), json!({"version":"0.32.15"}));
    }

    #[tokio::test]
    async fn an_empty_fleet_has_empty_lists_and_no_null() {
        let index = Index::build(&table(vec![]), None, &surroundings(&prometheus::Registry::new()));
        assert_eq!(&index.answers.tags[..], br#"{"models":[]}"#);
        assert_eq!(&index.answers.loaded[..], br#"{"models":[]}"#);
        assert_eq!(parsed(&index.answers.models)["data"], json!([]));
        assert_eq!(&index.answers.version[..], br#"{"version":"0.0.0"}"#);
    }

    #[tokio::test]
    async fn what_requests_found_out_stays_with_the_same_node_alone() {
        let registry = prometheus::Registry::new();
        let surroundings = surroundings(&registry);
        let first =
            Index::build(&table(vec![node("x", vec![model("a:latest", "1", OLD)])]), None, &surroundings);
        let state = |index: &Index| index.endpoints.values().next().unwrap().state.clone();
        state(&first).in_flight.store(3, Ordering::Relaxed);
        let same = Index::build(&table(vec![node("x", vec![])]), Some(&first), &surroundings);
        assert!(Arc::ptr_eq(&state(&first), &state(&same)));
        for change in [
            |node: &mut NodeEntry| node.uid = "another".into(),
            |node: &mut NodeEntry| node.url = "http://10.0.0.8:11434".into(),
        ] {
            let mut node = node("x", vec![]);
            change(&mut node);
            let other = Index::build(&table(vec![node]), Some(&same), &surroundings);
            assert_eq!(state(&other).in_flight.load(Ordering::Relaxed), 0);
            assert!(!Arc::ptr_eq(&state(&same), &state(&other)));
        }
        assert!(state(&same).is_retired());
    }

    #[tokio::test]
    async fn only_a_table_that_calls_a_node_healthy_again_tells_of_its_recovery() {
        let surroundings = surroundings(&prometheus::Registry::new());
        let told = |health, before: &Index| {
            let node = NodeEntry { health, ..node("x", vec![]) };
            let index = Index::build(&table(vec![node]), Some(before), &surroundings);
            let told = index.endpoints.values().next().unwrap().state.recovered().now_or_never().is_some();
            (index, told)
        };
        let first = Index::build(&table(vec![node("x", vec![])]), None, &surroundings);
        let (second, still_healthy) = told(Health::Healthy, &first);
        let (third, unhealthy) = told(Health::Unhealthy, &second);
        let (_, healthy_again) = told(Health::Healthy, &third);
        assert_eq!((still_healthy, unhealthy, healthy_again), (false, false, true));
    }

    #[tokio::test]
    async fn a_node_at_a_forbidden_address_is_left_out() {
        let mut metadata = node("m", vec![model("a:latest", "1", OLD)]);
        metadata.url = "http://169.254.169.254".into();
        let index = Index::build(&table(vec![metadata]), None, &surroundings(&prometheus::Registry::new()));
        assert_eq!(candidates(&index, "a"), Some(vec![]));
        assert_eq!(index.endpoint_count(), 0);
    }

    #[tokio::test]
    async fn cloud_models_are_not_listed() {
        let index = Index::build(
            &table(vec![node("x", vec![model("gpt-oss:120b-cloud", "1", OLD)])]),
            None,
            &surroundings(&prometheus::Registry::new()),
        );
        assert_eq!(&index.answers.tags[..], br#"{"models":[]}"#);
    }
}
