//! Finding out how nodes are: what to ask and when, and what the answers mean.

mod client;
mod failure;
mod schedule;
mod wire;
pub(crate) mod worker;

pub use client::{ProbeClient, VERSION_PATH};
pub use failure::{FailureReason, ProbeFailure};
pub use schedule::Standing;
pub use wire::{LoadedModel, MAX_MODELS, ModelList};
