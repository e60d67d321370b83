//! The programs of a run, each on its core: nginx and the data plane with their node, and what the data plane needs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aivonx_state::store::redis::RedisStore;
use aivonx_state::store::{Published, TableWriter};
use aivonx_state::table::{
    Health, ModelDetails, NodeEntry, NodeId, NodeModel, RoutingTable, Strategy, TableVersion,
};
use aivonx_tests::process::{self, Child};
use aivonx_tests::{Redis, http, ports, programs, tools};
use anyhow::{Context, Result, ensure};
use memchr::memmem;

use crate::mock;

const STARTUP: Duration = Duration::from_secs(15);

/// A running server.
pub struct Server {
    /// Its process.
    pub process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
    log_mark: &'static [u8],
}

impl Server {
    /// Counts the lines that requests have left in the log, and empties it.
    pub fn drain_log(&self) -> Result<u64> {
        let mut log = BufReader::with_capacity(1 << 20, File::open(&self.log)?);
        let (mut line, mut lines) = (Vec::new(), 0);
        while log.read_until(b'\n', &mut line)? > 0 {
            lines += u64::from(memmem::find(&line, self.log_mark).is_some());
            line.clear();
        }
        // Both append, so they go on at the new end.
        File::options().write(true).open(&self.log)?.set_len(0)?;
        Ok(lines)
    }
}

/// A command that runs `program` on one core.
pub fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

/// Puts this process, and what it will start, on one core.
pub fn settle(core: usize) -> Result<()> {
    let id = std::process::id().to_string();
    let mut command = Command::new("taskset");
    process::run(command.args(["--all-tasks", "--pid", "--cpu-list"]).arg(core.to_string()).arg(id)).map(drop)
}

/// Starts the node: `program`, which is this one, in that role.
pub async fn mock(program: &Path, folder: &Path, core: usize, nonce: &str, pace: Duration) -> Result<Server> {
    let address = free()?;
    let log = folder.join("mock.log");
    let plan = mock::Plan { listen: address, nonce: nonce.to_owned(), pace };
    let mut command = on_core(core, program);
    let mut process = Child::start(command.arg("mock").arg(serde_json::to_string(&plan)?), &log)?;
    answers(&mut process, "the node answers", &format!("http://{address}/api/version")).await?;
    Ok(Server { process, address, log, log_mark: b"" })
}

/// Starts nginx with one worker.
pub async fn nginx(folder: &Path, core: usize, node: SocketAddr) -> Result<Server> {
    let address = free()?;
    let log = folder.join("nginx-access.json");
    let text = include_str!("nginx.conf")
        .replace("{listen}", &address.to_string())
        .replace("{node}", &node.to_string())
        .replace("{folder}", folder.to_str().context("the temporary folder")?);
    let settings = folder.join("nginx.conf");
    fs::write(&settings, text)?;
    let mut command = on_core(core, &tools::path("nginx")?);
    command.arg("-e").arg(folder.join("nginx-error.log")).arg("-p").arg(folder).arg("-c").arg(settings);
    let mut process = Child::start(&mut command, &folder.join("nginx.log"))?;
    answers(&mut process, "nginx answers", &format!("http://{address}/api/version")).await?;
    Ok(Server { process, address, log, log_mark: b"{" })
}

/// Starts the data plane with a routing table in Redis. Postgres is away: where Redis has a table, nobody asks it.
pub async fn dataplane(folder: &Path, core: usize, node: SocketAddr, redis: &Redis) -> Result<Server> {
    publish(redis, node).await?;
    let (address, admin, nowhere) = (free()?, free()?, free()?);
    let log = folder.join("dataplane.log");
    let mut command = on_core(core, &programs::path("aivonx-dataplane")?);
    command
        .env("AIVONX_LISTEN", address.to_string())
        .env("AIVONX_ADMIN_LISTEN", admin.to_string())
        .env("AIVONX_REDIS_URL", redis.url())
        .env("AIVONX_DATABASE_URL", format!("postgres://bench@{nowhere}/aivonx"))
        .env("AIVONX_SECRET_KEY", "only-for-measurements-on-loopback")
        .env("TOKIO_WORKER_THREADS", "1");
    let mut process = Child::start(&mut command, &log)?;
    answers(&mut process, "the data plane is ready", &format!("http://{admin}/readyz")).await?;
    Ok(Server { process, address, log, log_mark: b"\"target\":\"proxy\"" })
}

async fn publish(redis: &Redis, node: SocketAddr) -> Result<()> {
    let id = NodeId::new("bench", "mock");
    let mut entry = NodeEntry::new(id.clone(), format!("http://{node}"));
    entry.health = Health::Healthy;
    entry.models.push(NodeModel {
        name: "m:latest".to_owned(),
        digest: "0".repeat(64),
        size: 1 << 30,
        modified_at: String::new(),
        details: ModelDetails::default(),
        capabilities: vec!["completion".to_owned()],
        loaded: None,
    });
    let version = TableVersion { epoch: 1, revision: 1 };
    let now = jiff::Timestamp::now();
    let table = RoutingTable::new(version, now, Strategy::default(), BTreeMap::from([(id, entry)]));
    let published = RedisStore::new(&redis.url())?.publish(&table, None).await?;
    ensure!(published == Published::Accepted, "Redis did not take the table: {published:?}");
    Ok(())
}

async fn answers(process: &mut Child, what: &str, url: &str) -> Result<()> {
    let check = async || {
        let response = http::get(url).await?;
        ensure!(response.status == 200, "{url} answers {}", response.status);
        Ok(())
    };
    process.until(what, STARTUP, check).await
}

fn free() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, ports::free()?).into())
}
