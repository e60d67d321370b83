//! The checks that a real Ollama server passes, run through the gateway. What differs is listed, and why.
#![expect(clippy::unwrap_used, reason = "in tests a panic is how a failure is told")]

use aivonx_dataplane::{Config, Limits, TableSources};
use aivonx_process::readiness::Readiness;
use aivonx_process::shutdown::Shutdown;
use aivonx_simulator::conformance::{Target, run_all};
use aivonx_simulator::{Model, Simulator, client};
use aivonx_state::TableWriter as _;
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::table::{Health, NodeEntry, NodeId, NodeModel, RoutingTable, Strategy, TableVersion};
use std::sync::Arc;

/// Checks that a gateway does not pass.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "plain/paths_are_matched_decoded_and_literally",
        "paths are cleaned here, where a node redirects some and does not find others",
    ),
    ("plain/foreign_origins_are_refused", "a client's Origin is between the client and the gateway"),
    ("native/generate_loads_and_unloads", "/api/ps is the table's, and nobody updates it in this test"),
    ("native/chat_loads_and_unloads", "/api/ps is the table's, and nobody updates it in this test"),
    ("native/ps_shows_what_is_loaded", "/api/ps is the table's, and nobody updates it in this test"),
    (
        "native/num_ctx_is_what_the_model_runs_with",
        "/api/ps is the table's, and nobody updates it in this test",
    ),
    ("native/keep_alive_forms", "/api/ps is the table's, and nobody updates it in this test"),
    ("native/bodies_are_read_as_go_reads_them", "a body with two keys for the model is refused"),
    ("errors/bodies", "bad JSON is told in the words of another parser"),
    ("errors/wrong_types", "a model that is no string is told in the words of another parser"),
    (
        "errors/cloud_names_without_cloud",
        "what a node finds only after a translation is found before it here",
    ),
    ("openai/errors_from_the_translation", "bad JSON is told in the words of another parser"),
];

/// What a controller would publish of one node, without what is in memory.
async fn table(simulator: &Simulator) -> RoutingTable {
    let tags = client::get(&simulator.url(), "/api/tags").send().await.unwrap().json();
    let models = tags["models"].as_array().unwrap().iter().map(|tag| NodeModel {
        name: tag["name"].as_str().unwrap().to_owned(),
        digest: tag["digest"].as_str().unwrap().to_owned(),
        size: tag["size"].as_u64().unwrap(),
        modified_at: tag["modified_at"].as_str().unwrap().to_owned(),
        details: serde_json::from_value(tag["details"].clone()).unwrap(),
        capabilities: serde_json::from_value(tag["capabilities"].clone()).unwrap(),
        loaded: None,
    });
    let id = NodeId::new("ai", "simulated");
    let node = NodeEntry {
        health: Health::Healthy,
        version: Some("0.32.15".into()),
        models: models.collect(),
        ..NodeEntry::new(id.clone(), simulator.url())
    };
    let version = TableVersion { epoch: 1, revision: 1 };
    RoutingTable::new(version, jiff::Timestamp::now(), Strategy::LeastActive, [(id, node)].into())
}

#[tokio::test]
async fn the_gateway_answers_as_a_node_does() {
    aivonx_process::tls::install_crypto_provider();
    let models = vec![Model::completion("alphabet"), Model::embedding("tinybert")];
    let config = aivonx_simulator::Config::default().models(models);
    let simulator = Simulator::start(config).await.unwrap();
    let store = MemoryStore::new();
    store.publish(&table(&simulator).await, None).await.unwrap();
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let running = aivonx_dataplane::start(
        Config { listen: "127.0.0.1:0".parse().unwrap(), limits: Limits::default() },
        TableSources { primary: Arc::new(store), fallback: None },
        &prometheus::Registry::new(),
        readiness.clone(),
        shutdown.clone(),
    )
    .unwrap();
    while !readiness.is_ready() {
        tokio::task::yield_now().await;
    }

    let target = Target {
        base: format!("http://{}", running.address),
        completion: "alphabet".to_owned(),
        embedding: "tinybert".to_owned(),
    };
    let failed = run_all(&target).await;
    let is_listed = |name: &str| DIFFERENT.iter().any(|(listed, _)| *listed == name);
    let surprises: Vec<_> = failed
        .iter()
        .filter(|(name, _)| !is_listed(name))
        .map(|(name, problem)| format!("{name}: {problem}"))
        .collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    for (listed, _) in DIFFERENT {
        assert!(failed.iter().any(|(name, _)| name == listed), "{listed} passes: take it off the list");
    }
    shutdown.force();
    running.done.await.unwrap();
    simulator.shutdown().await;
}
