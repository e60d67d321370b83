//! The controller's program.

use aivonx_controller::app;
use aivonx_controller::settings::Args;
use aivonx_process::exit::{Failure, report};
use aivonx_process::tls::install_crypto_provider;
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    install_crypto_provider();
    report(run(&args))
}

fn run(args: &Args) -> Result<(), Failure> {
    let _telemetry = aivonx_process::telemetry::init(&args.log, "controller")?;
    let settings = args.settings()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(app::run(settings))
}
