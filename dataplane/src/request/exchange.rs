//! Admit, pick and attempt, again on another node for as long as that costs nobody anything.

use super::admit;
use super::answer::Content;
use super::gateway::Gateway;
use super::routes::Family;
use crate::attempt::retry::{Declined, Failed, History, another_node};
use crate::attempt::{self, Failure, FailureKind, Outbound};
use crate::error::ProxyError;
use crate::record::{Outcome, RequestRecord};
use crate::relay::{self, Patience, Relay};
use crate::slot::Slot;
use crate::table::ModelEntry;
use aivonx_state::table::Strategy;
use bytes::Bytes;
use http::{Response, response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest answer that is kept while another node is tried. Errors are short.
const MAX_KEPT: usize = 64 << 10;
/// Longest time to read one.
const KEEP_TIMEOUT: Duration = Duration::from_secs(2);

/// A node that begins to answer.
#[derive(Debug)]
pub(crate) struct Begun {
    response: Response<Incoming>,
    slot: Slot,
    sent: Instant,
}

/// What came of one try.
#[derive(Debug)]
enum Attempt {
    /// An answer for the client.
    Answered(Response<Incoming>),
    /// An answer that another node may better.
    Declined(Response<Incoming>, Declined),
    /// No answer.
    Failed(Failure),
}

/// What goes to the client.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer that is on its way.
    Begun(Begun),
    /// The last node's refusal, read whole while another node was tried in vain.
    Kept(Kept),
}

/// An answer of a node that declined.
#[derive(Debug)]
pub(crate) struct Kept {
    head: response::Parts,
    body: Bytes,
    why: Declined,
}

impl Gateway {
    /// Sends the request to nodes until one of them answers for good.
    pub(crate) async fn exchange(
        &self,
        model: &ModelEntry,
        strategy: Strategy,
        outbound: &Outbound,
        record: &mut RequestRecord,
    ) -> Result<Reply, ProxyError> {
        self.budget.deposit();
        let mut tried = Vec::new();
        let mut history = History::default();
        let mut kept = None;
        let mut last_failure = None;
        loop {
            let (place, slot) = match admit::take_slot(model, strategy, &tried, self.uptime()) {
                Ok(taken) => taken,
                Err(refusal) => return exhausted(kept, last_failure, refusal),
            };
            tried.push(place);
            record.attempt(&slot.endpoint);
            let sent = Instant::now();
            let (failed, refusal) = match self.attempt(&slot, outbound, sent).await? {
                Attempt::Answered(response) => return Ok(self.begun(response, slot, sent, record)),
                Attempt::Declined(response, why) => (Failed::Answer(why), Some((response, why))),
                Attempt::Failed(Failure { kind, body_sent }) => (Failed::Failure { kind, body_sent }, None),
            };
            history.note(failed);
            slot.endpoint.state.failed(failed.kind());
            let again = another_node(failed, &history, self.limits.max_attempts)
                && admit::is_another(model, &tried)
                && self.budget.withdraw(Instant::now());
            match refusal {
                Some((response, why)) if !again => {
                    record.end(Outcome::UpstreamError, Some(why.kind().as_str()));
                    return Ok(self.begun(response, slot, sent, record));
                }
                Some((response, why)) => kept = keep(response, why).await.or(kept),
                None => last_failure = Some(failed.kind()),
            }
            if !again {
                return exhausted(kept, last_failure, ProxyError::NoHealthyNode);
            }
            self.metrics.count_retry(failed.kind().as_str());
        }
    }

    /// One try, at most until its time is up or the process ends.
    async fn attempt(&self, slot: &Slot, outbound: &Outbound, sent: Instant) -> Result<Attempt, ProxyError> {
        let endpoint = &slot.endpoint;
        let limit = [endpoint.first_byte_timeout, endpoint.total_timeout].into_iter().flatten().min();
        let deadline = limit.map(|limit| sent + limit);
        let answer = tokio::select! {
            biased;
            answer = attempt::send(endpoint, outbound, deadline) => answer,
            () = self.ending.begun() => return Err(ProxyError::Ending),
        };
        Ok(match answer {
            Err(failure) => Attempt::Failed(failure),
            Ok(response) => {
                // Whatever it says, it is there.
                endpoint.state.suspicion.answered();
                match Declined::of(response.status()) {
                    Some(why) => Attempt::Declined(response, why),
                    None => Attempt::Answered(response),
                }
            }
        })
    }

    fn begun(
        &self,
        response: Response<Incoming>,
        slot: Slot,
        sent: Instant,
        record: &mut RequestRecord,
    ) -> Reply {
        record.first_byte();
        if response.status().is_success() {
            let waited = Instant::now().saturating_duration_since(sent);
            slot.endpoint.state.latency.observe(waited, self.uptime());
        }
        Reply::Begun(Begun { response, slot, sent })
    }

    /// Relay: the node's answer as a response to the client.
    pub(crate) fn relay(
        &self,
        reply: Reply,
        family: Family,
        record: &mut RequestRecord,
    ) -> Response<Content> {
        let (head, content) = match reply {
            Reply::Begun(Begun { response, slot, sent }) => {
                let (head, body) = response.into_parts();
                let protocol = relay::protocol(head.status, &head.headers);
                let patience = Patience {
                    idle: slot.endpoint.idle_timeout,
                    deadline: slot.endpoint.total_timeout.map(|total| sent + total),
                };
                let relay = Relay::new(body, Some(slot), family, protocol, patience, &self.ending);
                (head, Content::Relayed(relay))
            }
            Reply::Kept(Kept { head, body, why }) => {
                record.end(Outcome::UpstreamError, Some(why.kind().as_str()));
                (head, Content::whole(body))
            }
        };
        let mut response = Response::from_parts(head, content);
        // The version of the node's connection is not that of the client's.
        *response.version_mut() = http::Version::HTTP_11;
        attempt::headers::strip_response(response.headers_mut());
        response
    }
}

impl Failed {
    fn kind(self) -> FailureKind {
        match self {
            Self::Failure { kind, .. } => kind,
            Self::Answer(declined) => declined.kind(),
        }
    }
}

/// No node is left: the last one's own answer if there was any, else what became of the last one.
fn exhausted(
    kept: Option<Kept>,
    last_failure: Option<FailureKind>,
    refusal: ProxyError,
) -> Result<Reply, ProxyError> {
    match (kept, last_failure) {
        (Some(kept), _) => Ok(Reply::Kept(kept)),
        (None, Some(FailureKind::FirstByteTimeout)) => Err(ProxyError::FirstByteTimeout),
        (None, Some(kind)) if !kind.is_connect() => Err(ProxyError::UpstreamBroken),
        // Nobody could be reached, or nobody was there to begin with.
        (None, _) => Err(refusal),
    }
}

/// Reads a refusal whole, so that its connection can be used again; `None` if that takes too much.
async fn keep(response: Response<Incoming>, why: Declined) -> Option<Kept> {
    let (head, body) = response.into_parts();
    let read = timeout(KEEP_TIMEOUT, Limited::new(body, MAX_KEPT).collect()).await;
    Some(Kept { head, body: read.ok()?.ok()?.to_bytes(), why })
}
