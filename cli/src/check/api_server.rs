//! Whether the Kubernetes API server can be used: it is named, it answers, and `OllamaNode` resources may be listed.

use super::report::{Finding, foreign};
use crate::args::Subject;
use aivonx_crds::OllamaNode;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, CustomResourceExt as _};
use std::env;
use std::io;
use std::time::Duration;
use tokio::time::timeout;

const SUBJECT: Subject = Subject::ApiServer;

/// Why the API server cannot be used, and what to do.
type Trouble = (String, &'static str);

/// Finds the API server and tries what the controller needs of it.
pub async fn check(needed: bool, limit: Duration) -> Finding {
    let mut config = match configuration().await {
        Ok(Some(config)) => config,
        Ok(None) if needed => return Finding::refused(SUBJECT, NOT_SET),
        Ok(None) => return Finding::not_set(SUBJECT, NOT_SET),
        Err((message, advice)) => return Finding::wrong(SUBJECT, message, advice),
    };
    // One try: a check tells how it is now.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let url = url.trim_end_matches('/');
    // On a task of its own: a kubeconfig may name a program that fetches credentials, and the client waits for it on the
    // spot.
    match timeout(limit, tokio::spawn(Box::pin(probe(config)))).await {
        Ok(Ok(Ok(message))) => Finding::good(SUBJECT, format!("{url}: {message}")),
        Ok(Ok(Err((message, advice)))) => {
            Finding::wrong(SUBJECT, format!("{url}: {}", foreign(&message)), advice)
        }
        Ok(Err(error)) => Finding::wrong(SUBJECT, format!("{url}: {error}"), UNREACHABLE),
        Err(_) => Finding::wrong(SUBJECT, format!("{url}: no answer within {limit:?}"), UNREACHABLE),
    }
}

/// The kubeconfig if there is one, else the service account of the pod, else nothing.
async fn configuration() -> Result<Option<Config>, Trouble> {
    let broken = |error: KubeconfigError| {
        (
            format!("the kubeconfig cannot be used: {}", foreign(&error.to_string())),
            "mend it, or set KUBECONFIG to another one",
        )
    };
    match Kubeconfig::read() {
        Ok(kubeconfig) => {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            config.map(Some).map_err(broken)
        }
        Err(error) if is_absent(&error) && !is_set("KUBECONFIG") => {
            if !is_set("KUBERNETES_SERVICE_HOST") {
                return Ok(None);
            }
            let advice = "mount a service account token into the pod (automountServiceAccountToken)";
            let unusable = |error| (format!("the pod's service account cannot be used: {error}"), advice);
            Config::incluster().map(Some).map_err(unusable)
        }
        Err(error) => Err(broken(error)),
    }
}

fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

async fn probe(config: Config) -> Result<String, Trouble> {
    let client = Client::try_from(config).map_err(|error| explain(&error))?;
    let version = client.apiserver_version().await.map_err(|error| explain(&error))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    match definitions.get_opt(OllamaNode::crd_name()).await {
        Ok(definition) => established(definition.as_ref())?,
        // Who may list nodes need not be allowed to read their definition; the list tells as much.
        Err(kube::Error::Api(status)) if status.is_forbidden() => {}
        Err(error) => return Err(explain(&error)),
    }
    let nodes: Api<OllamaNode> = Api::all(client);
    let list = nodes.list(&ListParams::default().limit(1)).await.map_err(|error| explain(&error))?;
    let more = list.metadata.remaining_item_count.and_then(|more| usize::try_from(more).ok()).unwrap_or(0);
    Ok(match list.items.len() + more {
        1 => format!("Kubernetes {}, 1 OllamaNode", foreign(&version.git_version)),
        count => format!("Kubernetes {}, {count} OllamaNodes", foreign(&version.git_version)),
    })
}

const NOT_SET: &str = "no kubeconfig (KUBECONFIG, ~/.kube/config), and this is not a pod";
const INSTALL: &str = "apply the files of crds/generated with kubectl, or install the chart";
const UNREACHABLE: &str = "check the kubeconfig's server and that this machine reaches it: `kubectl version`";

/// Whether the API server knows the kind and serves it.
fn established(definition: Option<&CustomResourceDefinition>) -> Result<(), Trouble> {
    let name = OllamaNode::crd_name();
    let Some(definition) = definition else { return Err((format!("{name} is not installed"), INSTALL)) };
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    let established = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Established" && condition.status == "True");
    if established {
        return Ok(());
    }
    Err((
        format!("{name} is installed and not served yet"),
        "wait a moment; then `kubectl describe crd ollamanodes.aivonx.io` tells why not",
    ))
}

/// What an error of the client means.
fn explain(error: &kube::Error) -> Trouble {
    match error {
        kube::Error::Api(status) if status.code == 401 => (
            "does not accept the credentials".to_owned(),
            "renew those of the kubeconfig: `kubectl auth whoami` tells who you are",
        ),
        kube::Error::Api(status) if status.is_forbidden() => (
            status.message.clone(),
            "bind this user to a role that may get and list ollamanodes.aivonx.io in all namespaces",
        ),
        kube::Error::Api(status) if status.is_not_found() => {
            (format!("does not serve {}", OllamaNode::crd_name()), INSTALL)
        }
        kube::Error::Api(status) => {
            (format!("answers {}: {}", status.code, status.message), "look at the log of the API server")
        }
        error => (innermost(error), UNREACHABLE),
    }
}

/// The last error of a chain: that is the one that says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn explained(code: u16, reason: &str) -> Trouble {
        explain(&kube::Error::Api(Status::failure("no", reason).with_code(code).boxed()))
    }

    #[test]
    fn each_answer_has_the_advice_that_cures_it() {
        assert!(explained(401, "Unauthorized").1.contains("kubectl auth whoami"));
        assert!(explained(403, "Forbidden").1.contains("role that may get and list"));
        assert_eq!(explained(404, "NotFound").1, INSTALL);
        assert_eq!(explained(500, "InternalError").0, "answers 500: no");
        let unreachable = explain(&kube::Error::Service(io::Error::other("Connection refused").into()));
        assert_eq!(unreachable, ("Connection refused".to_owned(), UNREACHABLE));
    }

    #[test]
    fn a_kind_that_is_not_served_yet_is_not_good() {
        assert_eq!(established(None).unwrap_err().1, INSTALL);
        let mut definition = OllamaNode::crd();
        assert!(established(Some(&definition)).unwrap_err().0.contains("not served yet"));
        let status = serde_json::json!({"conditions": [{"type": "Established", "status": "True"}]});
        definition.status = Some(serde_json::from_value(status).unwrap());
        assert_eq!(established(Some(&definition)), Ok(()));
    }

    #[test]
    fn only_a_missing_file_is_no_kubeconfig() {
        let read = |kind| KubeconfigError::ReadConfig(io::Error::from(kind), "config".into());
        assert!(is_absent(&read(io::ErrorKind::NotFound)));
        assert!(!is_absent(&read(io::ErrorKind::PermissionDenied)));
        assert!(!is_absent(&KubeconfigError::CurrentContextNotSet));
    }
}
