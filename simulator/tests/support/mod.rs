//! What the tests share. Nothing here waits for a time: everything waits for a condition, and [`within`] only ends
//! what would otherwise hang.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aivonx_simulator::client::{Answer, Call, ClientError, Exchange, get, post};
use aivonx_simulator::{Config, Model, Simulator};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Fails a test that hangs.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("still waiting after a minute")
}

/// A node with two completion models and an embedding model.
pub fn config() -> Config {
    Config::default().models(vec![Model::completion("a"), Model::completion("b"), Model::embedding("e")])
}

pub async fn start(config: Config) -> Simulator {
    Simulator::start(config).await.unwrap()
}

pub fn generate(sim: &Simulator, body: Value) -> Call {
    post(&sim.url(), "/api/generate", &body)
}

pub fn chat(sim: &Simulator, model: &str) -> Call {
    let messages = json!([{"role": "user", "content": "hi"}]);
    post(&sim.url(), "/api/chat", &json!({"model": model, "messages": messages}))
}

pub fn openai_chat(sim: &Simulator, model: &str, stream: bool) -> Call {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": model, "messages": messages, "stream": stream});
    post(&sim.url(), "/v1/chat/completions", &body)
}

pub async fn version(sim: &Simulator) -> Result<Answer, ClientError> {
    get(&sim.url(), "/api/version").send().await
}

/// A request under way; it is given up when the handle is dropped or aborted.
pub struct Running<T>(pub JoinHandle<T>);

impl<T> Running<T> {
    pub async fn done(mut self) -> T {
        within(&mut self.0).await.unwrap()
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends in the background.
pub fn send(call: Call) -> Running<Result<Answer, ClientError>> {
    Running(tokio::spawn(call.send()))
}

/// Opens in the background.
pub fn open(call: Call) -> Running<Result<Exchange, ClientError>> {
    Running(tokio::spawn(call.open()))
}

/// Lines in a piece of a stream.
pub fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Reads a stream until it has sent so many lines.
pub async fn lines(exchange: &mut Exchange, count: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while count_lines(&read) < count {
        read.extend_from_slice(&within(exchange.chunk()).await.unwrap().expect("the stream ended early"));
    }
    assert_eq!(count_lines(&read), count, "{}", String::from_utf8_lossy(&read));
    read
}

/// Sends bytes and reads whatever comes until the connection ends, and how it ended.
pub async fn raw(address: SocketAddr, request: &str) -> (String, io::Result<()>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

pub async fn read_to_end(mut stream: TcpStream) -> (String, io::Result<()>) {
    let mut read = Vec::new();
    let ended = within(stream.read_to_end(&mut read)).await.map(|_| ());
    (String::from_utf8_lossy(&read).into_owned(), ended)
}

/// A POST as it goes over the wire.
pub fn raw_post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub fn is_reset(ended: &io::Result<()>) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
