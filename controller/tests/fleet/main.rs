//! The fleet as a whole: real HTTP nodes on loopback, and stores that can be flushed, stopped and watched.

#![expect(clippy::unwrap_used, reason = "in tests a panic is how a failure is told")]

mod leading;
mod node;
mod probing;
mod raw;
mod store;
mod stores;
mod system;
