//! The command line of Aivonx, and the standalone gateway.
//!
//! Invariants:
//! - `aivonx run` is the controller's fleet and the data plane in one process, over the memory store. Nothing of either
//!   is written a second time here.
//! - Nodes from flags, from files and from `OLLAMA_HOST` go through the same parser, rules and validation as resources of
//!   a cluster.
//! - A broken edit of a file changes nothing: all files are taken, or none.
//! - Results go to standard output, what is meant for a person alone to standard error. Exit code 0 is success, 2 a wrong
//!   flag or setting, 1 anything else.
//! - Every wait for the outside has a limit, and nothing from outside reaches a terminal as it came.

mod advice;
pub mod args;
pub mod check;
pub mod database;
pub mod run;
pub mod version;

use aivonx_process::exit::{self, Failure};
use aivonx_process::tls;
use args::{Cli, Command, DbCommand};
use check::report::Colour;
use clap::{CommandFactory as _, Parser as _};
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// How long the end waits for threads that the system holds, such as a name lookup that was given up.
const LINGER: Duration = Duration::from_millis(100);

/// The program: reads the command line and the environment, and does what they say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when the stream is closed.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    tls::install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(Err(Failure::runtime(error))),
    };
    let outcome = runtime.block_on(Box::pin(execute(cli.command)));
    runtime.shutdown_timeout(LINGER);
    outcome.unwrap_or_else(|failure| exit::report(Err(failure)))
}

async fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::run(&args, ollama_host().as_deref()).await?,
        Command::Check(args) => {
            let report = check::run(&args, ollama_host().as_deref())
                .await
                .map_err(|refused| Failure::Settings(refused.into()))?;
            print(&report.render(args.output, colour(io::stdout().is_terminal(), env::var_os("NO_COLOR"))))?;
            if !report.is_good() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Migrate(args) => print(&database::migrate(&args).await?)?,
        Command::Db(DbCommand::Reset(args)) => print(&database::reset(&args).await?)?,
        Command::Version(args) => print(&version::render(args.output))?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "aivonx", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a result to standard output. A reader that has seen enough and left is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::runtime(error)),
        _ => Ok(()),
    }
}

/// Colours are for terminals whose owner has not set `NO_COLOR` to anything.
fn colour(terminal: bool, no_color: Option<OsString>) -> Colour {
    if terminal && no_color.is_none_or(|value| value.is_empty()) { Colour::On } else { Colour::Off }
}

fn ollama_host() -> Option<String> {
    env::var("OLLAMA_HOST").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert_eq!(colour(true, None), Colour::On);
        assert_eq!(colour(true, Some("".into())), Colour::On);
        assert_eq!(colour(true, Some("1".into())), Colour::Off);
        assert_eq!(colour(false, None), Colour::Off);
    }
}
