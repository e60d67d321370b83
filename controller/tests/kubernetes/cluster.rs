//! An API server with the definitions and the roles of the manifests, and controllers that use it.

use crate::node::StubNode;
use aivonx_controller::fleet::{Stores, Term};
use aivonx_controller::lease::LeaseSettings;
use aivonx_controller::running::Running;
use aivonx_controller::settings::ClusterSettings;
use aivonx_crds::{OllamaNode, OllamaNodeStatus};
use aivonx_state::store::memory::MemoryStore;
use aivonx_state::{NodeEntry, NodeId, RoutingTable, TableReader as _};
use aivonx_tests::KubeApi;
use aivonx_tests::wait::eventually;
use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use prometheus::Registry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Far more than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const SYSTEM: &str = "aivonx-system";
/// Whole seconds; the shortest that is allowed.
const LEASE: Duration = Duration::from_secs(3);

pub struct Cluster {
    pub api: KubeApi,
    client: Client,
    token: String,
}

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

impl Cluster {
    /// Everything that `kubectl apply` of the manifests makes.
    pub async fn start() -> Result<Self> {
        aivonx_process::tls::install_crypto_provider();
        let api = KubeApi::start().await?;
        api.apply("admin", &definition()?).await?;
        let established =
            ["wait", "--for=condition=Established", "--timeout=60s", "crd/ollamanodes.aivonx.io"];
        api.kubectl_ok("admin", &established).await?;
        api.kubectl_ok("admin", &["create", "namespace", SYSTEM]).await?;
        api.apply("admin", &std::fs::read_to_string(manifest("manifests/controller-rbac.yaml"))?).await?;
        let token = ["create", "token", "aivonx-controller", "-n", SYSTEM];
        let token = api.kubectl_ok("admin", &token).await?.trim().to_owned();
        let client = Client::try_from(config(&api.kubeconfig("admin")).await?)?;
        Ok(Self { api, client, token })
    }

    /// A kubeconfig of the ServiceAccount.
    pub fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        let text = std::fs::read_to_string(self.api.kubeconfig("controller"))?;
        let path = folder.join("service-account.kubeconfig");
        std::fs::write(&path, text.replace("controller-token", &self.token))?;
        Ok(path)
    }

    /// A client of the ServiceAccount.
    pub async fn service_account(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// Starts a controller as the ServiceAccount.
    pub async fn controller(&self, identity: &str, store: &MemoryStore) -> Result<Controller> {
        self.controller_with(identity, store, LEASE).await
    }

    /// The same with another lease.
    pub async fn controller_with(
        &self,
        identity: &str,
        store: &MemoryStore,
        lease: Duration,
    ) -> Result<Controller> {
        Controller::start(self.config().await?, identity, store, lease)
    }

    async fn config(&self) -> Result<Config> {
        let mut config = config(&self.api.kubeconfig("controller")).await?;
        config.auth_info.token = Some(self.token.clone().into());
        Ok(config)
    }

    pub async fn apply(&self, yaml: &str) -> Result<()> {
        self.api.apply("admin", yaml).await.map(drop)
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.api.kubectl_ok("admin", arguments).await
    }

    pub async fn node(&self, name: &str) -> Result<OllamaNode> {
        Ok(Api::<OllamaNode>::namespaced(self.client.clone(), "default").get(name).await?)
    }

    /// Waits until a node's status is like this.
    pub async fn status(
        &self,
        name: &str,
        what: &str,
        check: impl Fn(&OllamaNodeStatus) -> bool,
    ) -> Result<OllamaNodeStatus> {
        eventually(&format!("{name}: {what}"), PATIENCE, async || {
            let status = self.node(name).await?.status.context("no status")?;
            ensure!(check(&status), "it is {status:#?}");
            Ok(status)
        })
        .await
    }

    pub async fn lease(&self) -> Result<LeaseSpec> {
        let lease = Api::<Lease>::namespaced(self.client.clone(), SYSTEM).get("aivonx-controller").await?;
        lease.spec.context("a Lease without a spec")
    }

    /// Waits for an event of this reason about a node; gives its note.
    pub async fn event(&self, name: &str, reason: &str) -> Result<String> {
        let field = format!("--field-selector=reason={reason},involvedObject.name={name}");
        let arguments = ["get", "events", "-n", "default", &field, "-o", "jsonpath={.items[0].message}"];
        eventually(&format!("event {reason} about {name}"), PATIENCE, async || {
            let note = self.kubectl(&arguments).await?;
            ensure!(!note.is_empty(), "there is none");
            Ok(note)
        })
        .await
    }
}

pub fn definition() -> Result<String> {
    let path = manifest("crds/generated/aivonx.io_ollamanodes.yaml");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// A controller in this process. What is not [stopped](Controller::stop) runs on till the test ends.
pub struct Controller {
    pub running: Running,
    pub registry: Registry,
}

impl Controller {
    fn start(config: Config, identity: &str, store: &MemoryStore, lease: Duration) -> Result<Self> {
        let settings = ClusterSettings {
            namespace: None,
            lease_namespace: Some(SYSTEM.to_owned()),
            lease: LeaseSettings {
                name: "aivonx-controller".to_owned(),
                identity: identity.to_owned(),
                duration: lease,
            },
        };
        let registry = Registry::new();
        let stores = Stores { tables: vec![Arc::new(store.clone())], history: None };
        let running = Running::start(config, stores, &settings, &registry)?;
        Ok(Self { running, registry })
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> Result<Term> {
        let leadership = self.running.leadership();
        eventually("it leads", PATIENCE, async || {
            leadership.confirmed(Instant::now()).context("it does not lead")
        })
        .await
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }

    /// The sum over all series of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let series = family.unwrap_or_else(|| panic!("no metric {name}")).get_metric();
        series.iter().map(|series| series.get_counter().get_value() + series.get_gauge().get_value()).sum()
    }
}

/// A node with quick checks.
pub fn manifest_of(name: &str, node: &StubNode, more: &str) -> String {
    format!(
        "apiVersion: aivonx.io/v1alpha1
kind: OllamaNode
metadata: {{name: {name}, namespace: default}}
spec:
  url: {}
  health: {{interval: 200ms, timeout: 150ms, healthyThreshold: 1, unhealthyThreshold: 2}}
  {more}
",
        node.url()
    )
}

/// Waits until the store's entry of a node is like this.
pub async fn holds(
    store: &MemoryStore,
    name: &str,
    what: &str,
    check: impl Fn(&NodeEntry) -> bool,
) -> Result<NodeEntry> {
    let id = NodeId::new("default", name);
    eventually(&format!("the table's {name}: {what}"), PATIENCE, async || {
        let entry = table(store).await?.nodes.get(&id).cloned().context("it is not there")?;
        ensure!(check(&entry), "it is {entry:?}");
        Ok(entry)
    })
    .await
}

pub async fn table(store: &MemoryStore) -> Result<RoutingTable> {
    store.read().await?.context("no table")
}

/// Whether a condition has this status.
pub fn is(status: &OllamaNodeStatus, type_: &str, wanted: &str) -> bool {
    status.condition(type_).is_some_and(|condition| condition.status == wanted)
}

pub fn reason<'a>(status: &'a OllamaNodeStatus, type_: &str) -> &'a str {
    &status.condition(type_).unwrap().reason
}
