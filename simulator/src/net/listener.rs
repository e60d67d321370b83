//! A listener that can stop and start listening without losing its port.
//!
//! A second socket is bound to the same address and never accepts anything: it keeps the port from being given
//! to another process while nobody listens, and becomes the listener when listening starts again.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// See the module.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    listening: Option<TcpListener>,
    reserve: Socket,
}

const BACKLOG: i32 = 1024;

impl Listener {
    /// Binds and listens. Port 0 picks a free port.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        if address.port() != 0 {
            // Shared ports are only for ourselves: this fails when anybody else is there.
            socket(address, false)?;
        }
        let first = socket(address, true)?;
        let address = first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no IP address"))?;
        let listening = Some(listen(first)?);
        Ok(Self { address, listening, reserve: socket(address, true)? })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; waits for ever while stopped.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        match &self.listening {
            Some(listener) => listener.accept().await.map(|(stream, _)| stream),
            None => std::future::pending().await,
        }
    }

    /// Stops listening: connections are refused from now on.
    pub fn stop(&mut self) {
        self.listening = None;
    }

    /// Listens again.
    pub fn start(&mut self) -> io::Result<()> {
        if self.listening.is_some() {
            return Ok(());
        }
        let next = std::mem::replace(&mut self.reserve, socket(self.address, true)?);
        self.listening = Some(listen(next)?);
        Ok(())
    }
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn stops_and_starts_on_one_port() {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.address();
        let connect = || TcpStream::connect(address);
        for _ in 0..3 {
            let _client = connect().await.unwrap();
            let _server = listener.accept().await.unwrap();
            listener.stop();
            let refused = connect().await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            listener.start().unwrap();
        }
        assert_eq!(listener.address(), address);
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused() {
        let taken = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        assert_eq!(Listener::bind(taken.address()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
