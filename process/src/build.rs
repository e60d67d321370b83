//! Which build this is.

use prometheus::{IntGaugeVec, Opts, Registry};

/// The version of the workspace, which all programs share.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Registers `aivonx_build_info{program,version} 1`.
///
/// # Errors
/// When the registry already holds a metric of that name.
pub fn register_build_info(registry: &Registry, program: &str) -> Result<(), prometheus::Error> {
    let info = IntGaugeVec::new(
        Opts::new("aivonx_build_info", "Always 1; the labels say which program and version runs."),
        &["program", "version"],
    )?;
    info.with_label_values(&[program, VERSION]).set(1);
    registry.register(Box::new(info))
}
