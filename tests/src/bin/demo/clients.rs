//! Clients that go on asking while a part is taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aivonx_tests::http;
use aivonx_tests::wait::eventually;
use anyhow::{Result, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CLIENTS: usize = 4;

/// A chat with the model that answers everything with the alphabet.
pub fn chat(stream: bool) -> Value {
    json!({"model": "alphabet", "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
}

/// Some clients, each of which asks again as soon as it was answered.
#[derive(Debug)]
pub struct Clients {
    tasks: JoinSet<()>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
    enough: AtomicBool,
}

impl Clients {
    /// Starts them, spread over the gateways.
    pub fn start(gateways: &[String]) -> Clients {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        for gateway in gateways.iter().cycle().take(CLIENTS) {
            let (seen, url) = (seen.clone(), format!("{gateway}/api/chat"));
            tasks.spawn(async move {
                while !seen.enough.load(Ordering::Relaxed) {
                    match ask(&url).await {
                        Ok(()) => drop(seen.answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => seen.failures.lock().push(format!("{error:#}")),
                    }
                }
            });
        }
        Clients { tasks, seen }
    }

    /// Waits until they have had `count` more answers.
    pub async fn answered(&self, count: usize) -> Result<()> {
        let wanted = self.seen.answered.load(Ordering::Relaxed) + count;
        eventually("the clients are answered", Duration::from_secs(60), async || {
            let answered = self.seen.answered.load(Ordering::Relaxed);
            ensure!(answered >= wanted, "{answered} of {wanted}; failures: {:?}", self.seen.failures.lock());
            Ok(())
        })
        .await
    }

    /// Ends them. An error if a single request failed; else how many were answered.
    pub async fn stop(mut self) -> Result<usize> {
        self.seen.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let failures = self.seen.failures.lock();
        ensure!(failures.is_empty(), "{} requests failed: {failures:#?}", failures.len());
        Ok(self.seen.answered.load(Ordering::Relaxed))
    }
}

async fn ask(url: &str) -> Result<()> {
    let answer = http::post_json(url, &chat(false)).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text()?);
    let text = answer.json()?["message"]["content"].as_str().unwrap_or_default().to_owned();
    ensure!(text == "abcdefghijklmnopqrstuvwxyz", "answered {text:?}");
    Ok(())
}
