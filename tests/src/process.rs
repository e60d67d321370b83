//! Programs that end with the test.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::time::Instant;

use crate::wait::eventually;

/// How long a program may take to end after a polite signal.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End in good order.
    Term,
    /// End in good order; to Postgres, without waiting for its clients.
    Int,
    /// End at once, tidying up only what lives outside the process.
    Quit,
    /// Ended by the system, as by a crash.
    Kill,
    /// Stand still.
    Stop,
    /// Go on.
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Quit => "QUIT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        }
    }
}

/// A running program, in a process group of its own.
///
/// It is ended when this value is dropped: TERM (or what [`Child::ended_by`] says), and KILL if that does not
/// help. Should the test's process be killed, so that nothing is dropped, a watchdog kills the group: a shell
/// that waits for the end of a pipe of which this process holds the other end.
#[derive(Debug)]
pub struct Child {
    name: String,
    log: PathBuf,
    ending: Signal,
    process: process::Child,
    watchdog: process::Child,
}

impl Child {
    /// Starts `command`, adding what it prints to the file `log`. Proxy settings of the environment are kept
    /// from it.
    pub fn start(command: &mut Command, log: &Path) -> Result<Child> {
        let program = PathBuf::from(command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot open the log {}", log.display()))?;
        without_proxies(command).process_group(0).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -s KILL -- -$0 2>/dev/null"])
            .arg(process.id().to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Child { name, log: log.into(), ending: Signal::Term, process, watchdog }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error).context("cannot start the watchdog `sh`")
            }
        }
    }

    /// Chooses the signal that ends the program when this value is dropped. For servers whose data nobody
    /// needs afterwards, `Kill` saves the time of an orderly end.
    pub fn ended_by(mut self, signal: Signal) -> Child {
        self.ending = signal;
        self
    }

    /// The process id, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its exit status, or `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Sends a signal to the program and those of its children that stayed in its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(signal, &format!("-{}", self.id()))
    }

    /// Makes it stand still: it keeps its connections and its port and answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    /// Lets it go on after [`Child::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::Cont)
    }

    /// Ends it, and every process it has started, without warning. Returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let descendants = descendants(self.id());
        self.signal(Signal::Kill)?;
        self.process.wait()?;
        for id in descendants {
            // Most are gone with the group.
            let _ = send(Signal::Kill, &id.to_string());
        }
        Ok(())
    }

    /// Sends `signal` and waits for the end; an error if it takes longer than 10 s.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(signal)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} still runs {PATIENCE:?} after {signal:?}", self.name);
            thread::sleep(Duration::from_millis(5)); // dropping cannot wait asynchronously
        }
    }

    /// Waits until `check` succeeds, as [`eventually`] does, and fails at once if the program ends before.
    /// Failures carry the end of the log.
    pub async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut check: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let process = &mut self.process;
        let result = eventually(what, within, async || match process.try_wait()? {
            Some(status) => Ok(Err(anyhow!("it ended: {}", in_words(status)))),
            None => check().await.map(Ok),
        });
        let result = result.await.flatten();
        result.with_context(|| format!("{}: {what}; the end of its log:\n{}", self.name, self.log_tail()))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the end of the log of {}:\n{}", self.name, self.log_tail());
        }
        // A paused program sees no other signal before it goes on.
        if self.ending == Signal::Kill || self.resume().and_then(|()| self.end(self.ending)).is_err() {
            let _ = self.kill();
        }
        let _ = self.watchdog.wait(); // closes its pipe first, so it kills what is left of the group
    }
}

/// Keeps the proxy settings of the environment from a program.
pub fn without_proxies(command: &mut Command) -> &mut Command {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

/// Runs a program to its end and gives what it printed; an error with all of that if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}\n{printed}{complaint}", in_words(output.status));
    }
    Ok(printed)
}

fn in_words(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => format!("exit code {}", status.code().unwrap_or_default()),
    }
}

/// Signals through a shell: its `kill` needs no unsafe code here and no package there.
fn send(signal: Signal, to: &str) -> Result<()> {
    run(Command::new("sh").args(["-c", "kill -s \"$0\" -- \"$1\"", signal.name(), to])).map(drop)
}

/// The processes that `ancestor` has started, directly or not, in whatever group they are. Where there is no
/// `/proc`, none.
fn descendants(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name stands in brackets and may contain anything; after it, the state and the parent.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| id));
        next += 1;
    }
    found.split_off(1)
}
