//! The simulator passes the checks that a real server passes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use aivonx_simulator::conformance::{Target, checks, run_all};
use aivonx_simulator::{Config, Model, Simulator};

#[tokio::test]
async fn the_simulator_conforms() {
    let models = vec![Model::completion("alphabet"), Model::embedding("tinybert")];
    let simulator = Simulator::start(Config::default().models(models)).await.unwrap();
    let target =
        Target { base: simulator.url(), completion: "alphabet".to_owned(), embedding: "tinybert".to_owned() };
    let failed = run_all(&target).await;
    let told: Vec<String> = failed.iter().map(|(name, problem)| format!("{name}: {problem}")).collect();
    assert!(failed.is_empty(), "{} of {} checks failed:\n{}", failed.len(), checks().len(), told.join("\n"));
    simulator.shutdown().await;
}

#[test]
fn checks_have_names_of_their_own() {
    let mut names: Vec<_> = checks().iter().map(|check| check.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
