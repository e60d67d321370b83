//! A standalone gateway under test.

use crate::aivonx;
use aivonx_tests::http;
use aivonx_tests::process::{Child, Signal};
use aivonx_tests::wait::eventually;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// `aivonx run` on free ports.
pub struct Gateway {
    child: Child,
    folder: TempDir,
    /// Where clients connect, such as `http://127.0.0.1:40123`.
    pub url: String,
    /// Where the admin server is.
    pub admin: String,
}

impl Gateway {
    /// Starts it with `arguments` and waits until it listens.
    pub async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::new()?;
        let ports = ["run", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut command = aivonx(&[&ports[..], arguments].concat());
        command.env("NO_COLOR", "1").envs(variables.iter().copied());
        let child = Child::start(&mut command, &folder.path().join("log"))?;
        let mut gateway = Self { child, folder, url: String::new(), admin: String::new() };
        let opening = gateway.says("metrics and readiness are on http://").await?;
        let mut urls = opening.split_whitespace().filter(|word| word.starts_with("http://"));
        let mut next = || urls.next().map(|url| url.trim_end_matches([';', '.']).to_owned());
        gateway.url = next().context("no address of the gateway")?;
        gateway.admin = next().context("no address of the admin server")?;
        Ok(gateway)
    }

    /// Waits until a line of what it prints holds `text`, and gives that line.
    pub async fn says(&mut self, text: &str) -> Result<String> {
        let log = self.log_file();
        let search = async || {
            let log = std::fs::read_to_string(&log)?;
            let line = log.lines().find(|line| line.contains(text));
            line.map(str::to_owned).with_context(|| format!("it does not say '{text}'"))
        };
        self.child.until(&format!("it says '{text}'"), PATIENCE, search).await
    }

    /// All that it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// URL and body of the `curl` that it prints once there is something to try.
    pub async fn advertised(&mut self) -> Result<(String, Value)> {
        let command = self.says("  curl -N http://").await?;
        let (before, rest) = command.split_once(" -d '").context("no body")?;
        let url = before.split_whitespace().last().context("no URL")?.to_owned();
        Ok((url, serde_json::from_str(rest.strip_suffix('\'').context("no end of the body")?)?))
    }

    /// The names of the models that it offers.
    pub async fn models(&self) -> Result<Vec<String>> {
        let tags = http::get(format!("{}/api/tags", self.url)).await?.json()?;
        let models = tags["models"].as_array().context("no models")?;
        Ok(models.iter().filter_map(|model| Some(model["name"].as_str()?.to_owned())).collect())
    }

    /// Waits until it offers exactly these models.
    pub async fn offers(&self, expected: &[&str]) -> Result<()> {
        let check = async || {
            let mut models = self.models().await?;
            models.sort();
            ensure!(models == expected, "it offers {models:?}");
            Ok(())
        };
        let offered = eventually(&format!("it offers {expected:?}"), PATIENCE, check).await;
        offered.with_context(|| self.log())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.child.signal(signal)
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        let ended = async || child.ended()?.context("it still runs");
        eventually("it ends", PATIENCE, ended).await
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}
