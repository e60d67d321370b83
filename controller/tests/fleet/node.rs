//! A node that answers what the test says, and that can die with all its connections.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a path answers.
#[derive(Clone)]
pub enum Answer {
    Json(String),
    Status(u16),
    Redirect(String),
    /// Takes its time.
    Late(Duration, String),
    /// Takes the request and never answers.
    Silence,
}

struct Script {
    answers: HashMap<String, Answer>,
    /// Answers that are given once, before the others.
    once: HashMap<String, Vec<Answer>>,
    hits: HashMap<String, usize>,
}

pub struct StubNode {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    alive: CancellationToken,
}

pub fn digest(name: &str) -> String {
    format!(
        "{:064x}",
        name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
    )
}

/// A list with these models.
pub fn list(names: &[&str]) -> Answer {
    Answer::Json(list_json(names))
}

/// The JSON of a list with these models.
pub fn list_json(names: &[&str]) -> String {
    let models: Vec<_> = names
        .iter()
        .map(|name| serde_json::json!({"name": name, "model": name, "digest": digest(name), "size": 1}))
        .collect();
    serde_json::json!({ "models": models }).to_string()
}

impl StubNode {
    /// An Ollama of version 0.12.3 with these models, none in memory.
    pub async fn start(models: &[&str]) -> Self {
        Self::start_at(TcpListener::bind("127.0.0.1:0").await.unwrap(), models)
    }

    /// The same, behind a port that was bound before.
    pub fn start_at(listener: TcpListener, models: &[&str]) -> Self {
        let answers = HashMap::from([
            ("/api/version".to_owned(), Answer::Json(r#"{"version":"0.12.3"}"#.to_owned())),
            ("/api/tags".to_owned(), list(models)),
            ("/api/ps".to_owned(), list(&[])),
        ]);
        let script = Arc::new(Mutex::new(Script { answers, once: HashMap::new(), hits: HashMap::new() }));
        let (address, alive) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(accept(listener, Arc::clone(&script), alive.clone()));
        Self { address, script, alive }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn answer(&self, path: &str, answer: Answer) {
        self.script.lock().answers.insert(path.to_owned(), answer);
    }

    pub fn answer_once(&self, path: &str, answer: Answer) {
        self.script.lock().once.entry(path.to_owned()).or_default().push(answer);
    }

    /// How often a path was asked for.
    pub fn hits(&self, path: &str) -> usize {
        self.script.lock().hits.get(path).copied().unwrap_or(0)
    }

    /// Closes the port and all connections.
    pub fn kill(&self) {
        self.alive.cancel();
    }
}

impl Drop for StubNode {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>, alive: CancellationToken) {
    // Dropping the set aborts the connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = alive.cancelled() => return,
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                connections.spawn(serve(stream, Arc::clone(&script)));
            }
        }
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let script = Arc::clone(&script);
        async move { Ok::<_, Infallible>(respond(request.uri().path(), &script).await) }
    });
    // A client that goes away is no failure of the test.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(path: &str, script: &Mutex<Script>) -> Response<Full<Bytes>> {
    let answer = {
        let mut script = script.lock();
        *script.hits.entry(path.to_owned()).or_default() += 1;
        match script.once.get_mut(path).filter(|answers| !answers.is_empty()) {
            Some(answers) => answers.remove(0),
            None => script.answers.get(path).cloned().unwrap_or(Answer::Status(404)),
        }
    };
    let empty = |status| Response::builder().status(status);
    match answer {
        Answer::Json(text) => Response::new(Full::new(Bytes::from(text))),
        Answer::Status(status) => empty(StatusCode::from_u16(status).unwrap()).body(Full::default()).unwrap(),
        Answer::Redirect(to) => {
            empty(StatusCode::FOUND).header("location", to).body(Full::default()).unwrap()
        }
        Answer::Late(wait, text) => {
            // Slowness is what this answer is for.
            tokio::time::sleep(wait).await;
            Response::new(Full::new(Bytes::from(text)))
        }
        Answer::Silence => pending().await,
    }
}
