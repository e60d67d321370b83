//! Settings that several programs share, as groups of command line arguments with their environment variables.

mod secret_key;
mod store_url;

pub use secret_key::{SecretKey, SecretKeyArgs};
pub use store_url::{StoreArgs, StoreUrl};

use std::net::SocketAddr;
use std::path::PathBuf;

/// A setting is missing or wrong. The sentence names the setting and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct SettingsError {
    /// The environment variable.
    pub setting: &'static str,
    /// What is wrong with it and what to write instead, without the value of a secret.
    pub sentence: String,
}

impl SettingsError {
    /// An error about `setting`.
    pub fn new(setting: &'static str, sentence: impl Into<String>) -> Self {
        Self { setting, sentence: sentence.into() }
    }
}

/// Where the admin server listens.
#[derive(clap::Args, Clone, Debug)]
pub struct AdminArgs {
    /// Address of the admin server: /metrics, /livez and /readyz
    #[arg(long, env = "AIVONX_ADMIN_LISTEN", default_value = "0.0.0.0:9464", value_name = "ADDR")]
    pub admin_listen: SocketAddr,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What is logged, how and where.
#[derive(clap::Args, Clone, Debug)]
pub struct LogArgs {
    /// Form of the log lines on standard output
    #[arg(long, env = "AIVONX_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Also write rotated log files to this folder
    #[arg(long, env = "AIVONX_LOG_DIR", value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Which lines are logged: a level, or a list such as `info,proxy=warn`
    #[arg(long, env = "AIVONX_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}
