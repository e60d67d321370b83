//! One request from its head to its end: recorded, admitted, answered, and broken off when a fault says so.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;

use crate::api::{self, Body, Call, Streamed};
use crate::control;
use crate::faults::{Cut, FaultKind};
use crate::net::Connection;
use crate::node::Node;
use crate::record::{Mark, Outcome, Recorded};

/// Ollama reads bodies of any size. This is only so that nobody fills the machine's memory.
const LONGEST_BODY: usize = 512 * 1024 * 1024;

/// The header that names the node.
pub const NODE_HEADER: &str = "x-sim-node";

/// Answers a request.
pub async fn handle(node: Node, request: Request<Incoming>, connection: Connection) -> Response<Body> {
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with(control::PREFIX) {
        let body = read(body).await.unwrap_or_default();
        return control::answer(&node, &head.method, head.uri.path(), &body);
    }
    let recording = node.recorder().begin(&head.method, &head.uri, &head.headers);
    let mark = recording.mark();
    let Some(body) = read(body).await else {
        // Broken off, or longer than anything sensible.
        return connection.cut(Cut::Close).await;
    };
    recording.body(&body);
    let call = Call { path: head.uri.path().to_owned(), connection: connection.clone(), mark: mark.clone() };
    // Boxed: a request's future is long, and most of a connection's life there is none.
    let mut response = Box::pin(api::answer(&node, call.clone(), &head, body)).await;
    recording.status(response.status().as_u16());
    response.headers_mut().insert(NODE_HEADER, node.header());
    let head_only = head.method == Method::HEAD;
    if !head_only && response.extensions_mut().remove::<Streamed>().is_none() {
        response = maybe_cut(&node, &call, response).await;
    }
    response.map(|body| Recorded::new(body, recording, head_only).boxed_unsync())
}

async fn read(body: Incoming) -> Option<Bytes> {
    Limited::new(body, LONGEST_BODY).collect().await.ok().map(http_body_util::Collected::to_bytes)
}

/// A cut of an answer that is no stream: the head says the whole length, half of it comes.
async fn maybe_cut(node: &Node, call: &Call, response: Response<Body>) -> Response<Body> {
    let cut = node.faults().take(&call.path, |kind| match kind {
        FaultKind::Cut { how, .. } => Some(*how),
        _ => None,
    });
    let Some((_, how)) = cut else { return response };
    let (mut head, body) = response.into_parts();
    let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.slice(..body.len() / 2);
    let state = (Some(half), call.connection.clone(), call.mark.clone());
    let frames = futures::stream::unfold(
        state,
        move |(mut half, connection, mark): (Option<Bytes>, Connection, Mark)| async move {
            match half.take() {
                Some(half) => Some((Ok::<_, Infallible>(Frame::data(half)), (None, connection, mark))),
                None => {
                    // Let the half go out before the connection ends.
                    tokio::task::yield_now().await;
                    mark.set(Outcome::Faulted);
                    connection.cut(how).await
                }
            }
        },
    );
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}
