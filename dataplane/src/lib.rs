//! The data plane: it accepts requests of Ollama and OpenAI clients and streams each to a node that can serve it.
//!
//! A request is walked through in `request/gateway.rs`, which reads as
//! `accept → head → authenticate → limit → route → admit → pick → attempt → relay → finish`.
//!
//! Invariants:
//! - No store is on the way of a request. Decisions read an immutable index in memory; `table/follow.rs` keeps it
//!   new, and keeps the last good one for as long as the stores are away.
//! - What a client sent and what a node answered pass through as they are: one frame read is one frame written.
//! - A slot is held by a guard inside the response body until the stream ends, however it ends.
//! - A stream that breaks is visibly broken, in the words of its protocol. Nothing invents an ending.
//! - A request may run again on another node only while no byte of a response has arrived, within a budget.
//! - The path that is decided on is the path that is forwarded, and the `model` that is routed by is the `model` that
//!   the node will read.
//! - Everything is bounded: connections, heads, bodies, bytes held, attempts, times, label values.
//! - Nothing that a client or a node sends can make the process panic; should a request panic all the same, that
//!   request alone ends, with a 500.

mod alarm;
mod app;
mod attempt;
mod ending;
mod error;
mod health;
mod metrics;
mod pick;
mod record;
mod relay;
mod request;
mod server;
mod settings;
mod slot;
mod table;

pub use app::{Config, Running, StartError, run, start};
pub use settings::{Limits, Settings};
pub use table::TableSources;
