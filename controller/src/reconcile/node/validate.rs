//! From a resource to a node that the fleet can run. Pure; `aivonx run` reads its files through it as well.

use super::{Resolution, id_of};
use crate::node::{DesiredNode, HealthPolicy, ModelFilter};
use aivonx_crds::address;
use aivonx_crds::v1alpha1::{AuthType, NodeTls, OllamaNodeSpec, SchedulingState as Wish};
use aivonx_crds::{OllamaNode, REFRESH_ANNOTATION, reasons, violations};
use aivonx_state::table::{NodeTimeouts, SchedulingState};
use std::net::IpAddr;
use url::{Host, Url};

/// Why a resource cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A condition reason.
    pub reason: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Rejection {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Makes a node of a resource. All rules of the kind are applied again: the API server may have an older definition.
pub fn validate(node: &OllamaNode, resolution: &Resolution) -> Result<DesiredNode, Rejection> {
    let broken = violations(node);
    if !broken.is_empty() {
        let sentences: Vec<String> = broken.iter().map(ToString::to_string).collect();
        return Err(Rejection::new(reasons::INVALID_SPEC, sentences.join("; ")));
    }
    supported(&node.spec)?;
    let spec = &node.spec;
    let annotations = node.metadata.annotations.as_ref();
    Ok(DesiredNode {
        id: id_of(node),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        generation: node.metadata.generation.unwrap_or_default(),
        url: url(spec, resolution)?,
        weight: unsigned(spec.weight),
        priority: spec.priority,
        scheduling_state: scheduling_state(spec.scheduling_state),
        max_concurrent: unsigned(spec.capacity.max_concurrent),
        max_concurrent_per_model: unsigned(spec.capacity.max_concurrent_per_model),
        models: ModelFilter { allow: spec.models.allow.clone(), deny: spec.models.deny.clone() },
        timeouts: NodeTimeouts {
            connect_ms: spec.timeouts.connect.as_millis(),
            first_byte_ms: spec.timeouts.first_byte.as_millis(),
            idle_ms: spec.timeouts.idle.as_millis(),
            total_ms: spec.timeouts.total.as_millis(),
        },
        health: HealthPolicy {
            path: spec.health.path.clone(),
            interval: spec.health.interval.get(),
            timeout: spec.health.timeout.get(),
            healthy_threshold: unsigned(spec.health.healthy_threshold),
            unhealthy_threshold: unsigned(spec.health.unhealthy_threshold),
        },
        refresh: annotations.and_then(|annotations| annotations.get(REFRESH_ANNOTATION)).cloned(),
    })
}

/// What a spec may say but this version cannot do is refused, never passed over: a node that wants credentials must not be
/// asked without them.
fn supported(spec: &OllamaNodeSpec) -> Result<(), Rejection> {
    if let Some(auth) = spec.auth.as_ref().filter(|auth| auth.type_ != AuthType::None) {
        return Err(Rejection::new(
            reasons::NOT_SUPPORTED,
            format!("auth.type {:?} is not supported yet: only None is.", auth.type_),
        ));
    }
    if spec.tls.as_ref().is_some_and(|tls| *tls != NodeTls::default()) {
        return Err(Rejection::new(
            reasons::NOT_SUPPORTED,
            "tls is not supported yet: certificates are checked against the public authorities; remove spec.tls.",
        ));
    }
    Ok(())
}

fn url(spec: &OllamaNodeSpec, resolution: &Resolution) -> Result<Url, Rejection> {
    let text = match (&spec.url, &spec.service_ref, resolution) {
        (_, _, Resolution::Missing { reason, message }) => {
            return Err(Rejection { reason, message: message.clone() });
        }
        (Some(url), _, _) => url.clone(),
        (None, Some(service), Resolution::Service { host } | Resolution::Doubtful { host, .. }) => {
            format!("{}://{host}:{}", service.scheme, service.port)
        }
        (None, ..) => {
            return Err(Rejection::new(
                reasons::NOT_SUPPORTED,
                "serviceRef needs a Kubernetes cluster: use url when running without one.",
            ));
        }
    };
    let invalid = |why: &str| Rejection::new(reasons::INVALID_URL, format!("The address {text} {why}."));
    let url = Url::parse(&text).map_err(|error| invalid(&format!("cannot be read: {error}")))?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if !bare || !matches!(url.scheme(), "http" | "https") {
        return Err(Rejection::new(
            reasons::INVALID_URL,
            "The address must be http(s)://host[:port] and no more.",
        ));
    }
    let forbidden = match url.host() {
        None => return Err(invalid("names no host")),
        Some(Host::Ipv4(v4)) => address::forbidden(IpAddr::V4(v4)),
        Some(Host::Ipv6(v6)) => address::forbidden(IpAddr::V6(v6)),
        Some(Host::Domain(name)) => address::forbidden_name(name),
    };
    match forbidden {
        Some(what) => Err(invalid(&format!("is {what}, which cannot be a node"))),
        None => Ok(url),
    }
}

/// The rules keep the number above zero; a definition without them must not make one that is not.
fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn scheduling_state(wish: Wish) -> SchedulingState {
    match wish {
        Wish::Active => SchedulingState::Active,
        Wish::Cordoned => SchedulingState::Cordoned,
        Wish::Draining => SchedulingState::Draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_crds::parse_documents;
    use std::time::Duration;

    fn node(spec: &str) -> OllamaNode {
        let text = format!(
            "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata: {{name: gpu-1, namespace: ai, uid: u1, generation: 3, \
             annotations: {{aivonx.io/refresh-requested-at: '7'}}}}\nspec: {spec}\n"
        );
        parse_documents(&text).unwrap().remove(0)
    }

    fn rejected(node: &OllamaNode, resolution: &Resolution) -> Rejection {
        validate(node, resolution).unwrap_err()
    }

    #[test]
    fn every_field_reaches_the_node() {
        let node = node(
            "{url: 'https://gpu-1.lan:8443/', schedulingState: Draining, weight: 7, priority: -2, \
             capacity: {maxConcurrent: 8, maxConcurrentPerModel: 4}, models: {allow: ['a*'], deny: ['ab']}, \
             timeouts: {connect: 1s, firstByte: 2s, idle: 3s, total: 4s}, \
             health: {path: /api/health, interval: 6s, timeout: 5s, healthyThreshold: 8, unhealthyThreshold: 9}}",
        );
        let expected = DesiredNode {
            id: aivonx_state::NodeId::new("ai", "gpu-1"),
            uid: "u1".to_owned(),
            generation: 3,
            url: "https://gpu-1.lan:8443".parse().unwrap(),
            weight: 7,
            priority: -2,
            scheduling_state: SchedulingState::Draining,
            max_concurrent: 8,
            max_concurrent_per_model: 4,
            models: ModelFilter { allow: vec!["a*".to_owned()], deny: vec!["ab".to_owned()] },
            timeouts: NodeTimeouts {
                connect_ms: 1_000,
                first_byte_ms: 2_000,
                idle_ms: 3_000,
                total_ms: 4_000,
            },
            health: HealthPolicy {
                path: "/api/health".to_owned(),
                interval: Duration::from_secs(6),
                timeout: Duration::from_secs(5),
                healthy_threshold: 8,
                unhealthy_threshold: 9,
            },
            refresh: Some("7".to_owned()),
        };
        assert_eq!(validate(&node, &Resolution::Direct), Ok(expected));
    }

    #[test]
    fn a_service_becomes_its_name_in_the_cluster() {
        let node = node("{serviceRef: {name: ollama, port: 80}}");
        let host = "ollama.ai.svc".to_owned();
        let found = validate(&node, &Resolution::Service { host: host.clone() }).unwrap();
        assert_eq!(found.url.as_str(), "http://ollama.ai.svc/");
        let message = "timeout".to_owned();
        let doubtful = validate(&node, &Resolution::Doubtful { host, message }).unwrap();
        assert_eq!(doubtful, found, "a look-up that fails takes no node away");
        let missing = Resolution::Missing { reason: reasons::SERVICE_NOT_FOUND, message: "no".to_owned() };
        assert_eq!(rejected(&node, &missing).reason, reasons::SERVICE_NOT_FOUND);
        assert!(rejected(&node, &Resolution::NoCluster).message.contains("use url"));
    }

    #[test]
    fn what_cannot_be_done_yet_is_refused() {
        for spec in [
            "{url: http://a:1, auth: {type: Bearer, secretRef: {name: x, key: k}}}",
            "{url: https://a:1, tls: {insecureSkipVerify: true}}",
            "{url: https://a:1, tls: {serverName: b}}",
        ] {
            assert_eq!(rejected(&node(spec), &Resolution::Direct).reason, reasons::NOT_SUPPORTED, "{spec}");
        }
        for spec in ["{url: http://a:1, auth: {}}", "{url: http://a:1, tls: {}}"] {
            assert!(validate(&node(spec), &Resolution::Direct).is_ok(), "{spec}");
        }
    }

    #[test]
    fn a_definition_without_our_rules_lets_nothing_through() {
        let mut node = node("{url: http://a:1}");
        for url in ["ftp://a", "http://u:p@a", "http://169.254.169.254", "http://a/b", "http://0xa9fea9fe"] {
            node.spec.url = Some(url.to_owned());
            let rejection = rejected(&node, &Resolution::Direct);
            assert_eq!(rejection.reason, reasons::INVALID_SPEC, "{url}");
            assert!(!rejection.message.contains("u:p"), "{}", rejection.message);
        }
        node.spec.url = Some("http://a:1".to_owned());
        node.spec.weight = -1;
        assert!(rejected(&node, &Resolution::Direct).message.contains("weight must be between"));
    }

    #[test]
    fn addresses_that_no_pattern_shows_are_refused_by_value() {
        let mut node = node("{url: http://a:1}");
        for url in ["http://[64:ff9b::a9fe:a9fe]", "http://[2002:a9fe:a9fe::1]"] {
            node.spec.url = Some(url.to_owned());
            assert_eq!(rejected(&node, &Resolution::Direct).reason, reasons::INVALID_URL, "{url}");
        }
    }
}
