//! Passive health: a node that fails requests is suspected by the data plane itself, without waiting for the controller,
//! and asked again on its health path until it answers.

mod recheck;
mod suspicion;

pub(crate) use recheck::Rechecks;
pub(crate) use suspicion::{Sign, Suspicion};
