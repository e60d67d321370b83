//! A real Ollama passes the checks that hold the simulator to it. `simulator/tests/conformance.rs` is the other half.

use aivonx_simulator::conformance::{Target, checks, run_all};
use aivonx_tests::Ollama;
use anyhow::Result;

#[tokio::test]
async fn a_real_ollama_passes_the_checks_of_the_simulator() -> Result<()> {
    let ollama = Ollama::start().await?;
    let target =
        Target { base: ollama.url(), completion: "alphabet".to_owned(), embedding: "tinybert".to_owned() };
    let failed = run_all(&target).await;
    let told: Vec<String> = failed.iter().map(|(name, problem)| format!("{name}: {problem}")).collect();
    assert!(failed.is_empty(), "{} of {} checks failed:\n{}", failed.len(), checks().len(), told.join("\n"));
    Ok(())
}
