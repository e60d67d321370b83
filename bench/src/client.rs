//! One client: a connection that asks, reads the whole answer, checks that it is the node's, and asks again.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::message::Message;

/// A client with its connection.
pub struct Client {
    socket: TcpStream,
    target: SocketAddr,
    buffer: Vec<u8>,
    answer: Message,
}

impl Client {
    /// Connects to a proxy, or to the node itself.
    pub async fn connect(target: SocketAddr) -> Result<Client> {
        let socket =
            TcpStream::connect(target).await.with_context(|| format!("cannot connect to {target}"))?;
        socket.set_nodelay(true)?;
        Ok(Client { socket, target, buffer: vec![0; 16 * 1024], answer: Message::default() })
    }

    /// Sends `request` and reads the answer. `seen` learns of each read how many lines ended in it.
    pub async fn ask(&mut self, request: &Request, nonce: &str, mut seen: impl FnMut(u64)) -> Result<()> {
        self.answer.reset();
        self.socket.write_all(&request.bytes).await?;
        loop {
            let read = self.socket.read(&mut self.buffer).await?;
            ensure!(read > 0, "{} closed the connection in the middle of an answer", self.target);
            let before = self.answer.lines;
            let complete = self.answer.feed(&self.buffer[..read]).context(self.target)?;
            seen(self.answer.lines - before);
            if complete {
                break;
            }
        }
        let good = self.answer.head().starts_with(b"HTTP/1.1 200 ");
        let said = || [self.answer.head(), &self.answer.start].concat();
        ensure!(good, "{} answered:\n{}", self.target, String::from_utf8_lossy(&said()));
        let ours = memmem::find(&self.answer.start, nonce.as_bytes()).is_some();
        ensure!(ours, "what {} answered does not come from the node of this run", self.target);
        let lines = self.answer.lines;
        ensure!(lines == request.lines, "{} lines of {} came through {}", lines, request.lines, self.target);
        Ok(())
    }
}

/// A request for a chat, ready to send.
pub struct Request {
    bytes: Vec<u8>,
    /// The lines of the answer; 0 for one in one piece.
    pub lines: u64,
}

impl Request {
    /// Asks for a stream of `lines` lines, or with 0 for an answer in one piece.
    pub fn new(lines: u64) -> Request {
        let body = format!(
            r#"{{"model":"m","stream":{},"options":{{"num_predict":{lines},"temperature":0.7}},"messages":[{{"role":"system","content":"You are a helpful assistant. Answer in one short sentence and name no sources."}},{{"role":"user","content":"Why is the sky blue by day, red in the evening, and black at night?"}}]}}"#,
            lines > 0
        );
        let head = "POST /api/chat HTTP/1.1\r\nHost: ollama.bench\r\nUser-Agent: aivonx-bench\r\nAccept: */*\r\nContent-Type: application/json";
        Request {
            bytes: format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
            lines,
        }
    }
}
