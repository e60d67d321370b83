//! What every Aivonx program needs and no program is about: settings, telemetry, the admin server, readiness,
//! shutdown and back-off.
//!
//! Invariants:
//! - Nothing here knows what a node, a table or a request is.
//! - A wrong setting is a [`settings::SettingsError`] that names the setting, and ends the program with exit code 2.
//! - Secrets are held by types whose `Debug` and `Display` do not show them.
//! - Once a program is ready it stays ready until it is told to stop: readiness never follows a dependency.

pub mod admin;
pub mod backoff;
pub mod build;
pub mod exit;
pub mod readiness;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
