//! A real Postgres.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::process::{Child, Signal, run};
use crate::{ports, tools};

/// A Postgres server with an empty database. Its data survive [`Postgres::kill`] and [`Postgres::restart`].
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// Starts one.
    pub async fn start() -> Result<Postgres> {
        let folder = TempDir::with_prefix("aivonx-postgres-")?;
        let data = folder.path().join("data");
        copy(&template()?, &data)?;
        Account::of_postgres()?.own(folder.path())?;
        let port = ports::free()?;
        let server = Postgres::spawn(&folder, port)?;
        let mut postgres = Postgres { server, port, folder };
        postgres.ready().await?;
        Ok(postgres)
    }

    fn spawn(folder: &TempDir, port: u16) -> Result<Child> {
        let mut command = Account::of_postgres()?.command("postgres")?;
        command.arg("-D").arg(folder.path().join("data")).arg("-p").arg(port.to_string());
        // No socket files, no shared memory outside the folder; the data outlive the process but not a power
        // cut.
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "dynamic_shared_memory_type=mmap",
            "fsync=off",
            "full_page_writes=off",
        ] {
            command.args(["-c", setting]);
        }
        Ok(Child::start(&mut command, &folder.path().join("log"))?.ended_by(Signal::Quit))
    }

    async fn ready(&mut self) -> Result<()> {
        let url = self.url();
        self.server.until("Postgres answers", Duration::from_secs(20), async || execute(&url, "").await).await
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Its process, to pause it for example.
    pub fn process(&mut self) -> &mut Child {
        &mut self.server
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again on the same port with the same data. One that still runs is killed first.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.server = Postgres::spawn(&self.folder, self.port)?;
        self.ready().await
    }

    /// Runs SQL statements, separated by semicolons.
    pub async fn execute(&self, statements: &str) -> Result<()> {
        execute(&self.url(), statements).await
    }
}

async fn execute(url: &str, statements: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(statements).await?;
    drop(client);
    Ok(connection.await??)
}

/// The folder of a database as `initdb` makes it. Made once per version, then kept with the tools: a copy
/// takes a tenth of the time.
fn template() -> Result<PathBuf> {
    let version = run(Command::new(tools::path("postgres")?).arg("--version"))?;
    let version: String = version.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let template = tools::folder()?.join(format!("template-{}", version.trim_matches('-')));
    if template.exists() {
        return Ok(template);
    }
    let account = Account::of_postgres()?;
    let place = TempDir::with_prefix("aivonx-initdb-")?; // one that the account can reach
    account.own(place.path())?;
    let made = place.path().join("data");
    let mut command = account.command("initdb")?;
    command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    command.args(["--no-sync", "--wal-segsize=1", "--pgdata"]).arg(&made);
    command.current_dir(place.path()); // it must be able to enter the current folder too
    run(&mut command)?;
    let unfinished = TempDir::with_prefix_in("building-template-", tools::folder()?)?;
    copy(&made, &unfinished.path().join("data"))?;
    match fs::rename(unfinished.path().join("data"), &template) {
        Err(_) if template.exists() => Ok(template), // another test was faster
        result => result.map(|()| template).context("cannot keep the template"),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-R").arg(from).arg(to)).map(drop)
}

/// Who runs Postgres when root runs the tests, since it refuses to run as root.
struct Account(Option<(u32, u32)>);

impl Account {
    fn of_postgres() -> Result<Account> {
        if run(Command::new("id").arg("-u"))?.trim() != "0" {
            return Ok(Account(None));
        }
        let number = |option, name| -> Result<u32> {
            Ok(run(Command::new("id").args([option, name]))?.trim().parse()?)
        };
        let both = |name| -> Result<_> { Ok((number("-u", name)?, number("-g", name)?)) };
        Ok(Account(Some(both("postgres").or_else(|_| both("nobody"))?)))
    }

    fn command(&self, tool: &str) -> Result<Command> {
        // Where it really is, since the account may not be able to pass through the folder of the tools.
        let mut command = Command::new(tools::path(tool)?.canonicalize()?);
        if let Account(Some((user, group))) = *self {
            command.uid(user).gid(group);
        }
        Ok(command)
    }

    /// Gives it a folder and all that is in it.
    fn own(&self, folder: &Path) -> Result<()> {
        if let Account(Some((user, group))) = *self {
            chown(folder, Some(user), Some(group))?;
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    self.own(&entry.path())?;
                } else {
                    chown(entry.path(), Some(user), Some(group))?;
                }
            }
        }
        Ok(())
    }
}
