//! Answers below HTTP: servers that speak bytes.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What follows after the bytes were sent.
#[derive(Clone, Copy)]
pub enum Then {
    Close,
    Hold,
}

/// A server that reads a little, sends `bytes` to every connection, and closes or holds it.
pub async fn server(bytes: impl Into<Vec<u8>>, then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, bytes) = (listener.local_addr().unwrap(), bytes.into());
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            // A client may give up at any point.
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&bytes).await;
            if matches!(then, Then::Hold) {
                held.push(stream);
            }
        }
    });
    address
}

/// A JSON answer of 200 with this body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
