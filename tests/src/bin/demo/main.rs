//! The whole system on this machine, on real parts: what `make demo` runs.
//!
//! It brings up a Kubernetes API, Redis, Postgres, two Ollama servers, the controller and two data planes, applies the
//! samples, streams a chat, and then takes one part after another away while clients go on asking. It says what it
//! does, and fails at the first thing that is not as promised.

mod clients;
mod narrator;
mod steps;
mod system;

use std::process::ExitCode;

use narrator::Narrator;
use system::System;

#[tokio::main]
async fn main() -> ExitCode {
    let narrator = Narrator::new();
    match play(&narrator).await {
        Ok(()) => {
            narrator.end("Everything was as promised.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            narrator.end(&format!("It failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(narrator: &Narrator) -> anyhow::Result<()> {
    let mut system = System::start(narrator).await?;
    steps::refuse_bad_resources(&system, narrator).await?;
    steps::apply_the_samples(&system, narrator).await?;
    steps::stream_a_chat(&system, narrator).await?;
    steps::kill_a_node(&mut system, narrator).await?;
    steps::flush_redis(&system, narrator).await?;
    steps::kill_the_controller(&mut system, narrator).await?;
    steps::start_without_redis(&mut system, narrator).await?;
    steps::kill_all_stores(&mut system, narrator).await?;
    system.end(narrator)
}
