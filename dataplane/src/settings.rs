//! Settings of the data plane.

use aivonx_process::settings::{AdminArgs, LogArgs, SecretKeyArgs, StoreArgs};
use std::net::SocketAddr;
use std::time::Duration;

/// Settings of the program `aivonx-dataplane`.
#[derive(clap::Parser, Clone, Debug)]
#[command(
    name = "aivonx-dataplane",
    version,
    about = "Streams requests of Ollama and OpenAI clients to Ollama nodes"
)]
pub struct Settings {
    /// Address that clients send their requests to
    #[arg(long, env = "AIVONX_LISTEN", default_value = "0.0.0.0:11434", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// What one process takes on.
    #[command(flatten)]
    pub limits: Limits,
    /// Where the routing table comes from.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// The key that opens sealed credentials.
    #[command(flatten)]
    pub secret_key: SecretKeyArgs,
    /// Where the admin server listens.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What one process takes on, and for how long.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at once; the next one waits in the backlog of the socket
    #[arg(long, env = "AIVONX_MAX_CONNECTIONS", default_value_t = Limits::DEFAULT.max_connections, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Longest request body
    #[arg(long, env = "AIVONX_MAX_BODY_BYTES", default_value = "64Mi", value_name = "SIZE", value_parser = size)]
    pub max_body_bytes: u64,
    /// Bytes of request bodies held at once, over all requests
    #[arg(long, env = "AIVONX_MAX_HELD_BYTES", default_value = "1Gi", value_name = "SIZE", value_parser = size)]
    pub max_held_bytes: u64,
    /// Longest time from the first byte of a request's head to its last
    #[arg(long, env = "AIVONX_HEADER_TIMEOUT", default_value = "10s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub header_timeout: Duration,
    /// Longest pause in the middle of a request's body
    #[arg(long, env = "AIVONX_BODY_TIMEOUT", default_value = "30s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub body_timeout: Duration,
    /// Longest time a connection stays open between two requests
    #[arg(long, env = "AIVONX_IDLE_TIMEOUT", default_value = "75s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,
    /// Longest time a client may take no byte of what is ready for it
    #[arg(long, env = "AIVONX_WRITE_TIMEOUT", default_value = "30s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub write_timeout: Duration,
    /// Nodes tried for one request
    #[arg(long, env = "AIVONX_MAX_ATTEMPTS", default_value_t = Limits::DEFAULT.max_attempts, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=16))]
    pub max_attempts: u32,
    /// Longest time between being told to end and taking no more connections, for load balancers to notice
    #[arg(long, env = "AIVONX_DRAIN_DELAY", default_value = "0s", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub drain_delay: Duration,
    /// Longest time for requests under way to finish once the process is told to end
    #[arg(long, env = "AIVONX_DRAIN_TIMEOUT", default_value = "10m", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,
}

impl Limits {
    /// What holds when nothing is set.
    pub const DEFAULT: Self = Self {
        max_connections: 4096,
        max_body_bytes: 64 << 20,
        max_held_bytes: 1 << 30,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
        max_attempts: 3,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(600),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Reads `67108864`, `64Mi` or `64MiB`.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().trim_end_matches('B') {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        _ => return Err("write a number of bytes, or one with Ki, Mi or Gi: 64Mi".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a number of bytes such as 64Mi".to_owned())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn the_command_line_says_the_same_defaults_as_the_code() {
        let settings = Settings::try_parse_from(["aivonx-dataplane"]).unwrap();
        assert_eq!(settings.limits, Limits::DEFAULT);
        assert_eq!(settings.listen, "0.0.0.0:11434".parse().unwrap());
    }

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(size("67108864"), Ok(64 << 20));
        assert_eq!(size("64Mi"), Ok(64 << 20));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for wrong in ["", "Mi", "64M", "-1", "0", "1.5Gi", "99999999999Gi"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
