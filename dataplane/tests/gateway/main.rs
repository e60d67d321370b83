//! The data plane in this process, between real sockets: scripted nodes on one side, clients on the other.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a panic is how a failure is told"
)]

mod kit;

mod answers;
mod drain;
mod errors;
mod health;
mod limits;
mod paths;
mod relay;
mod retry;
mod slots;
mod tables;
