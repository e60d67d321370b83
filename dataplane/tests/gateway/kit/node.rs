//! A node that does to a connection exactly what a test says.

use bytes::Bytes;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: Bytes,
}

impl Seen {
    /// The path, with the query.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What a node does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes these bytes in one write.
    Send(Bytes),
    /// Waits for a permit.
    Gate(Arc<Semaphore>),
    /// Waits for the gateway to close the connection.
    Hang,
    /// Closes the connection in good order.
    Close,
    /// Resets it.
    Reset,
}

type Script = Arc<dyn Fn(&Seen) -> Vec<Act> + Send + Sync>;

/// A scripted node.
pub struct Node {
    pub name: &'static str,
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: Mutex<Option<AbortHandle>>,
}

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    left: Mutex<Vec<Instant>>,
}

impl Node {
    /// A node that does what `script` says for each request apart from health checks, which it answers.
    pub async fn start(
        name: &'static str,
        script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            seen: Mutex::default(),
            left: Mutex::default(),
        });
        let node = Self { name, address, shared, serving: Mutex::default() };
        node.serve(listener);
        node
    }

    /// A node that answers every request with one JSON object that names it.
    pub async fn answering(name: &'static str) -> Self {
        Self::start(name, move |_| json_answer(&format!("{{\"node\":\"{name}\",\"done\":true}}"))).await
    }

    fn serve(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        let serving = tokio::spawn(async move {
            // Connections end with the node.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(connection(stream, shared.clone()));
            }
        });
        *self.serving.lock() = Some(serving.abort_handle());
    }

    /// Closes the listener and all connections: from then on connects are refused.
    pub async fn stop(&self) {
        let serving = self.serving.lock().take().unwrap();
        serving.abort();
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Listens again at the same address.
    pub async fn restart(&self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    /// Does something else from now on.
    pub fn script(&self, script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) {
        *self.shared.script.lock() = Arc::new(script);
    }

    /// The requests so far, without health checks.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().len()
    }

    /// When the gateway closed connections on which the node was hanging.
    pub fn left(&self) -> Vec<Instant> {
        self.shared.left.lock().clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().take() {
            serving.abort();
        }
    }
}

async fn connection(mut stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        if request.path() == "/api/version" {
            let answer = answer_bytes("200 OK", "application/json", "{\"version\":\"0.32.15\"}");
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            continue;
        }
        shared.seen.lock().push(request.clone());
        let script = shared.script.lock().clone();
        for act in script(&request) {
            match act {
                Act::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        shared.left.lock().push(Instant::now());
                        return;
                    }
                }
                Act::Gate(gate) => gate.acquire().await.unwrap().forget(),
                Act::Hang => {
                    // Closed or reset: either way the gateway has left.
                    let _ = stream.read(&mut [0; 1]).await;
                    shared.left.lock().push(Instant::now());
                    return;
                }
                Act::Close => return,
                Act::Reset => {
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut seen = Seen { head, body: Bytes::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = Bytes::copy_from_slice(&buffer[end..end + length]);
    buffer.drain(..end + length);
    Some(seen)
}

fn answer_bytes(status: &str, kind: &str, body: &str) -> Bytes {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into()
}

/// A whole JSON answer.
pub fn json_answer(body: &str) -> Vec<Act> {
    vec![Act::Send(answer_bytes("200 OK", "application/json", body))]
}

/// A whole answer with a status.
pub fn status(status: &str, body: &str) -> Vec<Act> {
    vec![Act::Send(answer_bytes(status, "application/json", body))]
}

/// The head of a chunked answer.
pub fn head(kind: &str) -> Act {
    Act::Send(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n").into())
}

/// The head of an ndjson stream.
pub fn ndjson() -> Act {
    head("application/x-ndjson")
}

/// The head of an event stream.
pub fn sse() -> Act {
    head("text/event-stream")
}

/// One chunk.
pub fn chunk(data: impl AsRef<[u8]>) -> Act {
    let data = data.as_ref();
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    Act::Send(bytes.into())
}

/// The end of a chunked answer.
pub fn last_chunk() -> Act {
    Act::Send(Bytes::from_static(b"0\r\n\r\n"))
}
