//! What reached the node, and how each request ended.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use serde::Serialize;

use crate::changed::Changed;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has not.
    Pending,
    /// The whole answer was handed over.
    Completed,
    /// The client left first.
    Cancelled,
    /// A fault ended it.
    Faulted,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Grows by one a request.
    pub id: u64,
    /// The method.
    pub method: Method,
    /// Path and query as sent.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// The length of the whole body.
    pub body_len: usize,
    /// The status answered, once there is one.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Counts since the start. Requests to `/_sim/` are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests that arrived.
    pub requests: u64,
    /// Of those, answered whole.
    pub completed: u64,
    /// Of those, left by their client.
    pub cancelled: u64,
    /// Of those, ended by a fault.
    pub faulted: u64,
    /// Tokens generated.
    pub tokens: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// Keeps the last requests.
#[derive(Debug)]
pub struct Recorder {
    kept: Mutex<VecDeque<Arc<Entry>>>,
    capacity: usize,
    body_limit: usize,
    requests: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    faulted: AtomicU64,
    changed: Changed,
}

#[derive(Debug)]
struct Entry(Mutex<RecordedRequest>);

impl Recorder {
    pub fn new(capacity: usize, body_limit: usize, changed: Changed) -> Self {
        Self {
            kept: Mutex::default(),
            capacity,
            body_limit,
            requests: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            faulted: AtomicU64::new(0),
            changed,
        }
    }

    /// A request has arrived. Its outcome is "cancelled" unless somebody says otherwise before the recording is
    /// dropped.
    pub fn begin(self: &Arc<Self>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Recording {
        let id = self.requests.fetch_add(1, Ordering::AcqRel) + 1;
        let path = uri.path_and_query().map_or_else(|| uri.path().to_owned(), |it| it.as_str().to_owned());
        let entry = Arc::new(Entry(Mutex::new(RecordedRequest {
            id,
            method: method.clone(),
            path,
            headers: headers.clone(),
            body: Bytes::new(),
            body_len: 0,
            status: None,
            outcome: Outcome::Pending,
        })));
        if self.capacity > 0 {
            let mut kept = self.kept.lock();
            if kept.len() == self.capacity {
                kept.pop_front();
            }
            kept.push_back(Arc::clone(&entry));
        }
        self.changed.bump();
        Recording(Mark { entry, recorder: Arc::clone(self) })
    }

    /// The requests kept, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.kept.lock().iter().map(|entry| entry.0.lock().clone()).collect()
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.kept.lock().clear();
    }

    /// Counts; tokens and connections are others' to add.
    pub fn counters(&self) -> Counters {
        Counters {
            requests: self.requests.load(Ordering::Acquire),
            completed: self.completed.load(Ordering::Acquire),
            cancelled: self.cancelled.load(Ordering::Acquire),
            faulted: self.faulted.load(Ordering::Acquire),
            ..Counters::default()
        }
    }
}

/// Says how a request ended; the first to say so is right.
#[derive(Clone, Debug)]
pub struct Mark {
    entry: Arc<Entry>,
    recorder: Arc<Recorder>,
}

impl Mark {
    pub fn set(&self, outcome: Outcome) {
        let mut entry = self.entry.0.lock();
        if entry.outcome != Outcome::Pending {
            return;
        }
        entry.outcome = outcome;
        drop(entry);
        let counter = match outcome {
            Outcome::Pending => return,
            Outcome::Completed => &self.recorder.completed,
            Outcome::Cancelled => &self.recorder.cancelled,
            Outcome::Faulted => &self.recorder.faulted,
        };
        counter.fetch_add(1, Ordering::AcqRel);
        self.recorder.changed.bump();
    }
}

/// The guard of a request under way.
#[derive(Debug)]
pub struct Recording(Mark);

impl Recording {
    /// Keeps the body, up to the limit.
    pub fn body(&self, body: &Bytes) {
        let kept = body.slice(..body.len().min(self.0.recorder.body_limit));
        let mut entry = self.0.entry.0.lock();
        entry.body_len = body.len();
        entry.body = kept;
        drop(entry);
        self.0.recorder.changed.bump();
    }

    /// Notes the status.
    pub fn status(&self, status: u16) {
        self.0.entry.0.lock().status = Some(status);
    }

    /// Something to say the outcome with.
    pub fn mark(&self) -> Mark {
        self.0.clone()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.0.set(Outcome::Cancelled);
    }
}

/// A response body that knows whether it was sent to its end.
#[derive(Debug)]
pub struct Recorded<B> {
    inner: B,
    recording: Recording,
}

impl<B: Body> Recorded<B> {
    /// `head_only`: nobody will read the body.
    pub fn new(inner: B, recording: Recording, head_only: bool) -> Self {
        if head_only || inner.is_end_stream() {
            recording.0.set(Outcome::Completed);
        }
        Self { inner, recording }
    }
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for Recorded<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.recording.0.set(Outcome::Completed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    fn recorder(capacity: usize) -> Arc<Recorder> {
        Arc::new(Recorder::new(capacity, 4, Changed::new()))
    }

    fn begin(recorder: &Arc<Recorder>) -> Recording {
        recorder.begin(&Method::POST, &Uri::from_static("/api/chat?x=1"), &HeaderMap::new())
    }

    #[tokio::test]
    async fn the_first_outcome_counts() {
        let recorder = recorder(10);
        let (left, faulted, read) = (begin(&recorder), begin(&recorder), begin(&recorder));
        left.body(&Bytes::from_static(b"longer"));
        drop(left);
        faulted.mark().set(Outcome::Faulted);
        drop(faulted);
        Recorded::new(Full::new(Bytes::from_static(b"x")), read, false).collect().await.unwrap();
        let requests = recorder.requests();
        let outcomes: Vec<_> = requests.iter().map(|request| request.outcome).collect();
        assert_eq!(outcomes, [Outcome::Cancelled, Outcome::Faulted, Outcome::Completed]);
        assert_eq!((requests[0].body.as_ref(), requests[0].body_len), (&b"long"[..], 6));
        assert_eq!(requests[0].path, "/api/chat?x=1");
        let counters = recorder.counters();
        assert_eq!((counters.requests, counters.cancelled, counters.faulted), (3, 1, 1));
    }

    #[test]
    fn only_the_last_are_kept() {
        let recorder = recorder(2);
        for _ in 0..3 {
            begin(&recorder);
        }
        assert_eq!(recorder.requests().iter().map(|request| request.id).collect::<Vec<_>>(), [2, 3]);
        recorder.clear();
        assert!(recorder.requests().is_empty());
        let none = Arc::new(Recorder::new(0, 0, Changed::new()));
        begin(&none);
        assert_eq!((none.requests().len(), none.counters().requests), (0, 1));
    }
}
