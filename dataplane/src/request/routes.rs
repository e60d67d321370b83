//! The table of routes: every path that the gateway knows, and what it does with it.

use crate::error::ProxyError;
use http::Method;

/// Whose words errors are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Ollama's own API: `{"error":".."}`.
    Ollama,
    /// The OpenAI API: `{"error":{"message":..}}`.
    OpenAi,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answered from the routing table, without a node.
    Local(Local),
    /// Sent to a node that has the model.
    Inference(Inference),
    /// Changes nodes: refused, as `.. is disabled on this gateway`.
    Management(&'static str),
    /// Speaks for the node's owner towards ollama.com: refused in the same way.
    Identity(&'static str),
}

/// What is answered from the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// `Ollama is running`.
    Root,
    /// The lowest version among the nodes.
    Version,
    /// The models of all nodes.
    Tags,
    /// The models in memory of all nodes.
    Loaded,
    /// The models of all nodes, in OpenAI's form.
    Models,
    /// One model, in OpenAI's form.
    Model,
}

/// What differs between the endpoints that are routed by model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inference {
    /// How a request without a model is answered.
    pub missing: Missing,
    /// How a model that nobody has is answered.
    pub unknown: Unknown,
    /// Whether `name` stands for `model`.
    pub name_alias: bool,
    /// Whether the answer is a stream when the request does not say.
    pub streams: bool,
}

/// How a request without a model is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// 400 `model is required`.
    Required,
    /// 404 `model '' not found`.
    NotFound,
}

/// How a model that no node has is answered, always with 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// `model 'foo' not found`.
    Plain,
    /// `model "foo" not found, try pulling it first`.
    TryPulling,
    /// `model 'foo:latest' not found`.
    Tagged,
}

/// One path, or the paths under one.
#[derive(Debug)]
pub(crate) struct Route {
    /// Names the route in metrics and logs.
    pub label: &'static str,
    path: Path,
    methods: &'static [Method],
    /// The value of `Allow`.
    allow: &'static str,
    /// Whose words errors are told in.
    pub family: Family,
    /// What the route does.
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Path {
    Exact(&'static str),
    /// Everything below, with the slash.
    Under(&'static str),
}

const GET: &[Method] = &[Method::GET];
const GET_HEAD: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];
const DELETE: &[Method] = &[Method::DELETE];
const POST_HEAD: &[Method] = &[Method::POST, Method::HEAD];
const GET_POST: &[Method] = &[Method::GET, Method::POST];

/// All routes. The inference routes come first: what they need of a node is prepared by their place.
pub(crate) static ROUTES: [Route; 27] = [
    inference("/api/generate", Family::Ollama, Missing::NotFound, Unknown::Plain, true),
    inference("/api/chat", Family::Ollama, Missing::Required, Unknown::Plain, true),
    inference("/api/embed", Family::Ollama, Missing::NotFound, Unknown::TryPulling, false),
    inference("/api/embeddings", Family::Ollama, Missing::Required, Unknown::TryPulling, false),
    Route {
        label: "/api/show",
        path: Path::Exact("/api/show"),
        methods: POST,
        allow: "POST",
        family: Family::Ollama,
        kind: Kind::Inference(Inference {
            missing: Missing::Required,
            unknown: Unknown::Tagged,
            name_alias: true,
            streams: false,
        }),
    },
    inference("/v1/chat/completions", Family::OpenAi, Missing::Required, Unknown::Plain, false),
    inference("/v1/completions", Family::OpenAi, Missing::NotFound, Unknown::Plain, false),
    inference("/v1/embeddings", Family::OpenAi, Missing::NotFound, Unknown::TryPulling, false),
    local("/", GET_HEAD, "GET, HEAD", Family::Ollama, Local::Root),
    local("/api/version", GET_HEAD, "GET, HEAD", Family::Ollama, Local::Version),
    local("/api/tags", GET_HEAD, "GET, HEAD", Family::Ollama, Local::Tags),
    local("/api/ps", GET, "GET", Family::Ollama, Local::Loaded),
    local("/v1/models", GET, "GET", Family::OpenAi, Local::Models),
    Route {
        label: "/v1/models/{model}",
        path: Path::Under("/v1/models/"),
        methods: GET,
        allow: "GET",
        family: Family::OpenAi,
        kind: Kind::Local(Local::Model),
    },
    refused("/api/pull", POST, "POST", Kind::Management("pull")),
    refused("/api/push", POST, "POST", Kind::Management("push")),
    refused("/api/create", POST, "POST", Kind::Management("create")),
    refused("/api/copy", POST, "POST", Kind::Management("copy")),
    refused("/api/delete", DELETE, "DELETE", Kind::Management("delete")),
    refused_under("/api/blobs/", POST_HEAD, "POST, HEAD", Kind::Management("blob upload")),
    refused("/api/me", POST, "POST", Kind::Identity("account information")),
    refused("/api/signout", POST, "POST", Kind::Identity("sign-out")),
    refused_under("/api/user/keys/", DELETE, "DELETE", Kind::Identity("key removal")),
    refused("/api/experimental/web_search", POST, "POST", Kind::Identity("web search")),
    refused("/api/experimental/web_fetch", POST, "POST", Kind::Identity("web fetch")),
    refused("/api/experimental/model-recommendations", GET, "GET", Kind::Identity("model recommendation")),
    refused_under("/api/experimental/", GET_POST, "GET, POST", Kind::Identity("the experimental API")),
];

/// How many of [`ROUTES`], from the first on, are inference routes.
pub(crate) const INFERENCE_ROUTES: usize = 8;

const fn inference(
    path: &'static str,
    family: Family,
    missing: Missing,
    unknown: Unknown,
    streams: bool,
) -> Route {
    let kind = Kind::Inference(Inference { missing, unknown, name_alias: false, streams });
    Route { label: path, path: Path::Exact(path), methods: POST, allow: "POST", family, kind }
}

const fn local(
    path: &'static str,
    methods: &'static [Method],
    allow: &'static str,
    family: Family,
    local: Local,
) -> Route {
    Route { label: path, path: Path::Exact(path), methods, allow, family, kind: Kind::Local(local) }
}

const fn refused(path: &'static str, methods: &'static [Method], allow: &'static str, kind: Kind) -> Route {
    Route { label: path, path: Path::Exact(path), methods, allow, family: Family::Ollama, kind }
}

const fn refused_under(
    path: &'static str,
    methods: &'static [Method],
    allow: &'static str,
    kind: Kind,
) -> Route {
    Route { label: path, path: Path::Under(path), methods, allow, family: Family::Ollama, kind }
}

/// Where a canonical path leads.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The route.
    pub route: &'static Route,
    /// Its place in [`ROUTES`].
    pub place: usize,
    /// What follows the route's path; empty for a route that is one path.
    pub rest: &'a str,
}

/// Finds the route of a canonical path.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<Target<'a>, ProxyError> {
    let (place, route, rest) = ROUTES
        .iter()
        .enumerate()
        .find_map(|(place, route)| Some((place, route, route.path.matches(path)?)))
        .ok_or(ProxyError::UnknownPath)?;
    if route.methods.contains(method) {
        Ok(Target { route, place, rest })
    } else {
        Err(ProxyError::WrongMethod { allow: route.allow })
    }
}

