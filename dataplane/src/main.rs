//! The program `aivonx-dataplane`.

use aivonx_dataplane::Settings;
use aivonx_process::exit::{self, Failure};
use aivonx_process::{telemetry, tls};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = Settings::parse();
    tls::install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(Err(Failure::Runtime(Box::new(error)))),
    };
    exit::report(runtime.block_on(async {
        let _telemetry = telemetry::init(&settings.log, "dataplane")?;
        aivonx_dataplane::run(settings).await
    }))
}
