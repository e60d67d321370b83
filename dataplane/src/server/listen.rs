//! The listening socket.

use aivonx_process::settings::SettingsError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Connections that the system holds while all are taken.
const BACKLOG: i32 = 4096;

/// Listens on an address; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be bound: a wrong setting.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, SettingsError> {
    listen(address).map_err(|error| {
        SettingsError::new(
            "AIVONX_LISTEN",
            format!("cannot listen on {address}: {error}; set AIVONX_LISTEN (--listen) to a free address"),
        )
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
