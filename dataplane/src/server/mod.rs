//! The listener: accepting, connections, and the end.

mod activity;
mod connection;
mod drain;
mod guarded_io;
mod listen;

pub(crate) use drain::serve;
pub(crate) use listen::bind;
