//! Why a reconcile did not come to its end.

use std::time::Duration;

/// All of them are tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused the status.
    #[error("the status could not be written: {source}")]
    Status {
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("{what}: no answer within {limit:?}")]
    Timeout {
        /// What was being done.
        what: &'static str,
        /// How long it may take.
        limit: Duration,
    },
}

impl ReconcileError {
    /// A metric label.
    pub fn category(&self) -> &'static str {
        let Self::Status { source } = self else { return "timeout" };
        match source.as_ref() {
            kube::Error::Api(status) if status.is_conflict() => "conflict",
            kube::Error::Api(status) if status.is_not_found() => "not_found",
            kube::Error::Api(status) if status.is_forbidden() => "forbidden",
            kube::Error::Api(_) => "api",
            _ => "connection",
        }
    }
}
