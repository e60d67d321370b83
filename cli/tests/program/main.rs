//! Runs the real program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is how a failure is told")]

mod check;
mod database;
mod gateway;
mod help;
mod run;

use std::process::{Command, Output, Stdio};

/// A secret key that is long enough.
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef";

/// The program with `arguments`, in an environment that holds nothing of the machine's.
fn aivonx(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aivonx"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs it to its end, away from the threads of the test.
async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
