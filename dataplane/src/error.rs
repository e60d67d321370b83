//! Every way in which the gateway itself answers with an error, and what each looks like to the client.

use crate::record::Outcome;
use crate::request::routes::{Family, Missing, Unknown};
use aivonx_state::name::NameError;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::borrow::Cow;

/// Why the gateway answers a request itself. Each function on it is total: a new variant is decided on everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// No such path.
    UnknownPath,
    /// The path does not take this method.
    WrongMethod {
        /// The methods it takes.
        allow: &'static str,
    },
    /// An operation that this gateway does not offer.
    Disabled {
        /// Its name.
        what: &'static str,
    },
    /// The head breaks HTTP: what is wrong with it.
    BadHead(&'static str),
    /// The body is compressed.
    Encoded,
    /// The body is longer than allowed.
    BodyTooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// All bodies together hold as many bytes as the process may hold.
    TooManyBytesHeld,
    /// The client paused for too long in the middle of its body.
    BodyTimeout,
    /// The client's body broke off or is not well formed.
    BodyBroken,
    /// No body.
    NoBody,
    /// The body is not the JSON that the endpoint takes.
    BadJson(String),
    /// Several keys read as the same field.
    Ambiguous(&'static str),
    /// No model is named.
    NoModel(Missing),
    /// The name breaks the rules of names.
    BadName(NameError),
    /// The name asks for a model that runs at ollama.com.
    CloudModel {
        /// The request is for what is known of the model, not for its work.
        details: bool,
    },
    /// No node has the model.
    UnknownModel {
        /// As the endpoint tells it.
        name: String,
        /// How the endpoint tells it.
        form: Unknown,
    },
    /// There is no routing table yet.
    NoTable,
    /// Nodes have the model, and none of them can be sent to.
    NoHealthyNode,
    /// Every node that has the model has as many requests as it may have.
    Busy,
    /// The last node that was tried broke the connection before it answered.
    UpstreamBroken,
    /// The node did not begin to answer in time.
    FirstByteTimeout,
    /// The process ends and cannot wait for the answer any longer.
    Ending,
    /// A defect of the gateway.
    Panicked,
}

impl ProxyError {
    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath | Self::UnknownModel { .. } | Self::NoModel(Missing::NotFound) => {
                StatusCode::NOT_FOUND
            }
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Disabled { .. } | Self::CloudModel { .. } => StatusCode::FORBIDDEN,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BadHead(_)
            | Self::BodyBroken
            | Self::NoBody
            | Self::BadJson(_)
            | Self::Ambiguous(_)
            | Self::NoModel(Missing::Required)
            | Self::BadName(_) => StatusCode::BAD_REQUEST,
            Self::TooManyBytesHeld | Self::NoTable | Self::NoHealthyNode | Self::Busy | Self::Ending => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamBroken => StatusCode::BAD_GATEWAY,
            Self::FirstByteTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A short stable word for logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown_path",
            Self::WrongMethod { .. } => "wrong_method",
            Self::Disabled { .. } => "disabled",
            Self::BadHead(_) => "bad_head",
            Self::Encoded => "encoded_body",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::TooManyBytesHeld => "too_many_bytes_held",
            Self::BodyTimeout => "body_timeout",
            Self::BodyBroken => "body_broken",
            Self::NoBody => "no_body",
            Self::BadJson(_) => "bad_json",
            Self::Ambiguous(_) => "ambiguous_field",
            Self::NoModel(_) => "no_model",
            Self::BadName(_) => "bad_model_name",
            Self::CloudModel { .. } => "cloud_model",
            Self::UnknownModel { .. } => "unknown_model",
            Self::NoTable => "no_table",
            Self::NoHealthyNode => "no_healthy_node",
            Self::Busy => "busy",
            Self::UpstreamBroken => "upstream_broken",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Ending => "ending",
            Self::Panicked => "panic",
        }
    }

    /// How the request ended.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::UpstreamBroken | Self::Panicked => Outcome::UpstreamError,
            Self::FirstByteTimeout | Self::BodyTimeout => Outcome::TimedOut,
            _ => Outcome::Rejected,
        }
    }

    /// After how many seconds the client may try again, if trying again makes sense at all.
    pub(crate) fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            Self::Busy | Self::TooManyBytesHeld => Some(HeaderValue::from_static("1")),
            Self::NoTable | Self::NoHealthyNode => Some(HeaderValue::from_static("5")),
            Self::Ending => Some(HeaderValue::from_static("2")),
            _ => None,
        }
    }

    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> Option<HeaderValue> {
        match self {
            Self::WrongMethod { allow } => Some(HeaderValue::from_static(allow)),
            _ => None,
        }
    }

    /// Whether the connection cannot be used for another request.
    pub(crate) fn closes(&self) -> bool {
        matches!(
            self,
            Self::BadHead(_)
                | Self::BodyTooLarge { .. }
                | Self::BodyTimeout
                | Self::BodyBroken
                | Self::Ending
                | Self::Panicked
        )
    }

    fn message(&self, family: Family) -> Cow<'static, str> {
        match self {
            Self::UnknownPath => "404 page not found".into(),
            Self::WrongMethod { .. } => "405 method not allowed".into(),
            Self::Disabled { what } => format!("{what} is disabled on this gateway").into(),
            Self::BadHead(why) => (*why).into(),
            Self::Encoded => {
                "compressed request bodies are not supported: send the body without Content-Encoding".into()
            }
            Self::BodyTooLarge { limit } => {
                format!("request body too large: at most {limit} bytes are allowed").into()
            }
            Self::TooManyBytesHeld => "server busy: too many bytes of request bodies at once".into(),
            Self::BodyTimeout => "the request body did not arrive in time".into(),
            Self::BodyBroken => "the request body broke off".into(),
            Self::NoBody => match family {
                Family::Ollama => "missing request body".into(),
                Family::OpenAi => "EOF".into(),
            },
            Self::BadJson(why) => why.clone().into(),
            Self::Ambiguous(field) => {
                format!("several keys of the request read as '{field}': send it once").into()
            }
            Self::NoModel(Missing::Required) => "model is required".into(),
            Self::NoModel(Missing::NotFound) => "model '' not found".into(),
            Self::BadName(error) => error.to_string().into(),
            Self::CloudModel { details: false } => {
                "ollama cloud is disabled: remote model is unavailable".into()
            }
            Self::CloudModel { details: true } => {
                "ollama cloud is disabled: remote model details are unavailable".into()
            }
            Self::UnknownModel { name, form: Unknown::Plain | Unknown::Tagged } => {
                format!("model '{name}' not found").into()
            }
            Self::UnknownModel { name, form: Unknown::TryPulling } => {
                format!("model \"{name}\" not found, try pulling it first").into()
            }
            Self::NoTable => "no routing table yet".into(),
            Self::NoHealthyNode => "no healthy nodes available".into(),
            Self::Busy => "server busy, please try again.  maximum pending requests exceeded".into(),
            Self::UpstreamBroken => "the node closed the connection before it answered".into(),
            Self::FirstByteTimeout => "the node did not begin to answer in time".into(),
            Self::Ending => "the gateway is shutting down".into(),
            Self::Panicked => "internal error of the gateway".into(),
        }
    }

    /// The content type and the body of the answer.
    pub(crate) fn body(&self, family: Family) -> (HeaderValue, Bytes) {
        let message = self.message(family);
        match self {
            Self::UnknownPath | Self::WrongMethod { .. } => {
                let body = match message {
                    Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
                    Cow::Owned(text) => Bytes::from(text),
                };
                (HeaderValue::from_static("text/plain"), body)
            }
            // Ollama tells this in its own words on every path.
            Self::CloudModel { .. } => (JSON, object(Family::Ollama, self.status(), &message)),
            // What a node finds while it translates a body looks like this on every path; what it finds later has, in
            // OpenAI's form, no charset and a newline at its end.
            Self::NoBody | Self::BadJson(_) | Self::Ambiguous(_) => {
                (JSON, object(family, self.status(), &message))
            }
            _ if family == Family::OpenAi => {
                let object = object(family, self.status(), &message);
                (BARE_JSON, [&object[..], b"\n"].concat().into())
            }
            _ => (JSON, object(family, self.status(), &message)),
        }
    }
}

