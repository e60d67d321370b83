//! The HTTP surface: what each route reads, decides and answers.

mod embed;
mod encode;
mod failure;
mod generate;
mod generation;
mod models;
mod openai;
mod reply;
mod request;
mod request_openai;
mod wire;

use bytes::Bytes;
use http::header::{ALLOW, HOST, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Response};

use crate::access::{Access, access};
use crate::faults::{Cut, FaultKind};
use crate::net::Connection;
use crate::node::Node;
use crate::record::{Mark, Outcome};
use crate::route::{Route, Routed, route};

pub use failure::{Failure, Family};
pub use reply::{Body, Streamed, empty, json, text};

/// What a handler has at hand.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request's path.
    pub path: String,
    /// The connection it came on.
    pub connection: Connection,
    /// To say that a fault ended it.
    pub mark: Mark,
}

/// Answers a request whose body was read.
pub async fn answer(node: &Node, call: Call, head: &Parts, body: Bytes) -> Response<Body> {
    if let Some(failure) = before_the_head(node, &call).await {
        return failure.response(Family::of(&call.path));
    }
    let (method, query) = (&head.method, head.uri.query());
    let routed = route(method, head.uri.path());
    match &routed {
        Routed::Clean(to) => return reply::redirect(method, 307, to, query),
        Routed::BadEscape => return reply::bad_request(),
        Routed::Star => return empty(if method == Method::OPTIONS { 200 } else { 400 }),
        _ => {}
    }
    let mut response = match admit(node, head) {
        Access::Refused => empty(403),
        Access::Preflight(origin) => reply::preflight(origin),
        Access::Allowed(origin) => {
            let mut response = run(node, call, head, body, &routed).await;
            reply::allow_origin(&mut response, origin);
            response
        }
    };
    if let Routed::MethodNotAllowed(allow) = routed {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn admit(node: &Node, head: &Parts) -> Access {
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let loopback = node.address().ip().is_loopback();
    let options = head.method == Method::OPTIONS;
    access(loopback, options, text(HOST).unwrap_or_default(), text(ORIGIN))
}

async fn run(node: &Node, call: Call, head: &Parts, body: Bytes, routed: &Routed) -> Response<Body> {
    let (family, headers) = (Family::of(&call.path), &head.headers);
    let route = match routed {
        Routed::To(route) => route,
        Routed::Redirect(to) => {
            let status = if head.method == Method::GET { 301 } else { 307 };
            return reply::redirect(&head.method, status, to, head.uri.query());
        }
        Routed::MethodNotAllowed(_) => return text(405, "text/plain", "405 method not allowed"),
        Routed::Clean(_) | Routed::BadEscape | Routed::Star | Routed::NotFound => {
            return text(404, "text/plain", "404 page not found");
        }
    };
    let answered = match route {
        Route::Root => Ok(text(200, "text/plain; charset=utf-8", "Ollama is running")),
        Route::Version => Ok(models::version(node)),
        Route::Tags => Ok(models::tags(node, &call)),
        Route::Ps => Ok(models::ps(node)),
        Route::Show => models::show(node, headers, &body),
        Route::Generate => generate::generate(node, call, &body).await,
        Route::Chat => generate::chat(node, call, &body).await,
        Route::Embed => embed::embed(node, call, &body).await,
        Route::Embeddings => embed::embeddings(node, call, &body).await,
        Route::OpenAiChat => openai::chat(node, call, &body).await,
        Route::OpenAiCompletions => openai::completions(node, call, &body).await,
        Route::OpenAiEmbeddings => openai::embeddings(node, call, &body).await,
        Route::OpenAiModels => Ok(models::openai_list(node, &call)),
        Route::OpenAiModel(model) => models::openai_model(node, model),
    };
    answered.unwrap_or_else(|failure| failure.response(family))
}

/// Faults that come before any answer.
async fn before_the_head(node: &Node, call: &Call) -> Option<Failure> {
    let (faults, path) = (node.faults(), call.path.as_str());
    let delay = |kind: &FaultKind| match kind {
        FaultKind::Delay { wait } => Some(*wait),
        _ => None,
    };
    if let Some((_, wait)) = faults.take(path, delay) {
        tokio::time::sleep(wait).await;
    }
    enum Head {
        Hang,
        Cut(Cut),
        Status(u16, Option<String>, Option<u64>),
    }
    let head = |kind: &FaultKind| match kind {
        FaultKind::Hang => Some(Head::Hang),
        FaultKind::Reset => Some(Head::Cut(Cut::Reset)),
        FaultKind::Close => Some(Head::Cut(Cut::Close)),
        FaultKind::Status { status, text, retry_after } => {
            Some(Head::Status(*status, text.clone(), *retry_after))
        }
        _ => None,
    };
    let (id, head) = faults.take(path, head)?;
    match head {
        Head::Hang => {
            faults.removed(id).await;
            None
        }
        Head::Cut(how) => {
            call.mark.set(Outcome::Faulted);
            call.connection.cut(how).await
        }
        Head::Status(status, text, retry_after) => {
            call.mark.set(Outcome::Faulted);
            Some(Failure::staged(status, text, retry_after))
        }
    }
}