impl Path {
    fn matches<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self {
            Self::Exact(exact) => (path == *exact).then_some(""),
            Self::Under(parent) => path.strip_prefix(parent).filter(|rest| !rest.is_empty()),
        }
    }
}

impl Route {
    /// The path of a route that is one path.
    pub(crate) fn exact_path(&self) -> &'static str {
        match self.path {
            Path::Exact(path) | Path::Under(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_inference_routes_are_the_first_ones() {
        for (place, route) in ROUTES.iter().enumerate() {
            assert_eq!(matches!(route.kind, Kind::Inference(_)), place < INFERENCE_ROUTES, "{}", route.label);
        }
    }

    #[test]
    fn labels_are_told_apart_and_allow_says_the_methods() {
        let labels: HashSet<_> = ROUTES.iter().map(|route| route.label).collect();
        assert_eq!(labels.len(), ROUTES.len());
        for route in &ROUTES {
            let methods: Vec<_> = route.methods.iter().map(Method::as_str).collect();
            assert_eq!(route.allow, methods.join(", "), "{}", route.label);
        }
    }

    #[test]
    fn every_known_path_leads_to_its_route() {
        for (method, path, label, rest) in [
            (Method::HEAD, "/", "/", ""),
            (Method::POST, "/api/chat", "/api/chat", ""),
            (Method::GET, "/v1/models", "/v1/models", ""),
            (Method::GET, "/v1/models/hf.co/u/m:q", "/v1/models/{model}", "hf.co/u/m:q"),
            (Method::POST, "/api/blobs/sha256:0", "/api/blobs/", "sha256:0"),
            (Method::POST, "/api/experimental/web_search", "/api/experimental/web_search", ""),
            (Method::POST, "/api/experimental/else", "/api/experimental/", "else"),
        ] {
            let target = find(&method, path).unwrap();
            assert_eq!((target.route.label, target.rest), (label, rest), "{path}");
        }
    }

    #[test]
    fn the_rest_is_not_found_or_not_allowed() {
        for path in ["/api", "/API/chat", "/api/chats", "/v1/models/", "/metrics", "/api%2fpull", "*", ""] {
            assert!(matches!(find(&Method::GET, path), Err(ProxyError::UnknownPath)), "{path}");
        }
        for (method, path, expected) in [
            (Method::GET, "/api/chat", "POST"),
            (Method::POST, "/api/tags", "GET, HEAD"),
            (Method::POST, "/api/delete", "DELETE"),
            (Method::CONNECT, "/", "GET, HEAD"),
        ] {
            assert!(
                matches!(find(&method, path), Err(ProxyError::WrongMethod { allow }) if allow == expected),
                "{path}"
            );
        }
    }
}
