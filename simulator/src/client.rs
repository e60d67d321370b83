//! A plain HTTP/1.1 client for tests: one connection a request, nothing hidden. Dropping an [`Exchange`] closes
//! its connection at once, as a client does that leaves.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("bad address: {0}")]
    Address(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke, or ended too early.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
}

impl ClientError {
    /// Whether the connection was refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    /// Whether the connection was reset.
    pub fn is_reset(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return io.kind() == std::io::ErrorKind::ConnectionReset;
            }
            cause = error.source();
        }
        false
    }
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub struct Exchange {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    connection: JoinHandle<()>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// `GET base/path`
pub fn get(base: &str, path: &str) -> Call {
    Call::new(Method::GET, base, path)
}

/// `POST base/path` with a JSON body.
pub fn post(base: &str, path: &str, body: &Value) -> Call {
    Call::new(Method::POST, base, path).header("content-type", "application/json").body(body.to_string())
}

impl Call {
    /// Any request. `base` is `http://host:port`; `path` goes out as it stands.
    pub fn new(method: Method, base: &str, path: &str) -> Self {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and waits for the head of the answer.
    pub async fn open(self) -> Result<Exchange, ClientError> {
        let bad = |what: &str| ClientError::Address(format!("{what} in {}", self.url));
        let uri: Uri = self.url.parse().map_err(|_| bad("no URL"))?;
        let authority = uri.authority().ok_or_else(|| bad("no host"))?.clone();
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let mut request = Request::builder().method(self.method.clone()).uri(path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str())) {
            request = request.header(HOST, authority.as_str());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body.clone())).map_err(|_| bad("no request"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = Abort(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "connection ended");
            }
        }));
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let connection = connection.release();
        Ok(Exchange { status: head.status.as_u16(), headers: head.headers, body, connection })
    }

    /// Sends it and waits for the whole answer.
    pub async fn send(self) -> Result<Answer, ClientError> {
        self.open().await?.rest().await
    }
}

/// Aborts the connection if the request is given up before its head came.
struct Abort(JoinHandle<()>);

impl Abort {
    fn release(mut self) -> JoinHandle<()> {
        std::mem::replace(&mut self.0, tokio::spawn(async {}))
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Exchange {
    /// The next piece of the body as it arrives; `None` at its proper end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The rest of the body.
    pub async fn rest(mut self) -> Result<Answer, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: self.status, headers: std::mem::take(&mut self.headers), body: body.into() })
    }

    /// What arrives until the body ends or breaks, and the error if it broke.
    pub async fn until_broken(mut self) -> (Vec<u8>, Option<ClientError>) {
        let mut body = Vec::new();
        loop {
            match self.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return (body, None),
                Err(error) => return (body, Some(error)),
            }
        }
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Each line of the body as JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    /// The data of each server-sent event.
    pub fn events(&self) -> Vec<String> {
        self.text()
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .map(str::to_owned)
            .collect()
    }

    /// The content type.
    pub fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE.as_str())
    }

    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Asks again until the answer is as wanted, at most for `limit`.
pub async fn poll<T, F>(limit: Duration, mut look: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, looking).await.ok()
}
