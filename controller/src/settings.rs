//! The settings of `aivonx-controller`: flags and environment variables, checked once at the start.

use crate::lease::LeaseSettings;
use aivonx_crds::ApiDuration;
use aivonx_process::settings::{
    AdminArgs, LogArgs, SecretKey, SecretKeyArgs, SettingsError, StoreArgs, StoreUrl,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Shorter leases change hands at every hiccup of the API server.
const MIN_LEASE: Duration = Duration::from_secs(3);
const MAX_LEASE: Duration = Duration::from_secs(300);

/// Watches OllamaNodes, probes the servers and publishes the routing table.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "aivonx-controller", version, about)]
pub struct Args {
    /// The stores that the routing table goes to.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// The secret key.
    #[command(flatten)]
    pub secret_key: SecretKeyArgs,
    /// The admin address.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
    /// Namespace to watch; all of them by default.
    #[arg(long, env = "AIVONX_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace of the Lease; by default the controller's own.
    #[arg(long, env = "AIVONX_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the Lease. Replicas that share stores must share it.
    #[arg(long, env = "AIVONX_LEASE_NAME", default_value = "aivonx-controller", value_name = "NAME")]
    pub lease_name: String,
    /// Name of this replica in the Lease; by default the host's name and a random part. No two may be the same.
    #[arg(long, env = "AIVONX_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// How long the Lease holds after a renewal: 3s to 5m, in whole seconds.
    #[arg(long, env = "AIVONX_LEASE_DURATION", default_value = "15s", value_name = "DURATION")]
    pub lease_duration: String,
}

/// Settings that can be worked with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Redis is.
    pub redis: StoreUrl,
    /// Where Postgres is.
    pub database: StoreUrl,
    /// The key that credentials are sealed with.
    pub secret_key: SecretKey,
    /// Where metrics and health are served.
    pub admin_listen: SocketAddr,
    /// What to watch, and how leaders are elected.
    pub cluster: ClusterSettings,
}

/// The part of the settings that is about Kubernetes.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The namespace to watch; `None` for all.
    pub namespace: Option<String>,
    /// The namespace of the Lease; `None` for the controller's own.
    pub lease_namespace: Option<String>,
    /// The Lease.
    pub lease: LeaseSettings,
}

impl Args {
    /// Checks all settings.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let named = |text: &Option<String>, setting| {
            text.as_deref().filter(|name| !name.is_empty()).map(|name| object_name(name, setting)).transpose()
        };
        Ok(Settings {
            secret_key: self.secret_key.load()?,
            redis: self.stores.redis_url()?,
            database: self.stores.database_url()?,
            admin_listen: self.admin.admin_listen,
            cluster: ClusterSettings {
                namespace: named(&self.namespace, "AIVONX_NAMESPACE")?,
                lease_namespace: named(&self.lease_namespace, "AIVONX_LEASE_NAMESPACE")?,
                lease: LeaseSettings {
                    name: object_name(&self.lease_name, "AIVONX_LEASE_NAME")?,
                    identity: self
                        .identity
                        .clone()
                        .filter(|identity| !identity.trim().is_empty())
                        .unwrap_or_else(default_identity),
                    duration: lease_duration(&self.lease_duration)?,
                },
            },
        })
    }
}

fn object_name(name: &str, setting: &'static str) -> Result<String, SettingsError> {
    let alphanumeric = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let fits = name.len() <= 63
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
        && name.chars().all(|character| alphanumeric(character) || character == '-');
    if fits {
        return Ok(name.to_owned());
    }
    let sentence = format!("{setting} is '{name}': use at most 63 lower-case letters, digits and dashes");
    Err(SettingsError::new(setting, sentence))
}

fn lease_duration(text: &str) -> Result<Duration, SettingsError> {
    let setting = "AIVONX_LEASE_DURATION";
    let duration: Duration = text
        .parse::<ApiDuration>()
        .map_err(|error| SettingsError::new(setting, format!("{setting}: {error}")))?
        .get();
    if (MIN_LEASE..=MAX_LEASE).contains(&duration) && duration.subsec_nanos() == 0 {
        return Ok(duration);
    }
    let sentence = format!("{setting} is {text}: it must be between 3s and 5m, in whole seconds");
    Err(SettingsError::new(setting, sentence))
}

/// The host's name tells a person which pod it is; the random part keeps a restarted one apart from its former self.
fn default_identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "controller".to_owned());
    format!("{host}_{:08x}", rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    const GOOD: [&str; 7] = [
        "aivonx-controller",
        "--redis-url",
        "redis://127.0.0.1:6379",
        "--database-url",
        "postgres://aivonx:pw@127.0.0.1:5432/aivonx",
        "--secret-key",
        "0123456789abcdef0123456789abcdef",
    ];

    fn settings(more: &[&str]) -> Result<Settings, SettingsError> {
        Args::try_parse_from(GOOD.iter().chain(more)).unwrap().settings()
    }

    #[test]
    fn defaults_suit_a_cluster() {
        let settings = settings(&[]).unwrap().cluster;
        assert_eq!((settings.namespace, settings.lease_namespace), (None, None));
        assert_eq!(settings.lease.name, "aivonx-controller");
        assert_eq!(settings.lease.duration, Duration::from_secs(15));
        assert!(settings.lease.identity.len() > 9, "{}", settings.lease.identity);
        assert_ne!(settings.lease.identity, super::default_identity());
    }

    #[test]
    fn a_missing_setting_is_named() {
        for (flag, variable) in [
            ("--redis-url", "AIVONX_REDIS_URL"),
            ("--database-url", "AIVONX_DATABASE_URL"),
            ("--secret-key", "AIVONX_SECRET_KEY"),
        ] {
            let at = GOOD.iter().position(|argument| *argument == flag).unwrap();
            let arguments = GOOD[..at].iter().chain(&GOOD[at + 2..]);
            let error = Args::try_parse_from(arguments).unwrap().settings().unwrap_err();
            assert!(error.to_string().contains(variable), "{flag}: {error}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_to_write() {
        for (arguments, part) in [
            (["--lease-duration", "2s"], "AIVONX_LEASE_DURATION is 2s: it must be between 3s and 5m"),
            (["--lease-duration", "4500ms"], "whole seconds"),
            (["--lease-duration", "soon"], "such as 500ms, 3s, 5m"),
            (["--lease-name", "Aivonx"], "AIVONX_LEASE_NAME is 'Aivonx': use at most 63 lower-case letters"),
            (["--namespace", "a/b"], "AIVONX_NAMESPACE is 'a/b'"),
        ] {
            let error = settings(&arguments).unwrap_err();
            assert!(error.to_string().contains(part), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn an_empty_name_is_no_name() {
        assert_eq!(settings(&["--namespace", ""]).unwrap().cluster.namespace, None);
    }
}
