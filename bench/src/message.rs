//! Reads HTTP/1.1 requests and responses from whatever pieces the socket gives, at little cost: node and load generator
//! share a core, and must not be what the figures show.

use anyhow::{Context, Result, bail, ensure};
use memchr::{memchr_iter, memmem};

/// Longest head.
const MAX_HEAD: usize = 16 * 1024;
/// As much of a body as is kept, to be looked at.
const KEPT: usize = 512;

/// A request or a response that is being read.
#[derive(Debug, Default)]
pub struct Message {
    state: State,
    head: Vec<u8>,
    /// The beginning of the body.
    pub start: Vec<u8>,
    /// Line ends in the body so far.
    pub lines: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Head,
    /// The body, of a length that was announced: what is left of it.
    Length(u64),
    /// The size of the next chunk: what is known of it, and whether its digits are over.
    Size(u64, bool),
    /// A chunk: what is left of it.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// The line end after the last chunk.
    Last,
    Done,
}

impl Message {
    /// Takes the next bytes of the connection. Whether the message is complete.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<bool> {
        if self.state == State::Head {
            let had = self.head.len();
            self.head.extend_from_slice(bytes);
            let from = had.saturating_sub(3);
            let Some(end) = memmem::find(&self.head[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
                ensure!(self.head.len() <= MAX_HEAD, "the head is longer than {MAX_HEAD} bytes");
                return Ok(false);
            };
            self.head.truncate(end);
            self.state = framing(&self.head)?;
            bytes = &bytes[end - had..];
        }
        while !bytes.is_empty() && self.state != State::Done {
            bytes = self.body(bytes)?;
        }
        ensure!(bytes.is_empty(), "{} bytes follow the message", bytes.len());
        Ok(self.state == State::Done)
    }

    /// The head, from its first line on.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Forgets this message, to read the next one of the connection.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
        self.start.clear();
        self.lines = 0;
    }

    fn body<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let first = bytes[0];
        self.state = match self.state {
            State::Length(left) | State::Chunk(left) => {
                let taken = left.min(bytes.len() as u64);
                let (payload, rest) = bytes.split_at(taken as usize);
                self.lines += memchr_iter(b'\n', payload).count() as u64;
                let room = KEPT.saturating_sub(self.start.len()).min(payload.len());
                self.start.extend_from_slice(&payload[..room]);
                self.state = match (self.state, left - taken) {
                    (State::Length(_), 0) => State::Done,
                    (State::Length(_), left) => State::Length(left),
                    (_, 0) => State::ChunkEnd,
                    (_, left) => State::Chunk(left),
                };
                return Ok(rest);
            }
            State::Size(0, _) if first == b'\n' => State::Last,
            State::Size(size, _) if first == b'\n' => State::Chunk(size),
            State::Size(size, over) => match char::from(first).to_digit(16) {
                Some(digit) if !over => {
                    State::Size(size.checked_mul(16).context("chunk size")? + u64::from(digit), false)
                }
                None | Some(_) => State::Size(size, true),
            },
            State::ChunkEnd if first == b'\n' => State::Size(0, false),
            State::Last if first == b'\n' => State::Done,
            State::ChunkEnd | State::Last if first == b'\r' => self.state,
            state => bail!("byte {first:#04x} in {state:?}"),
        };
        Ok(&bytes[1..])
    }
}

/// How the end of the body is known. A message that does not tell has no body.
fn framing(head: &[u8]) -> Result<State> {
    let head = std::str::from_utf8(head).context("the head is not text")?;
    for (name, value) in head.split("\r\n").filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().with_context(|| format!("content-length '{value}'"))?;
            return Ok(if length == 0 { State::Done } else { State::Length(length) });
        }
        if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
            return Ok(State::Size(0, false));
        }
    }
    Ok(State::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab\n\r\n1a;x=5\r\n0123456789012345678901234\n\r\n0\r\n\r\n";

    #[test]
    fn a_message_is_read_however_it_is_cut() {
        for (wire, lines, body) in
            [(WHOLE, 0, &b"hello"[..]), (CHUNKED, 2, b"ab\n0123456789012345678901234\n")]
        {
            for size in 1..=wire.len() {
                let mut message = Message::default();
                for _ in 0..2 {
                    let mut pieces = wire.chunks(size).peekable();
                    while let Some(piece) = pieces.next() {
                        assert_eq!(message.feed(piece).unwrap(), pieces.peek().is_none(), "pieces of {size}");
                    }
                    assert_eq!((message.lines, &message.start[..]), (lines, body), "pieces of {size}");
                    message.reset();
                }
            }
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for wire in [
            &b"GET / HTTP/1.1\r\n\r\nmore"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab",
        ] {
            assert!(Message::default().feed(wire).is_err(), "{}", String::from_utf8_lossy(wire));
        }
        assert!(Message::default().feed(&[b'x'; MAX_HEAD + 1]).is_err());
    }
}
