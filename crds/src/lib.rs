//! The Kubernetes API of Aivonx: its kinds, what a valid object is, and the generator of the resource definitions.
//!
//! Invariants:
//! - No client and no runtime in here: types, constants and pure functions only.
//! - What can be said about one object alone is said once, in its schema and its CEL rules. The API server and
//!   [`parse_documents`] apply the same rules and give the same sentences.
//! - Condition types and reasons are API: scripts match on them, so they live in [`conditions`] and [`reasons`].
//! - `crds/generated/` is the output of [`generate`], committed; a test fails when it is stale.

pub mod address;
pub mod conditions;
mod documents;
mod duration;
pub mod generate;
pub mod reasons;
pub mod v1alpha1;

pub use documents::{DocumentError, Problem, parse_documents, violations};
pub use duration::{ApiDuration, ParseDurationError};
pub use v1alpha1::{OllamaNode, OllamaNodeSpec, OllamaNodeStatus};

/// The annotation whose change asks for a probe at once; any text will do, a time is usual.
pub const REFRESH_ANNOTATION: &str = "aivonx.io/refresh-requested-at";
