//! An HTTP client that hides nothing: status, headers and bytes as they came, and when. One connection per
//! request; no redirects, no decompression, no retries, no proxies.

use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HOST};
use ::http::{HeaderMap, Method, Request, StatusCode, Uri};
use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// Longer than any answer of a healthy part: a hang becomes an error that says where.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, without its framing.
    pub body: Bytes,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {:?}", self.body))
    }

    /// The value of a header, if it is there once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// Some bytes of a body, as one read gave them.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// When they arrived.
    pub at: Instant,
    /// The bytes.
    pub bytes: Bytes,
}

/// A line of a body.
#[derive(Clone, Debug)]
pub struct Line {
    /// When its end arrived.
    pub at: Instant,
    /// The text, without the line end.
    pub text: String,
}

impl Line {
    /// The line as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("no JSON: {:?}", self.text))
    }
}

/// An answer whose body is still coming. Dropping it closes the connection, as a client does that leaves.
#[derive(Debug)]
pub struct Stream {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// When the headers arrived.
    pub at: Instant,
    body: Incoming,
    partial: BytesMut,
    connection: AbortHandle,
}

impl Stream {
    /// The next bytes as they come, `None` at a clean end, an error when the stream breaks.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame()).await.context("the body pauses too long")?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(bytes) = frame.context("the body broke off")?.into_data() {
                return Ok(Some(Chunk { at: Instant::now(), bytes }));
            }
        }
    }

    /// The next line, `None` at a clean end. A rest without a line end is a line too.
    pub async fn next_line(&mut self) -> Result<Option<Line>> {
        let mut at = Instant::now();
        let mut searched = 0;
        loop {
            if let Some(end) = self.partial[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.partial.split_to(searched + end);
                self.partial.advance(1);
                return Ok(Some(Line { at, text: text(&line)? }));
            }
            searched = self.partial.len();
            match self.next().await? {
                Some(chunk) => {
                    at = chunk.at;
                    self.partial.extend_from_slice(&chunk.bytes);
                }
                None if self.partial.is_empty() => return Ok(None),
                None => return Ok(Some(Line { at, text: text(&self.partial.split())? })),
            }
        }
    }

    /// All lines that are left, up to a clean end.
    pub async fn lines(&mut self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_line().await? {
            lines.push(line);
        }
        Ok(lines)
    }

    /// The value of a header, if it is there once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Gets a URL.
pub async fn get(url: impl AsRef<str>) -> Result<Response> {
    send(request(Method::GET, url, "")?).await
}

/// Posts JSON to a URL.
pub async fn post_json(url: impl AsRef<str>, body: &Value) -> Result<Response> {
    send(json_request(url, body)?).await
}

/// Posts JSON to a URL and gives the answer while it comes.
pub async fn stream_json(url: impl AsRef<str>, body: &Value) -> Result<Stream> {
    stream(json_request(url, body)?).await
}

/// A request to send, to which headers may be added.
pub fn request(method: Method, url: impl AsRef<str>, body: impl Into<Bytes>) -> Result<Request<Bytes>> {
    let uri: Uri = url.as_ref().parse().with_context(|| format!("no URL: {}", url.as_ref()))?;
    Ok(Request::builder().method(method).uri(uri).body(body.into())?)
}

/// A POST request with a JSON body.
pub fn json_request(url: impl AsRef<str>, body: &Value) -> Result<Request<Bytes>> {
    let mut request = request(Method::POST, url, serde_json::to_vec(body)?)?;
    request.headers_mut().insert(CONTENT_TYPE, "application/json".parse()?);
    Ok(request)
}

/// Sends a request and reads the whole answer.
pub async fn send(request: Request<Bytes>) -> Result<Response> {
    let mut stream = stream(request).await?;
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.next().await? {
        body.extend_from_slice(&chunk.bytes);
    }
    Ok(Response { status: stream.status, headers: std::mem::take(&mut stream.headers), body: body.freeze() })
}

/// Sends a request and gives the answer while it comes.
pub async fn stream(request: Request<Bytes>) -> Result<Stream> {
    let what = format!("{} {}", request.method(), request.uri());
    let answer = timeout(PATIENCE, start(request)).await;
    answer.with_context(|| format!("{what}: no answer within {PATIENCE:?}"))?.context(what)
}

async fn start(mut request: Request<Bytes>) -> Result<Stream> {
    let uri = request.uri().clone();
    ensure!(uri.scheme_str() == Some("http"), "only http is spoken here");
    let authority = uri.authority().context("a URL without a host")?;
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, authority.as_str().parse()?);
    }
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;

    let host = authority.host().trim_matches(['[', ']']);
    let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection).abort_handle();
    let response = sender.send_request(request.map(Full::new)).await?;
    let at = Instant::now();
    let (head, body) = response.into_parts();
    let partial = BytesMut::new();
    Ok(Stream { status: head.status, headers: head.headers, at, body, partial, connection })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn text(line: &[u8]) -> Result<String> {
    Ok(std::str::from_utf8(line)?.trim_end_matches('\r').to_owned())
}
