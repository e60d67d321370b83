//! The clients that people use, unchanged but for the address, against the standalone gateway and a real Ollama.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aivonx_tests::process::{Child, run, without_proxies};
use aivonx_tests::{Ollama, http, ports, programs, tools};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

/// The gateway in front of one Ollama.
struct Standalone {
    gateway: Child,
    ollama: Ollama,
    url: String,
    folder: TempDir,
}

impl Standalone {
    async fn start() -> Result<Standalone> {
        let ollama = Ollama::start().await?;
        let folder = TempDir::with_prefix("aivonx-clients-")?;
        let (listen, admin) = (ports::free()?, ports::free()?);
        let mut command = Command::new(programs::path("aivonx")?);
        command.args(["run", "--node", &ollama.url(), "--listen", &format!("127.0.0.1:{listen}")]);
        command.arg("--admin-listen").arg(format!("127.0.0.1:{admin}"));
        let mut gateway = Child::start(&mut command, &folder.path().join("gateway.log"))?;
        let url = format!("http://127.0.0.1:{listen}");
        let has_models = async || {
            let models = http::get(format!("{url}/api/tags")).await?;
            ensure!(models.text()?.contains("tinybert"), "{} {}", models.status, models.text()?);
            Ok(())
        };
        gateway.until("the gateway knows the models", Duration::from_secs(30), has_models).await?;
        Ok(Standalone { gateway, ollama, url, folder })
    }

    /// Runs a command as a user with the gateway's address, off the runtime's thread.
    async fn run(&self, mut command: Command) -> Result<String> {
        without_proxies(&mut command).env("HOME", self.folder.path()).env("OLLAMA_HOST", &self.url);
        tokio::task::spawn_blocking(move || run(&mut command)).await?
    }

    async fn python(&self, script: &str) -> Result<Value> {
        let mut command = Command::new(tools::path("python-clients")?);
        command.arg(clients().join(script)).arg(&self.url);
        let printed = self.run(command).await?;
        serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
    }

    async fn ollama(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(tools::path("ollama")?);
        command.args(arguments);
        self.run(command).await
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

#[tokio::test]
async fn ollama_python_sees_an_ollama() -> Result<()> {
    let standalone = Standalone::start().await?;
    let seen = standalone.python("ollama_client.py").await?;
    assert_eq!(seen["models"], json!(["alphabet:latest", "tinybert:latest"]));
    for kind in ["chat", "generate"] {
        assert_eq!(seen[kind], ALPHABET, "{kind}");
    }
    assert_eq!(text_of(&seen["stream"])?, ALPHABET);
    assert_eq!(seen["embeddings"], json!([64, 64]));
    assert_eq!(seen["show"], "llama");
    assert_eq!(seen["unknown"], json!([404, "model 'nobody-has-this' not found"]));
    Ok(())
}

#[tokio::test]
async fn openai_python_sees_an_ollama() -> Result<()> {
    let standalone = Standalone::start().await?;
    let seen = standalone.python("openai_client.py").await?;
    assert_eq!(seen["models"], json!(["alphabet:latest", "tinybert:latest"]));
    for kind in ["chat", "completion"] {
        assert_eq!(seen[kind], ALPHABET, "{kind}");
    }
    assert_eq!(text_of(&seen["stream"])?, ALPHABET);
    assert_eq!(seen["embeddings"], json!([64]));
    assert_eq!(seen["unknown"], json!([404, "model 'nobody-has-this' not found"]));
    Ok(())
}

#[tokio::test]
async fn the_ollama_command_sees_an_ollama() -> Result<()> {
    let mut standalone = Standalone::start().await?;
    let listed = standalone.ollama(&["list"]).await?;
    assert!(listed.contains("alphabet:latest") && listed.contains("tinybert:latest"), "{listed}");
    let answer = standalone.ollama(&["run", "alphabet", "hi"]).await?;
    assert_eq!(answer.trim(), ALPHABET);
    let shown = standalone.ollama(&["show", "alphabet"]).await?;
    assert!(shown.contains("llama"), "{shown}");
    // The model is in memory now, which the gateway learns from the node's next inventory.
    let standalone_ref = &standalone;
    aivonx_tests::wait::eventually("the model shows as loaded", Duration::from_secs(30), async || {
        let loaded = standalone_ref.ollama(&["ps"]).await?;
        ensure!(loaded.contains("alphabet:latest"), "{loaded}");
        Ok(())
    })
    .await?;
    let unknown = standalone.ollama(&["run", "nobody-has-this", "hi"]).await;
    let complaint = format!("{:#}", unknown.expect_err("nobody has it, and the gateway does not pull"));
    assert!(complaint.contains("disabled on this gateway"), "{complaint}");
    standalone.ollama.kill()?;
    let gone = standalone.ollama(&["run", "alphabet", "hi"]).await;
    let complaint = format!("{:#}", gone.expect_err("no node is left"));
    assert!(complaint.contains("no healthy nodes available"), "{complaint}");
    ensure!(standalone.gateway.ended()?.is_none(), "the gateway ended");
    Ok(())
}

fn text_of(parts: &Value) -> Result<String> {
    let parts: Vec<String> = serde_json::from_value(parts.clone())?;
    ensure!(parts.len() > 2, "{} parts are no stream", parts.len());
    Ok(parts.concat())
}
