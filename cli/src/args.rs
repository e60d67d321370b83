//! The command line: every flag has an environment variable of the same name.

use aivonx_process::build::VERSION;
use aivonx_process::settings::{LogArgs, SecretKeyArgs, SettingsError, StoreArgs, StoreUrl};
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One gateway for many Ollama servers
#[derive(Parser, Debug)]
#[command(name = "aivonx", version = VERSION, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve Ollama nodes from this machine: the whole gateway in one process, without a cluster or stores
    Run(RunArgs),
    /// Check the secret key, the stores, the API server and the nodes, and say what to do about what is wrong
    Check(CheckArgs),
    /// Bring the Postgres schema up to date
    Migrate(MigrateArgs),
    /// Work on the Postgres database
    #[command(subcommand)]
    Db(DbCommand),
    /// Print the version
    Version(VersionArgs),
    /// Print the completion script of a shell
    #[command(
        after_help = "Example: aivonx completions bash > ~/.local/share/bash-completion/completions/aivonx"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where nodes are declared.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// A file of OllamaNode documents, or a folder of *.yaml and *.yml files; several with commas
    #[arg(short = 'f', long = "file", env = "AIVONX_FILE", value_delimiter = ',', value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// The address of an Ollama server, such as http://10.0.0.7:11434; several with commas
    #[arg(long = "node", env = "AIVONX_NODE", value_delimiter = ',', value_name = "URL")]
    pub nodes: Vec<String>,
}

impl NodeArgs {
    /// The URLs. A variable that is set and empty names none.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|url| url.trim()).filter(|url| !url.is_empty())
    }

    /// Whether no node is named.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.nodes().next().is_none()
    }
}

/// `aivonx run`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "With none of --file, --node and --demo, the node is the Ollama at OLLAMA_HOST, by default 127.0.0.1:11434.",
    mut_arg("log_format", |arg| arg.default_value("text"))
)]
pub struct RunArgs {
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// Also start two simulated nodes in this process
    #[arg(long, env = "AIVONX_DEMO", value_parser = FalseyValueParser::new())]
    pub demo: bool,
    /// Where clients connect
    #[arg(long, env = "AIVONX_LISTEN", default_value = "127.0.0.1:11435", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Address of the admin server: /metrics, /livez and /readyz
    #[arg(long, env = "AIVONX_ADMIN_LISTEN", default_value = "127.0.0.1:9464", value_name = "ADDR")]
    pub admin_listen: SocketAddr,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `aivonx check`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The API server is that of the kubeconfig (KUBECONFIG, ~/.kube/config) or of the pod this runs in. With neither --file \
                  nor --node, and no secret key and no store set, the node is the one that `aivonx run` would serve.\n\n\
                  Exit code: 0 when all is well, 1 when something is wrong, 2 for a wrong flag."
)]
pub struct CheckArgs {
    /// The secret key.
    #[command(flatten)]
    pub secret_key: SecretKeyArgs,
    /// The stores.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodeArgs,
    /// Check these alone, and count it as wrong when one is not set; several with commas
    #[arg(long, env = "AIVONX_ONLY", value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<Subject>,
    /// Form of the result
    #[arg(long, short, env = "AIVONX_OUTPUT", default_value = "text", value_name = "FORMAT")]
    pub output: Output,
    /// How long each check may take, such as 500ms or 5s
    #[arg(long, env = "AIVONX_TIMEOUT", default_value = "5s", value_name = "TIME", value_parser = timeout)]
    pub timeout: Duration,
}

/// What `aivonx check` looks at, in the order of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The secret key.
    SecretKey,
    /// Redis.
    Redis,
    /// Postgres.
    Postgres,
    /// The Kubernetes API server.
    ApiServer,
    /// Every node that is named.
    Nodes,
}

impl Subject {
    /// As it is written after `--only` and in the result.
    pub fn name(self) -> &'static str {
        match self {
            Self::SecretKey => "secret-key",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::ApiServer => "api-server",
            Self::Nodes => "nodes",
        }
    }
}

/// `aivonx migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Where Postgres is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Record the migrations up to this one as done without running them; for a schema that was made by hand
    #[arg(long, env = "AIVONX_FAKE", value_name = "NAME")]
    pub fake: Option<String>,
}

/// `aivonx db`.
#[derive(Subcommand, Clone, Debug)]
pub enum DbCommand {
    /// Delete everything that Aivonx keeps in Postgres and lay the schema anew; in development only
    Reset(ResetArgs),
}

/// `aivonx db reset`.
#[derive(Args, Clone, Debug)]
pub struct ResetArgs {
    /// Where Postgres is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Really delete
    #[arg(long, env = "AIVONX_YES", value_parser = FalseyValueParser::new())]
    pub yes: bool,
    /// What this installation is for; nothing is deleted unless it is `development`
    #[arg(long, env = "AIVONX_ENVIRONMENT", value_name = "NAME")]
    pub environment: Option<String>,
}

/// Where Postgres is.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// Postgres, such as postgres://user:password@postgres:5432/aivonx
    #[arg(long, env = "AIVONX_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
}

impl DatabaseArgs {
    /// The address of Postgres.
    ///
    /// # Errors
    /// When it is missing or is no Postgres URL.
    pub fn url(&self) -> Result<StoreUrl, SettingsError> {
        StoreArgs { redis_url: None, database_url: self.database_url.clone() }.database_url()
    }
}

/// `aivonx version`.
#[derive(Args, Clone, Debug)]
pub struct VersionArgs {
    /// Form of the result
    #[arg(long, short, env = "AIVONX_OUTPUT", default_value = "text", value_name = "FORMAT")]
    pub output: Output,
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A time that is not zero.
fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a check needs more time than none: write a time such as 5s".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(format!("{error}: write a time such as 500ms or 5s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                let long = arg.get_long().unwrap();
                if matches!(long, "help" | "version") {
                    continue;
                }
                let variable = format!("AIVONX_{}", long.to_uppercase().replace('-', "_"));
                let env = arg.get_env().and_then(|env| env.to_str());
                assert_eq!(env, Some(variable.as_str()), "--{long} of {}", command.get_name());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn subjects_are_named_as_their_flag_values() {
        for subject in Subject::value_variants() {
            assert_eq!(subject.to_possible_value().unwrap().get_name(), subject.name());
        }
    }

    #[test]
    fn a_timeout_has_a_unit_and_is_not_zero() {
        assert_eq!(timeout("500ms"), Ok(Duration::from_millis(500)));
        assert!(timeout("0s").is_err());
        assert!(timeout("5").unwrap_err().contains("such as 500ms or 5s"));
    }
}
