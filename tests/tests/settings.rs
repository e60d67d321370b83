//! A missing or wrong setting ends a program with exit code 2 and one sentence that names the variable.

use std::process::{Command, Output};
use std::time::Duration;

use aivonx_tests::process::{Child, Signal};
use aivonx_tests::{http, ports, programs};
use anyhow::{Result, ensure};
use tempfile::TempDir;

const PROGRAMS: [&str; 2] = ["aivonx-controller", "aivonx-dataplane"];
const KEY: (&str, &str) = ("AIVONX_SECRET_KEY", "0123456789abcdef0123456789abcdef");
const REDIS: (&str, &str) = ("AIVONX_REDIS_URL", "redis://127.0.0.1:1/0");
const POSTGRES: (&str, &str) = ("AIVONX_DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/aivonx");

fn command(program: &str, settings: &[(&str, &str)]) -> Result<Command> {
    let mut command = Command::new(programs::path(program)?);
    command.env_clear().envs(settings.iter().copied());
    Ok(command)
}

#[test]
fn what_is_missing_or_wrong_is_named() -> Result<()> {
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[REDIS, POSTGRES], "AIVONX_SECRET_KEY environment variable is required"),
        (&[("AIVONX_SECRET_KEY", "short"), REDIS, POSTGRES], "AIVONX_SECRET_KEY has 5 characters"),
        (&[KEY, POSTGRES], "AIVONX_REDIS_URL environment variable is required"),
        (&[KEY, ("AIVONX_REDIS_URL", "http://127.0.0.1"), POSTGRES], "AIVONX_REDIS_URL starts with http://"),
        (&[KEY, REDIS], "AIVONX_DATABASE_URL environment variable is required"),
        (
            &[KEY, REDIS, ("AIVONX_DATABASE_URL", "mysql://u:hunter2@db/aivonx")],
            "AIVONX_DATABASE_URL starts with mysql://",
        ),
        (&[KEY, REDIS, POSTGRES, ("AIVONX_LOG_LEVEL", "proxy=loud")], "AIVONX_LOG_LEVEL cannot be read"),
    ];
    for program in PROGRAMS {
        for (settings, expected) in &cases {
            let Output { status, stderr, .. } = command(program, settings)?.output()?;
            let told = String::from_utf8_lossy(&stderr);
            assert_eq!(status.code(), Some(2), "{program} {settings:?}: {told}");
            assert!(told.contains(expected), "{program}: {told:?} does not say {expected:?}");
            assert_eq!(told.lines().count(), 1, "{program}: more than one sentence: {told}");
            assert!(!told.contains("hunter2"), "{program} shows a password: {told}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_merely_down_is_waited_for() -> Result<()> {
    let folder = TempDir::with_prefix("aivonx-settings-")?;
    let log = folder.path().join("log");
    let admin = format!("127.0.0.1:{}", ports::free()?);
    let listen = format!("127.0.0.1:{}", ports::free()?);
    let mut command = command("aivonx-dataplane", &[KEY, REDIS, POSTGRES])?;
    command.args(["--listen", &listen, "--admin-listen", &admin]);
    let mut dataplane = Child::start(&mut command, &log)?;
    let says_so = async || {
        let ready = http::get(format!("http://{admin}/readyz")).await?;
        ensure!(ready.status == 503, "ready without a table");
        let log = std::fs::read_to_string(&log)?;
        ensure!(log.contains("waiting for a store that cannot be read"), "the log does not say it: {log}");
        Ok(())
    };
    dataplane.until("it waits, and says so", Duration::from_secs(30), says_so).await?;
    let answer = http::get(format!("http://{listen}/api/tags")).await?;
    assert_eq!(answer.status, 503);
    let status = dataplane.end(Signal::Term)?;
    assert_eq!(status.code(), Some(0), "{}", dataplane.log_tail());
    let log = std::fs::read_to_string(&log)?;
    assert!(!log.contains("hunter2"), "the log shows a password");
    Ok(())
}
