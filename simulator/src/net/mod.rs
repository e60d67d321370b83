//! Sockets: a listener that can be closed and opened again on its port, and connections that can be cut at any
//! moment, by FIN or by RST.

mod connection;
mod io;
mod listener;

pub use connection::{Connection, serve};
pub use listener::Listener;
