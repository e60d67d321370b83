//! One exchange with one node, up to the head of its answer.

use super::connect::ConnectError;
use super::{Failure, FailureKind, Outbound};
use crate::table::Endpoint;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::time::{Instant, timeout_at};

/// Sends the request to a node and waits for the head of the answer, at most until `deadline`.
pub(crate) async fn send(
    endpoint: &Endpoint,
    outbound: &Outbound,
    deadline: Option<Instant>,
) -> Result<Response<Incoming>, Failure> {
    let taken = Arc::new(AtomicBool::new(outbound.body.is_empty()));
    let exchange = endpoint.state.client.request(request(endpoint, outbound, taken.clone()));
    let answer = match deadline {
        Some(deadline) => timeout_at(deadline, exchange).await,
        None => Ok(exchange.await),
    };
    let body_sent = taken.load(Ordering::Relaxed);
    match answer {
        Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Failure { kind: FailureKind::Protocol, body_sent })
        }
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => {
            let kind = classify(&error);
            tracing::debug!(node = %endpoint.id, kind = kind.as_str(), error = %chain(&error), "attempt failed");
            Err(Failure { kind, body_sent: body_sent && !error.is_connect() })
        }
        Err(_) => Err(Failure { kind: FailureKind::FirstByteTimeout, body_sent }),
    }
}

fn request(endpoint: &Endpoint, outbound: &Outbound, taken: Arc<AtomicBool>) -> Request<Replay> {
    let bytes = (!outbound.body.is_empty()).then(|| outbound.body.clone());
    let mut request = Request::new(Replay { bytes, taken });
    *request.method_mut() = outbound.method.clone();
    *request.uri_mut() = match &outbound.query {
        None => endpoint.uri(outbound.place).clone(),
        Some(query) => endpoint.uri_with_query(outbound.place, query),
    };
    *request.headers_mut() = outbound.headers.clone();
    request.headers_mut().insert(header::HOST, endpoint.origin.host.clone());
    request
}

fn classify(error: &legacy::Error) -> FailureKind {
    if !error.is_connect() {
        return match cause::<hyper::Error>(error) {
            Some(cause) if cause.is_parse() => FailureKind::Protocol,
            _ => FailureKind::Reset,
        };
    }
    if let Some(ConnectError::TimedOut(_)) = cause::<ConnectError>(error) {
        return FailureKind::ConnectTimeout;
    }
    match cause::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => FailureKind::Refused,
        Some(io::ErrorKind::TimedOut) => FailureKind::ConnectTimeout,
        _ => FailureKind::Connect,
    }
}

/// The first error of type `E` among an error and its causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<_> = causes(error).map(ToString::to_string).collect();
    causes.join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// A request body that can be sent again, and that tells whether it was taken.
#[derive(Debug)]
pub(crate) struct Replay {
    bytes: Option<Bytes>,
    taken: Arc<AtomicBool>,
}

impl Replay {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self { bytes: None, taken: Arc::new(AtomicBool::new(true)) }
    }
}

impl Body for Replay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Relaxed);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_however_deep_it_lies() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = ConnectError::Failed(Box::new(refused));
        assert_eq!(cause::<io::Error>(&error).unwrap().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(chain(&error), "no connection: connection refused");
    }
}
