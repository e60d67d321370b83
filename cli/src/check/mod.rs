//! `aivonx check`: tries everything that the programs need, side by side, and says what to do about what is wrong.

mod api_server;
mod nodes;
mod plan;
mod postgres;
mod redis;
pub mod report;
mod secret_key;

use crate::args::{CheckArgs, Subject};
use crate::run::sources::{Refused, Sources};
use plan::Plan;
use report::{Finding, Report};

/// Looks at everything that the arguments ask for. Takes little longer than `args.timeout`.
///
/// # Errors
/// When a URL of `--node` or of `OLLAMA_HOST` cannot be a node.
pub async fn run(args: &CheckArgs, ollama_host: Option<&str>) -> Result<Report, Refused> {
    let plan = Plan::new(args);
    let mut sources = Sources::new(&args.nodes)?;
    if plan.takes_default_node() {
        sources.add_local_ollama(ollama_host)?;
    }
    let checks =
        plan.subjects().map(|subject| Box::pin(check(subject, args, sources.clone(), plan.needs(subject))));
    Ok(Report(futures::future::join_all(checks).await.concat()))
}

async fn check(subject: Subject, args: &CheckArgs, sources: Sources, needed: bool) -> Vec<Finding> {
    let limit = args.timeout;
    match subject {
        Subject::SecretKey => vec![secret_key::check(&args.secret_key, needed)],
        Subject::Redis => vec![redis::check(&args.stores, needed, limit).await],
        Subject::Postgres => vec![postgres::check(&args.stores, needed, limit).await],
        Subject::ApiServer => vec![api_server::check(needed, limit).await],
        Subject::Nodes => nodes::check(sources, needed, limit).await,
    }
}
