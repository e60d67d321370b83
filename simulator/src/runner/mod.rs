//! Loading models and giving out their slots, with Ollama's two queues: a bounded one for what must be loaded,
//! served strictly in order, and an unbounded one at each loaded model's slots.

mod options;
mod prompt_cache;
mod residency;
mod scheduler;
mod slots;
mod terms;

pub use options::Options;
pub(crate) use scheduler::LOAD_FAILED;
pub use scheduler::{Lease, Loops, Scheduler};
pub use slots::Slot;
pub use terms::{Ask, Expiry, Limits, LoadedModel, ModelLoad, Refusal, Totals};
