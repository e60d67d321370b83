//! A client that shows all that came.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A whole response.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body ended as its framing says; false when the connection broke.
    pub whole: bool,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A response whose body is still coming. Dropping it closes the connection.
pub struct Streaming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    connection: AbortHandle,
}

impl Streaming {
    /// The next bytes; `None` at a clean end.
    pub async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = timeout(PATIENCE, self.body.frame()).await.expect("the body pauses too long")?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    /// Reads to the end.
    pub async fn rest(mut self) -> Reply {
        let mut body = BytesMut::new();
        let whole = loop {
            match self.next().await {
                Some(Ok(bytes)) => body.extend_from_slice(&bytes),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        Reply { status: self.status, headers: std::mem::take(&mut self.headers), body: body.freeze(), whole }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A request with a Host.
pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gateway")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Sends a request and gives the response once its head is there.
pub async fn stream(address: SocketAddr, request: Request<Full<Bytes>>) -> Streaming {
    timeout(PATIENCE, async {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection).abort_handle();
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        Streaming { status: head.status, headers: head.headers, body, connection }
    })
    .await
    .expect("no response")
}

/// Sends a request and reads the whole response.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    stream(address, request).await.rest().await
}

pub async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, request(Method::GET, path, "")).await
}

pub async fn post(address: SocketAddr, path: &str, body: &str) -> Reply {
    send(address, request(Method::POST, path, body.to_owned())).await
}

/// Writes bytes and reads until the connection is closed.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer leaves what came before it.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .expect("the connection was not closed")
}
