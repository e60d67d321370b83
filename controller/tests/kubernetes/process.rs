//! The program itself: how it starts, stands still, and ends.

use crate::cluster::{Cluster, PATIENCE, SYSTEM, is, manifest_of};
use crate::node::StubNode;
use aivonx_state::store::redis::RedisStore;
use aivonx_state::{RoutingTable, TableReader as _};
use aivonx_tests::process::{Child, Signal};
use aivonx_tests::wait::eventually;
use aivonx_tests::{Postgres, Redis, http, ports};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const KEY: &str = "0123456789abcdef0123456789abcdef";

struct Program {
    child: Child,
    admin: String,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aivonx-controller"));
    command.env_clear().env("AIVONX_LOG_FORMAT", "text");
    command
}

impl Program {
    fn start(identity: &str, folder: &Path, kubeconfig: &Path, redis: &str, postgres: &str) -> Result<Self> {
        let admin = format!("127.0.0.1:{}", ports::free()?);
        let mut command = command();
        command.args(["--redis-url", redis, "--database-url", postgres, "--secret-key", KEY]);
        command.args(["--admin-listen", &admin, "--identity", identity]);
        command.args(["--lease-namespace", SYSTEM, "--lease-duration", "3s"]);
        command.env("KUBECONFIG", kubeconfig);
        Ok(Self { child: Child::start(&mut command, &folder.join(format!("{identity}.log")))?, admin })
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        let text = http::get(format!("http://{}/metrics", self.admin)).await?;
        let line =
            text.text()?.lines().find(|line| line.starts_with(name)).with_context(|| name.to_owned())?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.admin);
        self.child
            .until("it is ready", PATIENCE, async || {
                ensure!(http::get(&url).await?.status.is_success(), "not ready");
                Ok(())
            })
            .await
    }

    async fn leads(&self, expected: f64) -> Result<()> {
        eventually(&format!("aivonx_leader is {expected}"), PATIENCE, async || {
            let leader = self.metric("aivonx_leader").await?;
            ensure!(leader == expected, "{leader}");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn a_leader_that_stands_still_is_replaced_and_changes_nothing_when_it_goes_on() -> Result<()> {
    let (cluster, redis, postgres) = tokio::try_join!(Cluster::start(), Redis::start(), Postgres::start())?;
    let folder = TempDir::new()?;
    let kubeconfig = cluster.kubeconfig(folder.path())?;
    let start =
        |identity| Program::start(identity, folder.path(), &kubeconfig, &redis.url(), &postgres.url());
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;

    let mut first = start("first")?;
    first.ready().await?;
    first.leads(1.0).await?;
    let mut second = start("second")?;
    second.ready().await?;
    cluster.status("gpu-1", "it is ready", |status| is(status, "Ready", "True")).await?;
    let store = RedisStore::new(&redis.url())?;
    let table = async || -> Result<RoutingTable> { store.read().await?.context("no table") };
    let before = table().await?.head.version;

    first.child.pause()?;
    second.leads(1.0).await?;
    eventually("the second publishes", PATIENCE, async || {
        let version = table().await?.head.version;
        ensure!(version.epoch > before.epoch, "{version}");
        Ok(())
    })
    .await?;
    node.kill();
    cluster.status("gpu-1", "the second probes", |status| is(status, "Reachable", "False")).await?;
    let (told, epoch) = (cluster.node("gpu-1").await?, table().await?.head.version.epoch);

    first.child.resume()?;
    first.leads(0.0).await?;
    assert_eq!(cluster.node("gpu-1").await?.metadata.resource_version, told.metadata.resource_version);
    assert_eq!(table().await?.head.version.epoch, epoch);
    assert_eq!(cluster.lease().await?.holder_identity.as_deref(), Some("second"));

    assert_eq!(second.child.end(Signal::Term)?.code(), Some(0));
    first.leads(1.0).await?;
    assert_eq!(first.child.end(Signal::Term)?.code(), Some(0));
    assert_eq!(cluster.lease().await?.holder_identity.as_deref(), Some(""), "given up at the end");
    Ok(())
}

#[tokio::test]
async fn stores_that_are_away_keep_nobody_from_starting() -> Result<()> {
    let cluster = Cluster::start().await?;
    let folder = TempDir::new()?;
    let kubeconfig = cluster.kubeconfig(folder.path())?;
    let (redis, postgres) = (ports::free()?, ports::free()?);
    let redis = format!("redis://127.0.0.1:{redis}");
    let postgres = format!("postgres://aivonx:hidden@127.0.0.1:{postgres}/aivonx");
    let mut program = Program::start("one", folder.path(), &kubeconfig, &redis, &postgres)?;
    program.ready().await?;
    program.leads(1.0).await?;
    let node = StubNode::start(&["a:1"]).await;
    cluster.apply(&manifest_of("gpu-1", &node, "")).await?;
    let what = "it is reachable, not published, and says why";
    let status = cluster
        .status("gpu-1", what, |status| is(status, "Reachable", "True") && is(status, "Published", "False"))
        .await?;
    assert_eq!(status.condition("Published").unwrap().reason, "StoreUnavailable");
    assert_eq!(program.child.end(Signal::Term)?.code(), Some(0));
    let log = std::fs::read_to_string(folder.path().join("one.log"))?;
    assert!(log.contains("trying again"), "{log}");
    assert!(!log.contains("hidden") && !log.contains(KEY), "{log}");
    Ok(())
}

#[test]
fn a_setting_that_is_missing_or_wrong_ends_it_with_code_2_and_one_sentence() {
    let all = [
        ("AIVONX_SECRET_KEY", KEY),
        ("AIVONX_REDIS_URL", "redis://127.0.0.1:6379"),
        ("AIVONX_DATABASE_URL", "postgres://a:b@127.0.0.1:5432/c"),
        ("AIVONX_ADMIN_LISTEN", "127.0.0.1:0"),
        ("KUBECONFIG", "/nowhere"),
    ];
    for (variable, value, part) in [
        ("AIVONX_SECRET_KEY", None, "AIVONX_SECRET_KEY environment variable is required"),
        ("AIVONX_REDIS_URL", None, "AIVONX_REDIS_URL"),
        ("AIVONX_REDIS_URL", Some("http://127.0.0.1"), "AIVONX_REDIS_URL"),
        ("AIVONX_DATABASE_URL", None, "AIVONX_DATABASE_URL"),
        ("AIVONX_DATABASE_URL", Some("mysql://a"), "AIVONX_DATABASE_URL"),
        ("AIVONX_LEASE_DURATION", Some("1s"), "AIVONX_LEASE_DURATION is 1s"),
        ("KUBECONFIG", Some("/nowhere"), "set KUBECONFIG"),
    ] {
        let mut command = command();
        command.envs(all.iter().filter(|(name, _)| *name != variable).copied());
        if let Some(value) = value {
            command.env(variable, value);
        }
        let output = command.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable}: {complaint}");
        assert!(complaint.contains(part) && complaint.trim().lines().count() == 1, "{variable}: {complaint}");
    }
}
