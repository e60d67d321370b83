//! One try at one node, and whether there is another.

pub(crate) mod address;
mod budget;
mod client;
mod connect;
pub(crate) mod headers;
pub(crate) mod retry;

pub(crate) use budget::Budget;
pub(crate) use client::{Replay, send};
pub(crate) use connect::{Connectors, NodeClient};

use bytes::Bytes;
use http::{HeaderMap, Method};

/// What goes to a node; the same for every node that is tried.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The method.
    pub method: Method,
    /// The place of the route: its path is the canonical one.
    pub place: usize,
    /// The query, as the client wrote it.
    pub query: Option<Box<str>>,
    /// The client's headers, without those that stay here.
    pub headers: HeaderMap,
    /// The client's bytes.
    pub body: Bytes,
}

/// A try without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// Whether the node may have read the whole body.
    pub body_sent: bool,
}

/// What a node can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Nobody listens there.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// No connection for another reason: no such name, no route, a bad certificate.
    Connect,
    /// The connection was closed before the head of an answer.
    Reset,
    /// What came is no HTTP, or not what was asked for.
    Protocol,
    /// No answer in time.
    FirstByteTimeout,
    /// 503.
    Busy,
    /// 500.
    LoadFailed,
    /// 404 for a model that the table lists.
    MissingModel,
    /// The connection was closed in the middle of the answer.
    BrokenStream,
    /// The answer paused for too long.
    IdleTimeout,
    /// The answer took too long.
    TotalTimeout,
    /// The answer ended without the sign that it is whole.
    Truncated,
}

impl FailureKind {
    const ALL: [Self; 13] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Connect,
        Self::Reset,
        Self::Protocol,
        Self::FirstByteTimeout,
        Self::Busy,
        Self::LoadFailed,
        Self::MissingModel,
        Self::BrokenStream,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::Truncated,
    ];

    /// All labels.
    pub(crate) const LABELS: [&str; Self::ALL.len()] = {
        let mut labels = [""; Self::ALL.len()];
        let mut place = 0;
        while place < labels.len() {
            labels[place] = Self::ALL[place].as_str();
            place += 1;
        }
        labels
    };

    /// The label in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Busy => "busy",
            Self::LoadFailed => "load_failed",
            Self::MissingModel => "missing_model",
            Self::BrokenStream => "broken_stream",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Truncated => "truncated",
        }
    }

    /// Whether no connection came about.
    pub(crate) fn is_connect(self) -> bool {
        matches!(self, Self::Refused | Self::ConnectTimeout | Self::Connect)
    }
}
