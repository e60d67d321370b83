//! A real Redis.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use redis::FromRedisValue;
use tempfile::TempDir;

use crate::process::{Child, Signal};
use crate::{ports, tools};

/// A Redis server with no data and no persistence: whatever ends it also empties it.
#[derive(Debug)]
pub struct Redis {
    server: Child,
    port: u16,
    password: Option<String>,
    folder: TempDir,
}

impl Redis {
    /// Starts one that anybody may use.
    pub async fn start() -> Result<Redis> {
        Redis::launch(None).await
    }

    /// Starts one that demands a password. It must be fit for a URL as it is.
    pub async fn start_with_password(password: &str) -> Result<Redis> {
        Redis::launch(Some(password.to_owned())).await
    }

    async fn launch(password: Option<String>) -> Result<Redis> {
        let folder = TempDir::with_prefix("aivonx-redis-")?;
        let port = ports::free()?;
        let server = Redis::spawn(&folder, port, password.as_deref())?;
        let mut redis = Redis { server, port, password, folder };
        redis.ready().await?;
        Ok(redis)
    }

    fn spawn(folder: &TempDir, port: u16, password: Option<&str>) -> Result<Child> {
        let mut command = Command::new(tools::path("redis-server")?);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(folder.path());
        if let Some(password) = password {
            command.args(["--requirepass", password]);
        }
        Ok(Child::start(&mut command, &folder.path().join("log"))?.ended_by(Signal::Kill))
    }

    async fn ready(&mut self) -> Result<()> {
        let client = redis::Client::open(self.url())?;
        let answers = async || ask::<String>(&client, &["PING"]).await.map(drop);
        self.server.until("Redis answers", Duration::from_secs(10), answers).await
    }

    /// Its URL, with the password if there is one.
    pub fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}/0", self.port)
    }

    /// Its process, to pause it for example.
    pub fn process(&mut self) -> &mut Child {
        &mut self.server
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again on the same port, empty. One that still runs is killed first.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.server = Redis::spawn(&self.folder, self.port, self.password.as_deref())?;
        self.ready().await
    }

    /// Runs one command.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        ask(&redis::Client::open(self.url())?, words).await
    }

    /// Empties it, as an operator does that clears a cache.
    pub async fn flushall(&self) -> Result<()> {
        self.command::<String>(&["FLUSHALL"]).await.map(drop)
    }
}

async fn ask<T: FromRedisValue>(client: &redis::Client, words: &[&str]) -> Result<T> {
    let (name, arguments) = words.split_first().context("a command without a name")?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd(name).arg(arguments).query_async(&mut connection).await?)
}