/// The content type of most answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// The content type of answers in OpenAI's form.
pub(crate) const BARE_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error object on one line, in the words of the family.
pub(crate) fn object(family: Family, status: StatusCode, message: &str) -> Bytes {
    #[derive(Serialize)]
    struct Ollama<'a> {
        error: &'a str,
    }
    #[derive(Serialize)]
    struct OpenAi<'a> {
        error: OpenAiError<'a>,
    }
    #[derive(Serialize)]
    struct OpenAiError<'a> {
        message: &'a str,
        r#type: &'static str,
        param: Option<&'static str>,
        code: Option<&'static str>,
    }
    let text = match family {
        Family::Ollama => serde_json::to_vec(&Ollama { error: message }),
        Family::OpenAi => {
            let r#type = match status {
                StatusCode::BAD_REQUEST => "invalid_request_error",
                StatusCode::NOT_FOUND => "not_found_error",
                _ => "api_error",
            };
            serde_json::to_vec(&OpenAi { error: OpenAiError { message, r#type, param: None, code: None } })
        }
    };
    // Strings always serialise.
    text.map_or_else(|_| Bytes::from_static(b"{\"error\":\"internal error\"}"), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(ProxyError, u16, &'static str, &'static str)> {
        use ProxyError as E;
        let named = |name: &str, form| E::UnknownModel { name: name.into(), form };
        vec![
            (E::UnknownPath, 404, "unknown_path", "404 page not found"),
            (E::WrongMethod { allow: "POST" }, 405, "wrong_method", "405 method not allowed"),
            (E::Disabled { what: "pull" }, 403, "disabled", "pull is disabled on this gateway"),
            (E::BadHead("no Host"), 400, "bad_head", "no Host"),
            (
                E::Encoded,
                415,
                "encoded_body",
                "compressed request bodies are not supported: send the body without Content-Encoding",
            ),
            (
                E::BodyTooLarge { limit: 9 },
                413,
                "body_too_large",
                "request body too large: at most 9 bytes are allowed",
            ),
            (
                E::TooManyBytesHeld,
                503,
                "too_many_bytes_held",
                "server busy: too many bytes of request bodies at once",
            ),
            (E::BodyTimeout, 408, "body_timeout", "the request body did not arrive in time"),
            (E::BodyBroken, 400, "body_broken", "the request body broke off"),
            (E::NoBody, 400, "no_body", "missing request body"),
            (E::BadJson("unexpected \"x\"".into()), 400, "bad_json", "unexpected \"x\""),
            (
                E::Ambiguous("model"),
                400,
                "ambiguous_field",
                "several keys of the request read as 'model': send it once",
            ),
            (E::NoModel(Missing::Required), 400, "no_model", "model is required"),
            (E::NoModel(Missing::NotFound), 404, "no_model", "model '' not found"),
            (E::BadName(NameError::Invalid), 400, "bad_model_name", "invalid model name"),
            (
                E::CloudModel { details: false },
                403,
                "cloud_model",
                "ollama cloud is disabled: remote model is unavailable",
            ),
            (
                E::CloudModel { details: true },
                403,
                "cloud_model",
                "ollama cloud is disabled: remote model details are unavailable",
            ),
            (named("a", Unknown::Plain), 404, "unknown_model", "model 'a' not found"),
            (named("a:latest", Unknown::Tagged), 404, "unknown_model", "model 'a:latest' not found"),
            (
                named("a", Unknown::TryPulling),
                404,
                "unknown_model",
                "model \"a\" not found, try pulling it first",
            ),
            (E::NoTable, 503, "no_table", "no routing table yet"),
            (E::NoHealthyNode, 503, "no_healthy_node", "no healthy nodes available"),
            (E::Busy, 503, "busy", "server busy, please try again.  maximum pending requests exceeded"),
            (E::UpstreamBroken, 502, "upstream_broken", "the node closed the connection before it answered"),
            (E::FirstByteTimeout, 504, "first_byte_timeout", "the node did not begin to answer in time"),
            (E::Ending, 503, "ending", "the gateway is shutting down"),
            (E::Panicked, 500, "panic", "internal error of the gateway"),
        ]
    }

    #[test]
    fn every_error_in_every_family() {
        for (error, status, reason, message) in all() {
            assert_eq!((error.status().as_u16(), error.reason()), (status, reason), "{error:?}");
            for family in [Family::Ollama, Family::OpenAi] {
                let (kind, body) = error.body(family);
                let text = std::str::from_utf8(&body).unwrap();
                assert!(!text.trim_end_matches('\n').contains('\n'), "{text}");
                if matches!(error, ProxyError::UnknownPath | ProxyError::WrongMethod { .. }) {
                    assert_eq!((kind.to_str().unwrap(), text), ("text/plain", message));
                    continue;
                }
                let own_words = matches!(error, ProxyError::CloudModel { .. });
                let early = matches!(reason, "no_body" | "bad_json" | "ambiguous_field");
                let bare = family == Family::OpenAi && !early && !own_words;
                assert_eq!(kind, if bare { BARE_JSON } else { JSON }, "{error:?}");
                assert_eq!(text.ends_with('\n'), bare, "{error:?}");
                let value: serde_json::Value = serde_json::from_str(text).unwrap();
                if family == Family::Ollama || own_words {
                    assert_eq!(value, serde_json::json!({ "error": message }));
                    continue;
                }
                let message = if error == ProxyError::NoBody { "EOF" } else { message };
                let kind = match status {
                    400 => "invalid_request_error",
                    404 => "not_found_error",
                    _ => "api_error",
                };
                let expected =
                    serde_json::json!({"error":{"message":message,"type":kind,"param":null,"code":null}});
                assert_eq!(value, expected);
            }
        }
    }

    #[test]
    fn a_busy_or_empty_fleet_says_when_to_come_back() {
        for (error, status, ..) in all() {
            assert_eq!(error.retry_after().is_some(), status == 503, "{error:?}");
            assert_eq!(error.allow().is_some(), status == 405, "{error:?}");
        }
    }

    #[test]
    fn a_body_that_was_not_read_to_its_end_closes_the_connection() {
        assert!(ProxyError::BodyTooLarge { limit: 1 }.closes());
        assert!(ProxyError::BodyTimeout.closes());
        assert!(!ProxyError::NoHealthyNode.closes());
    }

    #[test]
    fn outcomes_tell_whose_fault_it_was() {
        assert_eq!(ProxyError::UpstreamBroken.outcome(), Outcome::UpstreamError);
        assert_eq!(ProxyError::FirstByteTimeout.outcome(), Outcome::TimedOut);
        assert_eq!(ProxyError::Busy.outcome(), Outcome::Rejected);
    }
}
