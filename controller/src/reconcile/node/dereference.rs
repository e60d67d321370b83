//! Looks up what a spec names.

use crate::reconcile::context::Context;
use aivonx_crds::v1alpha1::ServiceRef;
use aivonx_crds::{OllamaNode, reasons};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::ResourceExt as _;
use std::time::Duration;
use tokio::time::timeout;

/// For one look at a Service.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What became of the references in a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// There are none: the spec has an address of its own.
    Direct,
    /// There is no cluster to look them up in, as in `aivonx run`.
    NoCluster,
    /// The Service exists and has the port.
    Service {
        /// The host name of the Service inside the cluster.
        host: String,
    },
    /// It could not be looked up just now. The address is clear all the same, so a node that works goes on working.
    Doubtful {
        /// The host name of the Service inside the cluster.
        host: String,
        /// What went wrong.
        message: String,
    },
    /// It is not there, or may not be used.
    Missing {
        /// A condition reason.
        reason: &'static str,
        /// What is missing, and what to do.
        message: String,
    },
}

/// Looks up the Service that a node names.
pub(super) async fn dereference(node: &OllamaNode, context: &Context) -> Resolution {
    let Some(reference) = &node.spec.service_ref else { return Resolution::Direct };
    let own = node.namespace().unwrap_or_default();
    if let Some(refused) = foreign(reference, &own) {
        return refused;
    }
    let host = format!("{}.{own}.svc", reference.name);
    let services: Api<Service> = Api::namespaced(context.client.clone(), &own);
    let doubt = |message: String| Resolution::Doubtful {
        message: format!("The Service {own}/{} could not be looked up: {message}.", reference.name),
        host: host.clone(),
    };
    match timeout(TIMEOUT, services.get_opt(&reference.name)).await {
        Ok(Ok(service)) => judge(reference, &own, service.as_ref(), host),
        Ok(Err(error)) => doubt(error.to_string()),
        Err(_) => doubt(format!("the API server did not answer within {TIMEOUT:?}")),
    }
}

/// A Service of another namespace may not be used: whoever owns it has not agreed.
fn foreign(reference: &ServiceRef, own: &str) -> Option<Resolution> {
    let other = reference.namespace.as_deref().filter(|namespace| *namespace != own)?;
    Some(Resolution::Missing {
        reason: reasons::NAMESPACE_NOT_ALLOWED,
        message: format!(
            "serviceRef names a Service in the namespace {other}; put the OllamaNode there, or name a Service in {own}."
        ),
    })
}

fn judge(reference: &ServiceRef, own: &str, service: Option<&Service>, host: String) -> Resolution {
    let Some(service) = service else {
        return Resolution::Missing {
            reason: reasons::SERVICE_NOT_FOUND,
            message: format!(
                "There is no Service {} in the namespace {own}: create it, or correct serviceRef.name.",
                reference.name
            ),
        };
    };
    let ports: Vec<i32> =
        service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).map(|port| port.port).collect();
    if ports.contains(&reference.port) {
        return Resolution::Service { host };
    }
    let ports: Vec<String> = ports.iter().take(10).map(i32::to_string).collect();
    Resolution::Missing {
        reason: reasons::SERVICE_PORT_NOT_FOUND,
        message: format!(
            "The Service {own}/{} has no port {}; it has: {}. Correct serviceRef.port.",
            reference.name,
            reference.port,
            if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_crds::v1alpha1::Scheme;
    use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

    fn reference(namespace: Option<&str>, port: i32) -> ServiceRef {
        let namespace = namespace.map(str::to_owned);
        ServiceRef { name: "ollama".to_owned(), namespace, port, scheme: Scheme::Http }
    }

    fn service(ports: &[i32]) -> Service {
        let ports = ports.iter().map(|port| ServicePort { port: *port, ..ServicePort::default() }).collect();
        Service {
            spec: Some(ServiceSpec { ports: Some(ports), ..ServiceSpec::default() }),
            ..Service::default()
        }
    }

    fn reason(resolution: &Resolution) -> Option<&'static str> {
        match resolution {
            Resolution::Missing { reason, .. } => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_service_needs_to_exist_and_to_have_the_port() {
        let judged = |port, ports: Option<&[i32]>| {
            judge(&reference(None, port), "ai", ports.map(service).as_ref(), "ollama.ai.svc".to_owned())
        };
        let host = "ollama.ai.svc".to_owned();
        assert_eq!(judged(11434, Some(&[80, 11434])), Resolution::Service { host });
        assert_eq!(reason(&judged(11434, None)), Some(reasons::SERVICE_NOT_FOUND));
        let missing = judged(11434, Some(&[80, 443]));
        assert_eq!(reason(&missing), Some(reasons::SERVICE_PORT_NOT_FOUND));
        let Resolution::Missing { message, .. } = missing else { panic!() };
        assert!(message.contains("80, 443"), "{message}");
        assert_eq!(reason(&judged(11434, Some(&[]))), Some(reasons::SERVICE_PORT_NOT_FOUND));
    }

    #[test]
    fn a_service_of_another_namespace_is_refused() {
        assert_eq!(foreign(&reference(None, 1), "ai"), None);
        assert_eq!(foreign(&reference(Some("ai"), 1), "ai"), None);
        let refused = foreign(&reference(Some("other"), 1), "ai").unwrap();
        assert_eq!(reason(&refused), Some(reasons::NAMESPACE_NOT_ALLOWED));
    }
}
