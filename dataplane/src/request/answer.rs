//! The body of a response, which owns the record of its request.

use crate::record::RequestRecord;
use crate::relay::{Cut, Relay};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response body. The record is written when it is dropped, after the slot and the node's connection are given back.
#[derive(Debug)]
pub(crate) struct Answer {
    content: Content,
    record: RequestRecord,
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Content {
    /// The gateway itself.
    Whole(Option<Bytes>),
    /// A node.
    Relayed(Relay),
}

impl Content {
    /// A body that is ready.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Answer {
    /// The record's way from here on is the body's.
    pub(crate) fn new(mut content: Content, mut record: RequestRecord) -> Self {
        match &mut content {
            Content::Whole(bytes) => record.sent(bytes.as_ref().map_or(0, Bytes::len)),
            Content::Relayed(relay) => relay.end_if_empty(&mut record),
        }
        Self { content, record }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self { content, record } = &mut *self;
        match content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Relayed(relay) => relay.poll_frame(cx, record),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Relayed(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Relayed(relay) => relay.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Content::Relayed(relay) = &mut self.content {
            relay.dropped(&mut self.record);
        }
    }
}
