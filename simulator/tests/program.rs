//! The program: its first line, its settings, its end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Stdio;

use aivonx_simulator::client::get;
use serde_json::json;
use support::within;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aivonx-simulator"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The address of the first line.
async fn url(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    within(BufReader::new(stdout).read_line(&mut line)).await.unwrap();
    line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("first line: {line:?}")).to_owned()
}

async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().unwrap());
    assert!(Command::new("sh").arg("-c").arg(kill).status().await.unwrap().success());
}

#[tokio::test]
async fn serves_by_flags_and_ends_by_signal() {
    for name in ["TERM", "INT"] {
        let mut child = program()
            .args(["--listen", "127.0.0.1:0", "--model", "x", "--model", "y:1b", "--embedding-model", "z"])
            .args(["--slots", "2", "--load-time", "1ms", "--tokens-per-second", "50", "--name", "node-1"])
            .args([
                "--keep-alive",
                "-1",
                "--vram",
                "1000",
                "--reply-tokens",
                "2",
                "--ollama-version",
                "0.9.9",
            ])
            .spawn()
            .unwrap();
        let url = url(&mut child).await;
        let version = get(&url, "/api/version").send().await.unwrap();
        assert_eq!((version.json(), version.header("x-sim-node")), (json!({"version": "0.9.9"}), "node-1"));
        let tags = get(&url, "/api/tags").send().await.unwrap().json();
        let names: Vec<_> = tags["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
        assert_eq!(names, ["x:latest", "y:1b", "z:latest"]);
        signal(&child, name).await;
        assert_eq!(within(child.wait()).await.unwrap().code(), Some(0), "{name}");
    }
}

#[tokio::test]
async fn serves_by_environment() {
    let mut child =
        program().env("AIVONX_SIM_MODEL", "x,y").env("AIVONX_SIM_NAME", "by-env").spawn().unwrap();
    let url = url(&mut child).await;
    let tags = get(&url, "/api/tags").send().await.unwrap();
    assert_eq!(tags.json()["models"].as_array().unwrap().len(), 2);
    assert_eq!(tags.header("x-sim-node"), "by-env");
}

#[tokio::test]
async fn says_what_is_wrong() {
    for (args, code, want) in [
        (&["--tokens-per-second=-1"][..], 2, "tokens-per-second"),
        (&["--load-time", "soon"], 2, "load-time"),
        (&["--model", "a/b/c/d"], 1, "a/b/c/d"),
        (&["--listen", "192.0.2.1:1"], 1, "192.0.2.1:1"),
    ] {
        let output = within(program().args(args).output()).await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(want), "{told}");
    }
}
