//! Errors before the stream, in the two forms Ollama has for them.

use http::Response;
use http::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::reply::{self, Body};
use crate::name::NameError;
use crate::runner::{LOAD_FAILED, Refusal};

/// Whose words an answer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `/api`
    Native,
    /// `/v1`
    OpenAi,
}

impl Family {
    /// By path.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/v1/") { Self::OpenAi } else { Self::Native }
    }
}

/// Where in Ollama an error arises: the content type and the final newline tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// In a handler.
    Handler,
    /// Before it, where `/v1` bodies are translated.
    Middleware,
    /// In a stream that has not begun.
    Stream,
    /// Where names of cloud models are caught: the native form everywhere.
    Cloud,
}

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub status: u16,
    /// The text.
    pub message: String,
    origin: Origin,
    retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Native<'a> {
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
    param: Option<()>,
    code: Option<()>,
}

const BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";

impl Failure {
    /// An error of a handler.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), origin: Origin::Handler, retry_after: None }
    }

    /// An error of a body that cannot be read.
    pub fn middleware(status: u16, message: impl Into<String>) -> Self {
        Self { origin: Origin::Middleware, ..Self::new(status, message) }
    }

    /// An error of a stream that has not begun.
    pub fn stream(status: u16, message: impl Into<String>) -> Self {
        Self { origin: Origin::Stream, ..Self::new(status, message) }
    }

    /// A cloud model, on a node that may not use any.
    pub fn cloud(what: &str) -> Self {
        Self::new(403, format!("ollama cloud is disabled: {what}"))
    }

    /// The same, found before `/v1` translates anything: in the native form.
    pub fn cloud_passthrough(what: &str) -> Self {
        Self { origin: Origin::Cloud, ..Self::cloud(what) }
    }

    /// A name that is none; `required` is what this route says to an empty one.
    pub fn name(error: NameError, required: Self) -> Self {
        match error {
            NameError::Required => required,
            NameError::Conflict(raw) => {
                Self::new(400, format!("use either :local or :cloud, not both: {raw:?}"))
            }
            NameError::Unqualified => Self::new(400, "invalid model name"),
        }
    }

    /// Set by a fault, with Ollama's usual text unless told.
    pub fn staged(status: u16, text: Option<String>, retry_after: Option<u64>) -> Self {
        let usual = || match status {
            404 => "model 'unknown' not found".to_owned(),
            500 => LOAD_FAILED.to_owned(),
            503 => BUSY.to_owned(),
            status => {
                let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
                reason.unwrap_or("fault").to_lowercase()
            }
        };
        Self { retry_after, ..Self::new(status, text.unwrap_or_else(usual)) }
    }

    /// As an answer.
    pub fn response(self, family: Family) -> Response<Body> {
        let Self { status, message, origin, retry_after } = self;
        let native = Native { error: &message };
        let mut response = match (family, origin) {
            (Family::Native, Origin::Stream) => {
                reply::bytes(status, reply::BARE_JSON, reply::to_json(&native))
            }
            (Family::Native, _) | (_, Origin::Cloud) => reply::json(status, &native),
            (Family::OpenAi, Origin::Middleware) => reply::json(status, &openai(status, &message)),
            (Family::OpenAi, _) => reply::json_line(status, &openai(status, &message)),
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::new(503, BUSY),
            Refusal::LoadFailed(message) => Self::new(500, message),
            Refusal::Stopping => Self::new(500, "the server is stopping"),
        }
    }
}

fn openai(status: u16, message: &str) -> OpenAi<'_> {
    let r#type = match status {
        400 => "invalid_request_error",
        404 => "not_found_error",
        _ => "api_error",
    };
    OpenAi { error: OpenAiError { message, r#type, param: None, code: None } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONTENT_TYPE;
    use http_body_util::BodyExt;

    async fn show(failure: Failure, family: Family) -> String {
        let response = failure.response(family);
        let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        format!("{status} {content_type} {}", String::from_utf8_lossy(&body).replace('\n', "$"))
    }

    #[tokio::test]
    async fn forms() {
        let openai = r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}}"#;
        for (failure, family, want) in [
            (
                Failure::new(404, "m"),
                Family::Native,
                "404 application/json; charset=utf-8 {\"error\":\"m\"}".to_owned(),
            ),
            (Failure::stream(500, "m"), Family::Native, "500 application/json {\"error\":\"m\"}".to_owned()),
            (Failure::new(400, "m"), Family::OpenAi, format!("400 application/json {openai}$")),
            (
                Failure::middleware(400, "m"),
                Family::OpenAi,
                format!("400 application/json; charset=utf-8 {openai}"),
            ),
            (
                Failure::cloud_passthrough("x"),
                Family::OpenAi,
                "403 application/json; charset=utf-8 {\"error\":\"ollama cloud is disabled: x\"}".to_owned(),
            ),
        ] {
            assert_eq!(show(failure, family).await, want);
        }
        assert!(show(Failure::new(503, "m"), Family::OpenAi).await.contains("api_error"));
        assert!(show(Failure::new(404, "m"), Family::OpenAi).await.contains("not_found_error"));
    }

    #[test]
    fn staged_failures_have_ollamas_words() {
        assert_eq!(Failure::staged(503, None, Some(1)).message, BUSY);
        assert_eq!(Failure::staged(418, None, None).message, "i'm a teapot");
        assert_eq!(Failure::staged(500, Some("x".into()), None).message, "x");
    }
}
