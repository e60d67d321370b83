//! Why a probe failed: the closed set of reasons that conditions and metrics show, and how errors map to them.

use crate::address::{AddressForbidden, ResolveFailed};
use aivonx_crds::reasons;
use std::error::Error;
use std::fmt;
use std::io;

macro_rules! failure_reasons {
    ($( $(#[$doc:meta])* $variant:ident => $text:expr, )*) => {
        /// A condition reason and a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FailureReason { $( $(#[$doc])* $variant, )* }

        impl FailureReason {
            /// All of them.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// The text that conditions and metrics show.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }
        }
    };
}

failure_reasons! {
    /// Nobody listens at the address.
    ConnectionRefused => reasons::CONNECTION_REFUSED,
    /// No connection within the time allowed.
    ConnectTimeout => reasons::CONNECT_TIMEOUT,
    /// No route to the host or its network.
    Unreachable => "HostUnreachable",
    /// The host name has no address.
    DnsFailed => reasons::DNS_FAILED,
    /// The TLS handshake failed.
    TlsFailed => reasons::TLS_FAILED,
    /// Connected, but no whole answer within the time allowed.
    Timeout => "Timeout",
    /// The node closed or reset the connection before its answer was whole.
    Reset => "ConnectionReset",
    /// The node wants credentials, or refused the ones it got (401 or 403).
    Unauthorized => reasons::UNAUTHORIZED,
    /// The node answered with a redirect; none is followed.
    Redirected => "Redirected",
    /// The node answered with another status than 2xx.
    HttpStatus => "UnexpectedStatus",
    /// Something answers, but not as Ollama does.
    NotOllama => reasons::NOT_OLLAMA,
    /// The answer is no HTTP, or not the JSON that was asked for.
    InvalidBody => "InvalidResponse",
    /// The answer is larger than a probe takes in.
    TooLarge => "ResponseTooLarge",
    /// The address is one where no node may be.
    AddressForbidden => "ForbiddenEndpoint",
    /// Another error of the connection.
    ConnectionFailed => "ConnectionFailed",
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The outcome of a probe that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// What kind of failure.
    pub reason: FailureReason,
    /// One sentence for a person. It never holds what a node sent: that is untrusted.
    pub message: String,
}

impl ProbeFailure {
    /// A failure with its sentence.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Finds the reason in the chain of errors under a failed exchange. `connected` says whether a connection was open.
    pub fn from_error(error: &(dyn Error + 'static), connected: bool) -> Self {
        for cause in causes(error) {
            if let Some(forbidden) = cause.downcast_ref::<AddressForbidden>() {
                return Self::new(FailureReason::AddressForbidden, forbidden.to_string());
            }
            if let Some(failed) = cause.downcast_ref::<ResolveFailed>() {
                return Self::new(FailureReason::DnsFailed, failed.to_string());
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::new(FailureReason::TlsFailed, format!("the TLS handshake failed: {tls}"));
            }
            if let Some(failure) = cause.downcast_ref::<io::Error>().and_then(|io| from_io(io, connected)) {
                return failure;
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                if hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed() {
                    return Self::new(
                        FailureReason::Reset,
                        "the connection was closed before the answer was whole",
                    );
                }
                if hyper.is_parse() {
                    return Self::new(FailureReason::InvalidBody, "the answer is not HTTP");
                }
            }
        }
        let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
        Self::new(FailureReason::ConnectionFailed, format!("the connection failed: {innermost}"))
    }
}

fn from_io(error: &io::Error, connected: bool) -> Option<ProbeFailure> {
    use io::ErrorKind as Kind;
    let (reason, message) = match error.kind() {
        Kind::ConnectionRefused => (FailureReason::ConnectionRefused, "nobody listens at the address"),
        Kind::TimedOut if connected => (FailureReason::Timeout, "the connection timed out"),
        Kind::TimedOut => (FailureReason::ConnectTimeout, "no connection within the time allowed"),
        Kind::HostUnreachable | Kind::NetworkUnreachable => {
            (FailureReason::Unreachable, "there is no route to the address")
        }
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            (FailureReason::Reset, "the connection was closed before the answer was whole")
        }
        _ => return None,
    };
    Some(ProbeFailure::new(reason, message))
}

/// An error and all that lies under it. An `io::Error` hides the error it wraps from `source`, so that one is asked for.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
    // A chain is a few links long; the limit guards against an error that is its own source.
    .take(16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_is_a_condition_reason_of_its_own() {
        let texts: HashSet<_> = FailureReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(texts.len(), FailureReason::ALL.len());
        for text in texts {
            assert!(
                text.chars().all(|c| c.is_ascii_alphanumeric()) && text.starts_with(char::is_uppercase),
                "{text}"
            );
        }
    }

    #[test]
    fn the_reason_is_found_under_layers_of_wrapping() {
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let wrapped = io::Error::other(tls);
        assert_eq!(ProbeFailure::from_error(&wrapped, false).reason, FailureReason::TlsFailed);
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(ProbeFailure::from_error(&refused, false).reason, FailureReason::ConnectionRefused);
    }

    #[test]
    fn a_timeout_is_told_apart_by_whether_there_was_a_connection() {
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(ProbeFailure::from_error(&timed_out, false).reason, FailureReason::ConnectTimeout);
        assert_eq!(ProbeFailure::from_error(&timed_out, true).reason, FailureReason::Timeout);
    }

    #[test]
    fn an_unknown_error_keeps_its_innermost_words() {
        let failure = ProbeFailure::from_error(&io::Error::other("too many open files"), false);
        assert_eq!(failure.reason, FailureReason::ConnectionFailed);
        assert_eq!(failure.message, "the connection failed: too many open files");
    }
}
