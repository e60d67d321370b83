//! All parts of the system, and how each is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aivonx_tests::http::Response;
use aivonx_tests::process::{Child, Signal};
use aivonx_tests::{KubeApi, Ollama, Postgres, Redis, http, ports, programs};
use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::narrator::Narrator;

/// Long enough for a loaded machine; nothing waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);
const SECRET_KEY: &str = "a key for the demo alone, never for anything else";

/// The running system.
#[derive(Debug)]
pub struct System {
    pub dataplanes: Vec<Program>,
    pub controller: Program,
    pub nodes: Vec<Ollama>,
    pub kube: KubeApi,
    pub redis: Redis,
    pub postgres: Postgres,
    /// Copies of the samples, with the addresses of this machine's servers.
    pub samples: PathBuf,
    folder: TempDir,
}

/// One of the project's own programs.
#[derive(Debug)]
pub struct Program {
    pub child: Child,
    /// Where it serves clients; empty for the controller.
    pub url: String,
    admin: String,
}

impl System {
    pub async fn start(narrator: &Narrator) -> Result<System> {
        narrator.step("Starting etcd and kube-apiserver, Redis, Postgres and two Ollama servers");
        let parts = tokio::try_join!(
            KubeApi::start(),
            Redis::start(),
            Postgres::start(),
            Ollama::start(),
            Ollama::start()
        );
        let (kube, redis, postgres, first, second) = parts?;
        let nodes = vec![first, second];
        let version = kube.kubectl_ok("admin", &["version"]).await?;
        narrator.seen(version.lines().filter(|line| line.starts_with("Server")).collect::<String>());
        narrator.seen(format!("Ollama at {} and {}", nodes[0].url(), nodes[1].url()));

        narrator.step("Installing the resource definitions and the controller's role");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let path = |relative: &str| root.join(relative).display().to_string();
        narrator.seen(kube.kubectl_ok("admin", &["create", "namespace", "aivonx-system"]).await?);
        for file in ["crds/generated", "manifests/controller-rbac.yaml"] {
            narrator.seen(kube.kubectl_ok("admin", &["apply", "--filename", &path(file)]).await?);
        }

        let folder = TempDir::with_prefix("aivonx-demo-")?;
        let samples = copy_samples(&root.join("manifests/samples"), folder.path(), &nodes)?;
        narrator.step("Starting the controller and two data planes");
        let kubeconfig = controller_kubeconfig(&kube, folder.path()).await?;
        let mut controller = start_controller(folder.path(), &kubeconfig, &redis, &postgres)?;
        let mut dataplanes = Vec::new();
        for number in 1..=2 {
            dataplanes.push(start_dataplane(folder.path(), number, &redis, &postgres)?);
        }
        controller.ready().await?;
        narrator.seen("the controller is ready");
        for dataplane in &mut dataplanes {
            let live = dataplane.admin("/livez").await?;
            let ready = dataplane.admin("/readyz").await?;
            narrator.seen(format!("{} is alive; {}", dataplane.url, ready.text()?.trim_end()));
            ensure!(live.status == 200, "not alive: {live:?}");
        }
        Ok(System { dataplanes, controller, nodes, kube, redis, postgres, samples, folder })
    }

    /// Starts one more data plane.
    pub fn add_dataplane(&mut self) -> Result<&mut Program> {
        let number = self.dataplanes.len() + 1;
        let dataplane = start_dataplane(self.folder.path(), number, &self.redis, &self.postgres)?;
        Ok(self.dataplanes.push_mut(dataplane))
    }

    /// Ends the project's programs as an operator would, and sees them end well.
    pub fn end(mut self, narrator: &Narrator) -> Result<()> {
        narrator.step("SIGTERM to the data planes");
        for dataplane in &mut self.dataplanes {
            let status = dataplane.child.end(Signal::Term)?;
            ensure!(status.success(), "a data plane ended with {status}\n{}", dataplane.child.log_tail());
            narrator.seen(format!("{} drained and ended with exit code 0", dataplane.url));
        }
        Ok(())
    }
}

impl Program {
    /// Asks its admin server.
    pub async fn admin(&mut self, path: &str) -> Result<Response> {
        let url = format!("{}{path}", self.admin);
        self.child.until("its admin server answers", PATIENCE, async || http::get(&url).await).await
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.admin);
        let ready = async || {
            let answer = http::get(&url).await?;
            ensure!(answer.status == 200, "{}", answer.text()?);
            Ok(())
        };
        self.child.until("it is ready", PATIENCE, ready).await
    }
}

/// A kubeconfig that may do what the manifest gives to the controller's service account, and no more.
async fn controller_kubeconfig(kube: &KubeApi, folder: &Path) -> Result<PathBuf> {
    let arguments = ["create", "token", "aivonx-controller", "--namespace=aivonx-system"];
    let token = kube.kubectl_ok("admin", &arguments).await?;
    let file = folder.join("controller.kubeconfig");
    fs::copy(kube.kubeconfig("controller"), &file)?;
    let option = format!("--kubeconfig={}", file.display());
    let token = format!("--token={}", token.trim());
    kube.kubectl_ok("admin", &["config", &option, "set-credentials", "controller", &token]).await?;
    Ok(file)
}

/// The samples name servers that do not exist here.
fn copy_samples(from: &Path, folder: &Path, nodes: &[Ollama]) -> Result<PathBuf> {
    let samples = folder.join("samples");
    fs::create_dir(&samples)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?
            .replace("http://10.0.0.7:11434", &nodes[0].url())
            .replace("http://10.0.0.8:11434", &nodes[1].url());
        fs::write(samples.join(entry.file_name()), text)?;
    }
    Ok(samples)
}

fn start_controller(folder: &Path, kubeconfig: &Path, redis: &Redis, postgres: &Postgres) -> Result<Program> {
    let admin = format!("127.0.0.1:{}", ports::free()?);
    let mut command = Command::new(programs::path("aivonx-controller")?);
    command.env("KUBECONFIG", kubeconfig).env("AIVONX_SECRET_KEY", SECRET_KEY);
    command.env("AIVONX_REDIS_URL", redis.url()).env("AIVONX_DATABASE_URL", postgres.url());
    command.args(["--admin-listen", &admin, "--lease-namespace", "aivonx-system"]);
    let child = Child::start(&mut command, &folder.join("controller.log"))?;
    Ok(Program { child, url: String::new(), admin: format!("http://{admin}") })
}

fn start_dataplane(folder: &Path, number: usize, redis: &Redis, postgres: &Postgres) -> Result<Program> {
    let listen = format!("127.0.0.1:{}", ports::free()?);
    let admin = format!("127.0.0.1:{}", ports::free()?);
    let mut command = Command::new(programs::path("aivonx-dataplane")?);
    command.env("AIVONX_SECRET_KEY", SECRET_KEY);
    command.env("AIVONX_REDIS_URL", redis.url()).env("AIVONX_DATABASE_URL", postgres.url());
    command.args(["--listen", &listen, "--admin-listen", &admin]);
    let child = Child::start(&mut command, &folder.join(format!("dataplane-{number}.log")))?;
    Ok(Program { child, url: format!("http://{listen}"), admin: format!("http://{admin}") })
}
