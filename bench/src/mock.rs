//! The node behind the proxies: it answers `/api/chat` at once or line by line at a steady pace, and does no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use crate::message::Message;

/// How it answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A text that stands in each answer, by which it is known to be this node's.
    pub nonce: String,
    /// Time between two lines of a stream.
    pub pace: Duration,
}

/// What it writes, ready to write.
struct Node {
    version: String,
    whole: String,
    head: &'static str,
    line: String,
    last: String,
    pace: Duration,
}

/// Answers until the process is ended.
pub async fn serve(plan: Plan) -> Result<()> {
    let listener = TcpListener::bind(plan.listen).await?;
    let node = Arc::new(Node::new(&plan));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let node = node.clone();
        // A connection that breaks is the load generator's to report.
        tokio::spawn(async move { node.connection(socket).await });
    }
}

impl Node {
    fn new(plan: &Plan) -> Node {
        let message = |content: &str| {
            format!(
                r#"{{"model":"m","created_at":"2026-01-01T00:00:00.000000Z","message":{{"role":"assistant","content":"{content}"}}"#
            )
        };
        let counts = r#""done":true,"done_reason":"stop","total_duration":101000000,"load_duration":1000000,"prompt_eval_count":26,"prompt_eval_duration":20000000,"eval_count":64,"eval_duration":80000000}"#;
        let last = format!("{},{counts}\n", message(""));
        Node {
            version: whole(r#"{"version":"0.32.15"}"#),
            whole: whole(&format!("{},{counts}", message(&plan.nonce))),
            head: "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
            line: chunk(&format!("{},\"done\":false}}\n", message(&plan.nonce))),
            last: chunk(&last) + "0\r\n\r\n",
            pace: plan.pace,
        }
    }

    async fn connection(&self, mut socket: TcpStream) -> Result<()> {
        let (mut buffer, mut request) = (vec![0; 16 * 1024], Message::default());
        loop {
            let read = socket.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            if !request.feed(&buffer[..read])? {
                continue;
            }
            match lines_wanted(&request.start) {
                Some(lines) => self.stream(&mut socket, lines).await?,
                None if request.head().starts_with(b"POST /api/chat ") => {
                    socket.write_all(self.whole.as_bytes()).await?;
                }
                None => socket.write_all(self.version.as_bytes()).await?,
            }
            request.reset();
        }
    }

    /// Each line is a chunk, and each chunk a write.
    async fn stream(&self, socket: &mut TcpStream, lines: u64) -> Result<()> {
        let mut ticks = interval(self.pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        socket.write_all(self.head.as_bytes()).await?;
        for left in (0..lines).rev() {
            ticks.tick().await;
            let chunk = if left > 0 { &self.line } else { &self.last };
            socket.write_all(chunk.as_bytes()).await?;
        }
        Ok(())
    }
}

/// The number of lines that a request for a stream asks for; `None` for an answer in one piece.
fn lines_wanted(body: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"num_predict\":";
    memmem::find(body, b"\"stream\":true")?;
    let digits = &body[memmem::find(body, KEY)? + KEY.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn whole(json: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

fn chunk(line: &str) -> String {
    format!("{:x}\r\n{line}\r\n", line.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Request};

    #[test]
    fn a_stream_is_as_long_as_the_request_says() {
        assert_eq!(lines_wanted(br#"{"model":"m","stream":true,"options":{"num_predict":12}}"#), Some(12));
        assert_eq!(lines_wanted(br#"{"model":"m","stream":false,"options":{"num_predict":12}}"#), None);
    }

    #[tokio::test]
    async fn a_client_gets_whole_answers_and_lines_one_by_one() {
        let listen = (std::net::Ipv4Addr::LOCALHOST, aivonx_tests::ports::free().unwrap()).into();
        let plan = Plan { listen, nonce: "n0nce".to_owned(), pace: Duration::from_millis(20) };
        let node = tokio::spawn(serve(plan));
        let connected = async || Client::connect(listen).await;
        let connected = aivonx_tests::wait::eventually("the node listens", Duration::from_secs(5), connected);
        let mut client = connected.await.unwrap();
        for lines in [0, 3, 0] {
            let mut reads = Vec::new();
            client.ask(&Request::new(lines), "n0nce", |lines| reads.push(lines)).await.unwrap();
            reads.retain(|lines| *lines > 0);
            assert_eq!(reads, vec![1; lines as usize]);
        }
        let error = client.ask(&Request::new(0), "another", |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("does not come from the node"));
        node.abort();
    }
}
