//! Route: from a body to the model it asks for.

use super::asked::{Asked, Unreadable};
use super::routes::{Inference, Unknown};
use crate::error::ProxyError;
use aivonx_state::ModelName;
use aivonx_state::name::NameError;
use std::borrow::Cow;

/// What a body asks for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The model, as nodes know it.
    pub name: ModelName,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The model, as the client wrote it.
    written: Cow<'a, str>,
}

/// Reads a body as the endpoint does.
pub(crate) fn wanted(inference: Inference, body: &[u8]) -> Result<Wanted<'_>, ProxyError> {
    let asked = Asked::parse(body).map_err(|unreadable| match unreadable {
        Unreadable::Empty => ProxyError::NoBody,
        Unreadable::Json(why) => ProxyError::BadJson(why),
        Unreadable::Ambiguous(field) => ProxyError::Ambiguous(field),
    })?;
    let model = asked.model.filter(|model| !model.is_empty());
    let model = if inference.name_alias { model.or(asked.name) } else { model };
    let written = model.filter(|model| !model.is_empty()).ok_or(ProxyError::NoModel(inference.missing))?;
    let name = ModelName::parse(&written).map_err(|error| match error {
        NameError::Missing => ProxyError::NoModel(inference.missing),
        error => ProxyError::BadName(error),
    })?;
    if name.is_cloud() {
        return Err(ProxyError::CloudModel { details: inference.unknown == Unknown::Tagged });
    }
    Ok(Wanted { name, stream: asked.stream.unwrap_or(inference.streams), written })
}

impl Wanted<'_> {
    /// The error of an endpoint whose model no node has.
    pub(crate) fn unknown(&self, form: Unknown) -> ProxyError {
        let name = match form {
            Unknown::Plain | Unknown::TryPulling => self.written.as_ref(),
            Unknown::Tagged => self.name.display_shortest(),
        };
        ProxyError::UnknownModel { name: name.to_owned(), form }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::routes::{Kind, Missing, find};
    use http::Method;

    fn inference(path: &str) -> Inference {
        match find(&Method::POST, path).unwrap().route.kind {
            Kind::Inference(inference) => inference,
            other => panic!("{other:?}"),
        }
    }

    fn error(path: &str, body: &str) -> ProxyError {
        wanted(inference(path), body.as_bytes()).map(|wanted| wanted.name).unwrap_err()
    }

    const PATHS: [&str; 8] = [
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/api/show",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
    ];

    #[test]
    fn a_missing_model_is_told_as_each_endpoint_tells_it() {
        for path in PATHS {
            let required =
                ["/api/chat", "/api/embeddings", "/api/show", "/v1/chat/completions"].contains(&path);
            let expected = if required { Missing::Required } else { Missing::NotFound };
            for body in ["{}", r#"{"model":""}"#, r#"{"model":null}"#, "null", r#"{"model":"  "}"#] {
                assert_eq!(error(path, body), ProxyError::NoModel(expected), "{path} {body}");
            }
        }
    }

    #[test]
    fn bad_bodies_and_names_are_refused_everywhere() {
        for path in PATHS {
            assert_eq!(error(path, ""), ProxyError::NoBody);
            assert!(matches!(error(path, "{"), ProxyError::BadJson(_)));
            assert_eq!(error(path, r#"{"model":"a","MODEL":"b"}"#), ProxyError::Ambiguous("model"));
            for name in ["a/b/c/d", "-x", "x:", "x@sha256:00"] {
                let body = format!("{{\"model\":\"{name}\"}}");
                assert_eq!(error(path, &body), ProxyError::BadName(NameError::Invalid), "{name}");
            }
            assert!(matches!(error(path, r#"{"model":"a:local:cloud"}"#), ProxyError::BadName(_)));
            for name in ["gpt-oss:120b-cloud", "x:CLOUD"] {
                let body = format!("{{\"model\":\"{name}\"}}");
                assert_eq!(
                    error(path, &body),
                    ProxyError::CloudModel { details: path == "/api/show" },
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_model_is_told_as_each_endpoint_tells_it() {
        for (path, expected) in PATHS.iter().zip([
            "model 'Foo' not found",
            "model 'Foo' not found",
            r#"model "Foo" not found, try pulling it first"#,
            r#"model "Foo" not found, try pulling it first"#,
            "model 'Foo:latest' not found",
            "model 'Foo' not found",
            "model 'Foo' not found",
            r#"model "Foo" not found, try pulling it first"#,
        ]) {
            let inference = inference(path);
            let unknown = wanted(inference, br#"{"model":"Foo"}"#).unwrap().unknown(inference.unknown);
            let (_, body) = unknown.body(crate::request::routes::Family::Ollama);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"], expected, "{path}");
        }
    }

    #[test]
    fn name_stands_for_model_only_where_a_node_takes_it() {
        assert!(wanted(inference("/api/show"), br#"{"name":"a"}"#).is_ok());
        let both = wanted(inference("/api/show"), br#"{"name":"a","model":"b"}"#).unwrap();
        assert_eq!(both.name.model(), "b");
        assert!(wanted(inference("/api/chat"), br#"{"name":"a"}"#).is_err());
    }

    #[test]
    fn a_stream_is_what_the_endpoint_makes_of_it() {
        let stream = |path, body: &str| wanted(inference(path), body.as_bytes()).unwrap().stream;
        assert!(stream("/api/chat", r#"{"model":"a"}"#));
        assert!(!stream("/api/chat", r#"{"model":"a","stream":false}"#));
        assert!(stream("/api/chat", r#"{"model":"a","stream":null}"#));
        assert!(!stream("/v1/chat/completions", r#"{"model":"a"}"#));
        assert!(stream("/v1/chat/completions", r#"{"model":"a","stream":true}"#));
    }
}
