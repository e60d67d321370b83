//! From the head of a node's answer to its last byte.
//!
//! A frame that is read is a frame that is written; nothing is buffered, joined or cut. The node's connection is owned by
//! the response body and by nothing else, so a client that leaves drops the body, and with it the connection and the
//! slot.

mod terminal;

pub(crate) use terminal::Protocol;

use crate::alarm::Alarm;
use crate::attempt::FailureKind;
use crate::ending::{Ending, EndingWatch};
use crate::error;
use crate::record::{Outcome, RequestRecord};
use crate::request::routes::Family;
use crate::slot::Slot;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use terminal::Tail;
use tokio::time::Instant;

/// Why a response ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the node broke off its answer")]
    Broken,
    #[error("the node ended its answer without saying that it is whole")]
    Truncated,
    #[error("the node sent nothing for too long")]
    Idle,
    #[error("the node took too long for the whole answer")]
    Overtime,
    #[error("the gateway is shutting down")]
    Ending,
}

impl Cut {
    fn outcome(self) -> Outcome {
        match self {
            Self::Broken => Outcome::UpstreamError,
            Self::Truncated => Outcome::UpstreamTruncated,
            Self::Idle | Self::Overtime | Self::Ending => Outcome::TimedOut,
        }
    }

    /// What it says of the node, if anything.
    fn kind(self) -> Option<FailureKind> {
        match self {
            Self::Broken => Some(FailureKind::BrokenStream),
            Self::Truncated => Some(FailureKind::Truncated),
            Self::Idle => Some(FailureKind::IdleTimeout),
            Self::Overtime => Some(FailureKind::TotalTimeout),
            Self::Ending => None,
        }
    }

    fn reason(self) -> &'static str {
        self.kind().map_or("drain_deadline", FailureKind::as_str)
    }
}

/// How a response is framed. A length or a failed request makes it one document: an event of ours has no place there.
pub(crate) fn protocol(status: StatusCode, headers: &HeaderMap) -> Protocol {
    if status != StatusCode::OK || headers.contains_key(CONTENT_LENGTH) {
        return Protocol::Plain;
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if kind.starts_with(b"application/x-ndjson") {
        Protocol::Ndjson
    } else if kind.starts_with(b"text/event-stream") {
        Protocol::Sse
    } else {
        Protocol::Plain
    }
}

/// How long a response may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// Between two frames.
    pub idle: Option<Duration>,
    /// Until the last one.
    pub deadline: Option<Instant>,
}

/// The body of a node's answer on its way to the client.
#[derive(Debug)]
pub(crate) struct Relay<B = Incoming> {
    /// Gone once the response has ended, in whatever way.
    upstream: Option<B>,
    slot: Option<Slot>,
    family: Family,
    tail: Tail,
    protocol: Protocol,
    patience: Patience,
    last_frame: Instant,
    alarm: Alarm,
    ending: EndingWatch,
}

