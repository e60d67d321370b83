//! The one line that a request leaves. In a process of its own: which lines are wanted is a matter of the whole process.
#![expect(clippy::unwrap_used, reason = "in tests a panic is how a failure is told")]

use aivonx_dataplane::{Config, Limits, TableSources};
use aivonx_process::readiness::Readiness;
use aivonx_process::shutdown::Shutdown;
use aivonx_state::store::memory::MemoryStore;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing_subscriber::fmt::MakeWriter;

/// Log lines, kept.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// The lines about requests.
    fn of_requests(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["target"] == "proxy").collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_leaves_one_line_without_what_was_asked() {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
    subscriber.with_writer(lines.clone()).init();
    aivonx_process::tls::install_crypto_provider();
    let shutdown = Shutdown::new();
    let running = aivonx_dataplane::start(
        Config { listen: "127.0.0.1:0".parse().unwrap(), limits: Limits::default() },
        TableSources { primary: Arc::new(MemoryStore::new()), fallback: None },
        &prometheus::Registry::new(),
        Readiness::new(),
        shutdown.clone(),
    )
    .unwrap();

    let body = r#"{"model":"m","prompt":"a secret","stream":false}"#;
    let request = format!(
        "POST /api/generate?key=secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer secret\r\n\
         X-Request-Id: my-id\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    shutdown.drain();
    running.done.await.unwrap();

    let written = lines.of_requests();
    assert_eq!(written.len(), 1, "{written:?}");
    let expected = serde_json::json!({
        "request_id": "my-id", "method": "POST", "route": "/api/generate", "status": 503,
        "outcome": "rejected", "reason": "no_table", "attempts": 0, "bytes_in": 48, "bytes_out": 32, "stream": false,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&written[0][key], value, "{key}: {written:?}");
    }
    // Neither this line nor any other line of ours, at any level, tells a credential or a prompt.
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let ours = text.lines().filter(|line| line.contains("aivonx") || line.contains("\"proxy\""));
    assert!(ours.clone().count() > 0);
    assert!(!ours.into_iter().any(|line| line.contains("secret")));
}
