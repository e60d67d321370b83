//! An Ollama server without models: it answers the same routes with the same shapes, has slots, load times, VRAM
//! and eviction, and can be made to fail in every way a node of a fleet fails. For `aivonx run --demo`, for tests
//! and for benches.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use aivonx_simulator::{Config, Fault, Model, Simulator};
//!
//! let sim = Simulator::start(Config::default().models(vec![Model::completion("llama3.2")]).slots(2usize)).await?;
//! sim.faults().add(Fault::busy().on("/api/chat").times(1));
//! sim.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What always holds
//!
//! - **Held to the real server**: what [`conformance`] checks is checked against a real Ollama too.
//! - **Read as Go reads it**: a body means here what it means to Ollama ([`gojson`]), so that a gateway that reads
//!   it otherwise is found out.
//! - **Deterministic**: one model and prompt give one text, on every node ([`text`]).
//! - **Whatever a request holds, it holds by a guard**: a client that leaves, at any moment, frees its slot and
//!   aborts its load at once.
//! - **Nothing before the first token**: the head of a stream goes out with its first chunk, every chunk is
//!   written by itself.
//! - **Time is tokio's**: under paused time nothing waits.
//! - **Control stays reachable**: no fault hits `/_sim/` (see [`control`]).

mod access;
mod api;
mod changed;
pub mod client;
mod clock;
mod config;
pub mod conformance;
pub mod control;
mod faults;
pub mod gojson;
mod keep_alive;
pub mod name;
mod net;
mod node;
mod record;
mod route;
mod runner;
mod service;
mod simulator;
mod store;
pub mod text;

pub use config::{Capability, Config, Model, digest_of};
pub use faults::{ActiveFault, Cut, Fault, FaultId, FaultKind, Faults};
pub use keep_alive::KeepAlive;
pub use node::{ModelState, State};
pub use record::{Counters, Outcome, RecordedRequest};
pub use runner::{ModelLoad, Totals};
pub use service::NODE_HEADER;
pub use simulator::{Simulator, StartError};