impl<B> Relay<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Begins with the head of the answer just read. The slot is held to the end.
    pub(crate) fn new(
        upstream: B,
        slot: Option<Slot>,
        family: Family,
        protocol: Protocol,
        patience: Patience,
        ending: &Ending,
    ) -> Self {
        Self {
            upstream: Some(upstream),
            slot,
            family,
            tail: Tail::new(protocol),
            protocol,
            patience,
            last_frame: Instant::now(),
            alarm: Alarm::default(),
            ending: ending.watch(),
        }
    }

    /// The next frame.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        record: &mut RequestRecord,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
        match Pin::new(upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.last_frame = Instant::now();
                if let Some(bytes) = frame.data_ref() {
                    self.tail.pass(bytes);
                    record.sent(bytes.len());
                }
                // With a known length nobody polls again for the end.
                if self.protocol == Protocol::Plain {
                    self.end_if_empty(record);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) if self.tail.is_done() => self.finish(Outcome::Completed, None, record),
            Poll::Ready(Some(Err(_))) => self.cut(Cut::Broken, record),
            Poll::Ready(None) => self.end(record),
            Poll::Pending => match self.overdue(cx) {
                Some(cut) => self.cut(cut, record),
                None => Poll::Pending,
            },
        }
    }

    /// Ends the response if nothing of it is left to read.
    pub(crate) fn end_if_empty(&mut self, record: &mut RequestRecord) {
        if self.upstream.as_ref().is_some_and(Body::is_end_stream) {
            self.finish_as(Outcome::Completed, None, record);
        }
    }

    /// The body is dropped. Before the end, that is a client that left, unless the last that it got was the end.
    pub(crate) fn dropped(&mut self, record: &mut RequestRecord) {
        if self.upstream.is_some() {
            let outcome = if self.tail.is_done() { Outcome::Completed } else { Outcome::ClientGone };
            self.finish_as(outcome, None, record);
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.upstream.is_none()
    }

    /// How much comes: known only where the node said so and nothing of ours may follow.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match (&self.upstream, self.protocol) {
            (None, _) => SizeHint::with_exact(0),
            (Some(upstream), Protocol::Plain) => upstream.size_hint(),
            (Some(_), Protocol::Ndjson | Protocol::Sse) => SizeHint::default(),
        }
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Cut> {
        if self.ending.has_begun(cx) {
            return Some(Cut::Ending);
        }
        let idle = self.patience.idle.map(|idle| (self.last_frame + idle, Cut::Idle));
        let whole = self.patience.deadline.map(|deadline| (deadline, Cut::Overtime));
        let (deadline, cut) = [idle, whole].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)?;
        self.alarm.is_due(cx, deadline).then_some(cut)
    }

    /// The node closed its answer in good order. Whether it is whole, only the stream itself tells.
    fn end(&mut self, record: &mut RequestRecord) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.protocol {
            Protocol::Plain => self.finish(Outcome::Completed, None, record),
            _ if self.tail.has_error() => {
                self.finish(Outcome::UpstreamError, Some("error_in_stream"), record)
            }
            _ if self.tail.is_done() => self.finish(Outcome::Completed, None, record),
            // Ollama ends a stream like this when the model repeats itself: no failure of the node, and nothing to add.
            Protocol::Ndjson => {
                self.finish(Outcome::UpstreamTruncated, Some(FailureKind::Truncated.as_str()), record)
            }
            // Here it has swallowed an error of the model.
            Protocol::Sse => self.cut(Cut::Truncated, record),
        }
    }

    fn finish(
        &mut self,
        outcome: Outcome,
        reason: Option<&'static str>,
        record: &mut RequestRecord,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.finish_as(outcome, reason, record);
        Poll::Ready(None)
    }

    fn finish_as(&mut self, outcome: Outcome, reason: Option<&'static str>, record: &mut RequestRecord) {
        record.end(outcome, reason);
        self.upstream = None;
        self.slot = None;
    }

    /// Ends the response visibly: with an event in the words of its protocol, or else with an aborted connection.
    fn cut(&mut self, cut: Cut, record: &mut RequestRecord) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let (Some(slot), Some(kind)) = (&self.slot, cut.kind()) {
            slot.endpoint.state.failed(kind);
        }
        let event = self.event(cut);
        self.finish_as(cut.outcome(), Some(cut.reason()), record);
        Poll::Ready(Some(match event {
            Some(event) => {
                record.sent(event.len());
                Ok(Frame::data(event))
            }
            None => Err(cut),
        }))
    }

    fn event(&self, cut: Cut) -> Option<Bytes> {
        let (before, after): (&[u8], &[u8]) = match self.protocol {
            Protocol::Plain => return None,
            Protocol::Ndjson => (b"", b"\n"),
            Protocol::Sse => (b"data: ", b"\n\n"),
        };
        let object = error::object(self.family, StatusCode::BAD_GATEWAY, &cut.to_string());
        let parts = [self.tail.separator(), before, &object, after];
        let mut event = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| event.extend_from_slice(part));
        Some(event.freeze())
    }
}

#[cfg(test)]
mod tests;
