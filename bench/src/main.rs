//! Measures the data plane beside nginx, in one session: what a request and what a line of a stream cost each of them.
//!
//! Without a role it starts both with all they need, gives them slices of time in turn, and says whether the session
//! may be believed. How, and why so: `bench/README.md`. In a role it is one of the processes that this starts.

mod client;
mod latency;
mod load;
mod message;
mod mock;
mod parts;
mod procfs;
mod report;
mod session;
mod stats;
mod verdict;
mod work;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde::Serialize;

#[derive(Parser, Debug)]
#[command(name = "aivonx-bench", version, about = "Measures the data plane beside nginx")]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    settings: session::Settings,
}

#[derive(clap::Subcommand, Debug)]
enum Role {
    /// The node behind the proxies
    #[command(hide = true)]
    Mock { plan: String },
    /// The clients before one proxy, for one slice of time
    #[command(hide = true)]
    Load { plan: String },
    /// One client that asks the node and the proxies in turn
    #[command(hide = true)]
    Latency { plan: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Mock { plan }) => mock::serve(serde_json::from_str(&plan)?).await?,
        Some(Role::Load { plan }) => tell(&load::run(serde_json::from_str(&plan)?).await?)?,
        Some(Role::Latency { plan }) => tell(&latency::run(serde_json::from_str(&plan)?).await?)?,
        None => {
            let session = session::measure(cli.settings).await?;
            let faults = verdict::faults(&session);
            let file = report::keep(&session, &faults)?;
            report::progress("");
            writeln!(io::stdout(), "{}{}", report::table(&session, &faults)?, file.display())?;
            return Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(found: &impl Serialize) -> Result<()> {
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string(found)?)?)
}
