//! A real Kubernetes API: etcd and kube-apiserver, with nothing behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::process::{Child, Signal, run, without_proxies};
use crate::{ports, tools};

/// A Kubernetes API server and its store.
///
/// RBAC is in force. There are three users, each known by a token: `admin` may do everything; `controller`
/// and `dev` may do nothing until the test binds a role to them. CRDs, CEL rules, status subresources,
/// watches, Leases, webhooks (`clientConfig.url`) and `kubectl create token` work. No controller runs:
/// Deployments make no pods, deleted owners leave their dependents behind, deleted namespaces stay
/// Terminating, and the ClusterRoles `view`, `edit` and `admin`, which a controller puts together, allow
/// nothing.
#[derive(Debug)]
pub struct KubeApi {
    apiserver: Child,
    etcd: Child,
    port: u16,
    folder: TempDir,
}

/// The users, with their groups.
const USERS: [(&str, &str); 3] = [("admin", "system:masters"), ("controller", ""), ("dev", "")];

impl KubeApi {
    /// Starts one; it takes about 3 s.
    pub async fn start() -> Result<KubeApi> {
        let folder = TempDir::with_prefix("aivonx-kube-")?;
        let port = ports::free()?;
        prepare(folder.path(), port)?;
        let etcd = spawn_etcd(folder.path())?;
        let apiserver = spawn_apiserver(folder.path(), port)?;
        let mut api = KubeApi { apiserver, etcd, port, folder };
        api.ready().await?;
        Ok(api)
    }

    async fn ready(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let check = async || {
            // The second: the server makes the namespace `default` itself, a moment after it is ready.
            for path in ["/readyz", "/api/v1/namespaces/default"] {
                let output = kubectl(folder, "admin", &["get", "--raw", path])?.output().await?;
                ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        };
        self.apiserver.until("the Kubernetes API is ready", Duration::from_secs(60), check).await
    }

    /// The URL of the API. Its certificate is its own: [`KubeApi::kubeconfig`] says how to trust it.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The kubeconfig of a user: `admin`, `controller` or `dev`.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        kubeconfig(self.folder.path(), user)
    }

    /// Runs `kubectl` as a user, whatever comes of it.
    pub async fn kubectl(&self, user: &str, arguments: &[&str]) -> Result<Output> {
        Ok(kubectl(self.folder.path(), user, arguments)?.output().await?)
    }

    /// Runs `kubectl` as a user and gives what it printed; if it fails, the error holds its complaint.
    pub async fn kubectl_ok(&self, user: &str, arguments: &[&str]) -> Result<String> {
        printed(arguments, &self.kubectl(user, arguments).await?)
    }

    /// Applies resources, as YAML or JSON, as a user (`kubectl apply --server-side`).
    pub async fn apply(&self, user: &str, resources: &str) -> Result<String> {
        let arguments = ["apply", "--server-side", "--filename", "-"];
        let mut command = kubectl(self.folder.path(), user, &arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        // Moved, so that it is closed at its end. If kubectl does not want it all, its own words say why.
        let write = async move { input.write_all(resources.as_bytes()).await };
        let (_, output) = tokio::join!(write, child.wait_with_output());
        printed(&arguments, &output?)
    }

    /// The API server's process, to pause it for example.
    pub fn process(&mut self) -> &mut Child {
        &mut self.apiserver
    }

    /// Etcd's process.
    pub fn etcd(&mut self) -> &mut Child {
        &mut self.etcd
    }

    /// Ends the API server as a crash does. Etcd goes on.
    pub fn kill(&mut self) -> Result<()> {
        self.apiserver.kill()
    }

    /// Starts the API server again, on the same port with the same certificate and the same data. One that
    /// still runs is killed first.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.apiserver = spawn_apiserver(self.folder.path(), self.port)?;
        self.ready().await
    }
}

/// Writes what the servers and the users need: a key that signs ServiceAccount tokens, the users' tokens,
/// their kubeconfigs.
fn prepare(folder: &Path, port: u16) -> Result<()> {
    let key = ["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"];
    run(Command::new(tools::path("openssl")?).args(key).arg(folder.join("sa.key")))?;
    let tokens: String =
        USERS.iter().map(|(user, groups)| format!("{user}-token,{user},{user},\"{groups}\"\n")).collect();
    fs::write(folder.join("tokens.csv"), tokens)?;
    let server = url(port);
    let ca = folder.join("pki/apiserver.crt");
    for (user, _) in USERS {
        let config = format!(
            "apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: {user}}}}}]
users: [{{name: {user}, user: {{token: {user}-token}}}}]
clusters: [{{name: test, cluster: {{server: '{server}', certificate-authority: '{}'}}}}]
",
            ca.display()
        );
        fs::write(kubeconfig(folder, user), config)?;
    }
    Ok(())
}

fn spawn_etcd(folder: &Path) -> Result<Child> {
    let socket = |name| format!("unix://{}", folder.join(name).display());
    let (clients, peers) = (socket("etcd.sock"), socket("peer.sock"));
    let mut command = Command::new(tools::path("etcd")?);
    command.arg("--data-dir").arg(folder.join("etcd")).args(["--unsafe-no-fsync", "--log-level=warn"]);
    command.args(["--name=test", &format!("--initial-cluster=test={peers}")]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    Ok(Child::start(&mut command, &folder.join("etcd.log"))?.ended_by(Signal::Kill))
}

fn spawn_apiserver(folder: &Path, port: u16) -> Result<Child> {
    let mut command = Command::new(tools::path("kube-apiserver")?);
    let option = |name, file| format!("--{name}={}", folder.join(file).display());
    command.args([
        format!("--etcd-servers=unix://{}", folder.join("etcd.sock").display()),
        format!("--secure-port={port}"),
        option("cert-dir", "pki"),
        option("token-auth-file", "tokens.csv"),
        option("service-account-key-file", "sa.key"),
        option("service-account-signing-key-file", "sa.key"),
    ]);
    command.args([
        "--bind-address=127.0.0.1",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--disable-admission-plugins=ServiceAccount", // nobody makes a namespace's default account
        "--advertise-address=127.0.0.1",              // with the next: no default route is needed
        "--endpoint-reconciler-type=none",
    ]);
    Ok(Child::start(&mut command, &folder.join("apiserver.log"))?.ended_by(Signal::Kill))
}

fn kubectl(folder: &Path, user: &str, arguments: &[&str]) -> Result<tokio::process::Command> {
    let mut command = Command::new(tools::path("kubectl")?);
    without_proxies(&mut command)
        .env("HOME", folder)
        .env("KUBECONFIG", kubeconfig(folder, user))
        .args(arguments);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

fn printed(arguments: &[&str], output: &Output) -> Result<String> {
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {}: {complaint}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn kubeconfig(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{user}.kubeconfig"))
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}
