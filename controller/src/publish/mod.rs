//! Getting tables and history to the stores. Each store has a task of its own: one that is away holds no other up.

mod backlog;
pub(crate) mod history;
mod plan;
pub(crate) mod store;
