//! The controller against a real API server, as the ServiceAccount that its manifest makes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests a panic is how a failure is told")]

mod cluster;
mod election;
#[expect(dead_code, reason = "shared with the tests of the fleet")]
#[path = "../fleet/node.rs"]
mod node;
mod outages;
mod process;
mod status;
