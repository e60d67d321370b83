//! A real Ollama that computes on the CPU.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::http::{Method, StatusCode};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::process::{Child, Signal};
use crate::wait::eventually;
use crate::{http, ports, tools};

/// An Ollama server with two tiny models: `alphabet`, which answers everything with the letters from a to z,
/// and `tinybert`, which embeds. `tests/tools/models.py` says more about them.
#[derive(Debug)]
pub struct Ollama {
    server: Child,
    port: u16,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

impl Ollama {
    /// Starts one.
    pub async fn start() -> Result<Ollama> {
        Ollama::start_with(&[]).await
    }

    /// Starts one with more settings in its environment, such as `("OLLAMA_NUM_PARALLEL", "2")`.
    pub async fn start_with(environment: &[(&str, &str)]) -> Result<Ollama> {
        let store = prepared_store().await?;
        let environment =
            environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let folder = TempDir::with_prefix("aivonx-ollama-")?;
        link_all(&store, &models(folder.path()))?;
        Ollama::launch(folder, environment).await
    }

    async fn launch(folder: TempDir, environment: Vec<(String, String)>) -> Result<Ollama> {
        let port = ports::free()?;
        let server = spawn(folder.path(), port, &environment)?;
        let mut ollama = Ollama { server, port, environment, folder };
        ollama.ready().await?;
        Ok(ollama)
    }

    async fn ready(&mut self) -> Result<()> {
        let version = format!("{}/api/version", self.url());
        let answers = async || {
            let answer = http::get(&version).await?;
            ensure!(answer.status == StatusCode::OK, "{}", answer.status);
            Ok(())
        };
        self.server.until("Ollama answers", Duration::from_secs(20), answers).await
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process, to pause it for example: a paused one accepts connections and answers none.
    pub fn process(&mut self) -> &mut Child {
        &mut self.server
    }

    /// Ends it, and the runners of its models, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again on the same port with the same models, none of them loaded. One that still runs is
    /// killed first.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.server = spawn(self.folder.path(), self.port, &self.environment)?;
        self.ready().await
    }

    /// Makes a model of a GGUF file.
    async fn create(&self, name: &str, file: &Path) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        let upload = http::request(Method::POST, format!("{}/api/blobs/{digest}", self.url()), bytes)?;
        let answer = http::send(upload).await?;
        ensure!(answer.status == StatusCode::CREATED, "upload of {name}: {answer:?}");
        let create = json!({"model": name, "files": {"model.gguf": digest}, "parameters": parameters(), "stream": false});
        let answer = http::post_json(format!("{}/api/create", self.url()), &create).await?;
        ensure!(answer.status == StatusCode::OK, "create of {name}: {answer:?}");
        Ok(())
    }
}

fn spawn(folder: &Path, port: u16, environment: &[(String, String)]) -> Result<Child> {
    let mut command = Command::new(tools::path("ollama")?);
    command.arg("serve").env("HOME", folder).env("OLLAMA_MODELS", models(folder));
    command.env("OLLAMA_HOST", format!("127.0.0.1:{port}"));
    command.env("OLLAMA_NO_CLOUD", "1").env("OLLAMA_NOPRUNE", "1");
    command.env("OLLAMA_KEEP_ALIVE", "30m").env("OLLAMA_MAX_LOADED_MODELS", "8");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(Child::start(&mut command, &folder.join("log"))?.ended_by(Signal::Kill))
}

/// What the models run with. Several threads wait for each other at every token by spinning: on a machine that is busy
/// otherwise, that makes a model of a few megabytes a hundred times slower than one thread is.
fn parameters() -> Value {
    json!({"num_thread": 1})
}

fn models(folder: &Path) -> PathBuf {
    folder.join("models")
}

/// A store that holds the models, made once for each version of Ollama, of the models and of their parameters, then kept with the
/// tools.
async fn prepared_store() -> Result<PathBuf> {
    let (ollama, models_folder) =
        (tools::path("ollama")?.canonicalize()?, tools::path("models")?.canonicalize()?);
    let mut hasher = DefaultHasher::new();
    (&ollama, &models_folder, parameters().to_string()).hash(&mut hasher);
    let store = tools::folder()?.join(format!("ollama-store-{:016x}", hasher.finish()));
    let lock = File::create(tools::folder()?.join("ollama-store.lock"))?;
    let free = async || Ok(lock.try_lock()?);
    eventually("no other test makes the store", Duration::from_secs(60), free).await?;
    if !store.exists() {
        let folder = TempDir::with_prefix_in("building-store-", tools::folder()?)?;
        let ollama = Ollama::launch(folder, Vec::new()).await?;
        for name in ["alphabet", "tinybert"] {
            ollama.create(name, &models_folder.join(format!("{name}.gguf"))).await?;
        }
        fs::rename(models(ollama.folder.path()), &store)?;
    }
    Ok(store)
}

/// Copies a folder with its folders. The files are links to the same content where that is possible; Ollama
/// never changes a file in place.
fn link_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_all(&entry.path(), &target)?;
        } else if fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
