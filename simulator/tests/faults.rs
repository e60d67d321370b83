//! Every fault, from the client's side.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use aivonx_simulator::client::{get, post};
use aivonx_simulator::{Cut, Fault, FaultKind, Outcome, Simulator};
use serde_json::json;
use support::{
    chat, config, count_lines, generate, is_reset, lines, open, openai_chat, raw, raw_post, read_to_end,
    send, start, version, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VERSION: &str = "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn last_outcome(sim: &Simulator) -> Outcome {
    sim.requests().last().unwrap().outcome
}

/// A connection that was used once and is kept alive.
async fn idle_connection(sim: &Simulator) -> TcpStream {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    stream.write_all(VERSION.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        within(stream.read_buf(&mut read)).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn refuse_and_listen_again_on_the_same_port() {
    let sim = start(config()).await;
    for _ in 0..3 {
        let idle = idle_connection(&sim).await;
        within(sim.refuse(false)).await;
        assert!(version(&sim).await.unwrap_err().is_refused());
        let (rest, ended) = read_to_end(idle).await;
        assert!(rest.is_empty() && ended.is_ok(), "idle connections are closed");
        within(sim.recover()).await;
        assert_eq!(version(&sim).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn refuse_lets_running_streams_finish() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_tokens(1));
    let mut stream = within(chat(&sim, "a").open()).await.unwrap();
    lines(&mut stream, 1).await;
    within(sim.refuse(false)).await;
    sim.faults().remove(stall);
    assert_eq!(within(stream.rest()).await.unwrap().lines().last().unwrap()["done"], true);
}

#[tokio::test]
async fn kill_resets_what_runs() {
    let sim = start(config()).await;
    sim.faults().add(Fault::stall_tokens(1));
    let mut stream = within(chat(&sim, "a").open()).await.unwrap();
    lines(&mut stream, 1).await;
    within(sim.refuse(true)).await;
    let (rest, error) = within(stream.until_broken()).await;
    assert!(rest.is_empty() && error.unwrap().is_reset());
    assert!(version(&sim).await.unwrap_err().is_refused());
    assert_eq!(sim.state().in_flight(), 0);
    within(sim.recover()).await;
    assert_eq!(version(&sim).await.unwrap().status, 200);
}

#[tokio::test]
async fn refuse_can_end_by_itself() {
    let sim = start(config()).await;
    sim.faults().add(Fault::refuse().lasting(Duration::from_millis(50)));
    within(sim.wait_until(|state| !state.listening)).await;
    within(sim.wait_until(|state| state.listening && state.faults.is_empty())).await;
    assert_eq!(version(&sim).await.unwrap().status, 200);
}

#[tokio::test]
async fn hang_accept_accepts_and_reads_nothing() {
    let sim = start(config()).await;
    let hang = sim.faults().add(Fault::hang_accept());
    let waiting = send(get(&sim.url(), "/api/version"));
    within(sim.wait_until(|state| state.connections == 1)).await;
    assert_eq!(sim.state().counters.requests, 0);
    assert!(!waiting.is_finished());
    sim.faults().remove(hang);
    assert_eq!(waiting.done().await.unwrap().status, 200);
}

#[tokio::test]
async fn hang_reads_and_answers_nothing() {
    let sim = start(config()).await;
    let hang = sim.faults().add(Fault::version_hang());
    let waiting = send(get(&sim.url(), "/api/version"));
    within(sim.wait_until(|_| sim.faults().hits(hang) == 1)).await;
    let tags = within(get(&sim.url(), "/api/tags").send()).await.unwrap();
    assert_eq!(tags.status, 200, "the rest answers");
    assert!(!waiting.is_finished());
    // Who leaves is noticed.
    drop(waiting);
    within(sim.wait_until(|state| state.counters.cancelled == 1)).await;
}

#[tokio::test]
async fn reset_and_close_before_the_head() {
    let sim = start(config()).await;
    let request = raw_post("/api/chat", &json!({"model": "a", "messages": []}));
    sim.faults().add(Fault::reset().times(1));
    let (answer, ended) = raw(sim.addr(), &request).await;
    assert!(answer.is_empty() && is_reset(&ended), "{answer} {ended:?}");
    let seen = &sim.requests()[0];
    assert_eq!((seen.outcome, seen.status), (Outcome::Faulted, None));
    assert!(request.as_bytes().ends_with(&seen.body), "the body was read first");
    sim.faults().add(Fault::close().times(1));
    let (answer, ended) = raw(sim.addr(), &request).await;
    assert!(answer.is_empty() && ended.is_ok(), "{answer} {ended:?}");
    assert_eq!(version(&sim).await.unwrap().status, 200);
}

#[tokio::test]
async fn delays_come_before_the_first_byte() {
    let sim = start(config()).await;
    sim.faults().add(Fault::slow_probes(Duration::from_millis(60)));
    let begun = tokio::time::Instant::now();
    assert_eq!(version(&sim).await.unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(60));
    sim.faults().set(vec![Fault::delay(Duration::from_secs(3600)).on("/api/chat")]);
    let waiting = open(chat(&sim, "a"));
    within(sim.wait_until(|state| state.faults[0].hits == 1)).await;
    assert_eq!(version(&sim).await.unwrap().status, 200, "no longer delayed");
    drop(waiting);
    within(sim.wait_until(|state| state.counters.cancelled == 1)).await;
}

#[tokio::test]
async fn statuses_in_the_words_of_each_api() {
    let sim = start(config()).await;
    let busy = "server busy, please try again.  maximum pending requests exceeded";
    sim.faults().add(Fault::busy().times(2));
    let native = within(chat(&sim, "a").send()).await.unwrap();
    assert_eq!((native.status, native.json()), (503, json!({"error": busy})));
    let openai = within(openai_chat(&sim, "a", true).send()).await.unwrap();
    assert_eq!((openai.status, openai.content_type()), (503, "application/json"));
    assert_eq!(
        (&openai.json()["error"]["message"], &openai.json()["error"]["type"]),
        (&json!(busy), &json!("api_error"))
    );
    assert_eq!(within(chat(&sim, "a").send()).await.unwrap().status, 200, "only twice");

    sim.faults().add(Fault::load_failure().times(1));
    let failed = within(chat(&sim, "a").send()).await.unwrap();
    assert_eq!(failed.status, 500);
    assert!(failed.json()["error"].as_str().unwrap().contains("failed to load"));
    assert_eq!(last_outcome(&sim), Outcome::Faulted);

    sim.faults().add(Fault::new(FaultKind::Status {
        status: 429,
        text: Some("slow down".to_owned()),
        retry_after: Some(7),
    }));
    let limited = within(chat(&sim, "a").send()).await.unwrap();
    assert_eq!((limited.status, limited.header("retry-after")), (429, "7"));
    assert_eq!(limited.json(), json!({"error": "slow down"}));
}

#[tokio::test]
async fn faults_skip_count_and_are_limited_to_paths() {
    let sim = start(config()).await;
    sim.faults().add(Fault::status(404).on("/api/ver").skipping(1).times(1));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(version(&sim).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 404, 200]);
    let active = &sim.faults().list()[0];
    assert_eq!((active.hits, active.skipped), (1, 1));
}

#[tokio::test]
async fn cut_streams_by_fin() {
    let sim = start(config()).await;
    sim.faults().add(Fault::cut(3, Cut::Close));
    let (answer, ended) =
        raw(sim.addr(), &raw_post("/api/generate", &json!({"model": "a", "prompt": "x"}))).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(answer.matches("\"done\":false").count(), 3);
    assert!(answer.ends_with("}\n\r\n") && !answer.contains("\r\n0\r\n"), "no terminal chunk: {answer}");
    assert_eq!(last_outcome(&sim), Outcome::Faulted);
    let stream = within(chat(&sim, "a").open()).await.unwrap();
    let (body, error) = within(stream.until_broken()).await;
    assert_eq!(count_lines(&body), 3);
    assert!(!error.unwrap().is_reset());
    within(sim.wait_until(|state| state.in_flight() == 0)).await;
}

#[tokio::test]
async fn cut_streams_by_rst() {
    let sim = start(config()).await;
    sim.faults().add(Fault::cut(3, Cut::Reset));
    let (answer, ended) =
        raw(sim.addr(), &raw_post("/api/generate", &json!({"model": "a", "prompt": "x"}))).await;
    assert!(is_reset(&ended), "{ended:?}");
    assert_eq!(answer.matches("\"done\":false").count(), 3);
    let stream = within(openai_chat(&sim, "a", true).open()).await.unwrap();
    let (body, error) = within(stream.until_broken()).await;
    assert_eq!(String::from_utf8_lossy(&body).matches("data: ").count(), 3);
    assert!(error.unwrap().is_reset());
    within(sim.wait_until(|state| state.in_flight() == 0)).await;
}

#[tokio::test]
async fn cut_right_after_the_head_and_right_before_the_end() {
    let sim = start(config()).await;
    let request = raw_post("/api/generate", &json!({"model": "a", "prompt": "x"}));
    sim.faults().set(vec![Fault::cut(0, Cut::Close)]);
    let (answer, _) = raw(sim.addr(), &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n"), "{answer}");
    // All 32 tokens and the end, but no terminal chunk.
    sim.faults().set(vec![Fault::cut(33, Cut::Close)]);
    let (answer, _) = raw(sim.addr(), &request).await;
    assert!(answer.contains("\"done\":true") && answer.ends_with("}\n\r\n"), "{answer}");
    // Beyond the end there is nothing to cut.
    sim.faults().set(vec![Fault::cut(34, Cut::Close)]);
    let answer = within(generate(&sim, json!({"model": "a", "prompt": "x"})).send()).await.unwrap();
    assert_eq!(answer.lines().len(), 33);
}

#[tokio::test]
async fn cut_whole_answers_half_way() {
    let sim = start(config()).await;
    for (how, request) in [
        (Cut::Close, raw_post("/api/generate", &json!({"model": "a", "prompt": "x", "stream": false}))),
        (Cut::Reset, VERSION.replace("version", "tags")),
    ] {
        sim.faults().set(vec![Fault::cut(0, how)]);
        let (answer, ended) = raw(sim.addr(), &request).await;
        assert_eq!(is_reset(&ended), how == Cut::Reset, "{ended:?}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
        assert_eq!(last_outcome(&sim), Outcome::Faulted);
    }
}

const DIED: &str = "an error was encountered while running the model: unexpected EOF";

#[tokio::test]
async fn error_lines_on_the_native_api() {
    let sim = start(config()).await;
    sim.faults().add(Fault::error_line(2));
    let answer = within(chat(&sim, "a").send()).await.unwrap();
    let lines = answer.lines();
    assert_eq!((answer.status, lines.len()), (200, 3));
    assert_eq!(lines[2], json!({"error": DIED}));
    let body = json!({"model": "a", "prompt": "x", "stream": false});
    let whole = within(generate(&sim, body).send()).await.unwrap();
    assert_eq!((whole.status, whole.json()), (500, json!({"error": DIED})));
    sim.faults().set(vec![Fault::error_line(0)]);
    let early = within(chat(&sim, "a").send()).await.unwrap();
    assert_eq!((early.status, early.content_type()), (500, "application/json"), "nothing was sent yet");
    assert_eq!(early.text(), json!({"error": DIED}).to_string());
    assert_eq!(sim.state().in_flight(), 0);
}

#[tokio::test]
async fn error_lines_are_swallowed_by_v1_streams() {
    let sim = start(config()).await;
    sim.faults().add(Fault::error_line(2));
    let events = within(openai_chat(&sim, "a", true).send()).await.unwrap().events();
    assert_eq!(events.len(), 3);
    assert!(events[2].contains(r#""delta":{"content":""},"finish_reason":null"#), "{}", events[2]);
    let whole = within(openai_chat(&sim, "a", false).send()).await.unwrap();
    assert_eq!((whole.status, &whole.json()["error"]["message"]), (500, &json!(DIED)));
    sim.faults().set(vec![Fault::error_line(0)]);
    let early = within(openai_chat(&sim, "a", true).send()).await.unwrap();
    assert_eq!((early.status, &early.json()["error"]["type"]), (500, &json!("api_error")));
}

#[tokio::test]
async fn stalls_hold_until_they_are_removed() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_tokens(2).on("/v1"));
    let mut stream = within(openai_chat(&sim, "a", true).open()).await.unwrap();
    let mut read = Vec::new();
    while String::from_utf8_lossy(&read).matches("data: ").count() < 2 {
        read.extend_from_slice(&within(stream.chunk()).await.unwrap().unwrap());
    }
    assert_eq!(sim.state().counters.tokens, 2);
    sim.faults().remove(stall);
    let rest = within(stream.rest()).await.unwrap();
    assert_eq!(rest.events().last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn leaked_slots_hang_the_model_until_it_is_unloaded() {
    let sim = start(config()).await;
    sim.faults().set(vec![Fault::stall_tokens(1).times(1), Fault::leak_slot().times(1)]);
    let mut stream = within(chat(&sim, "a").open()).await.unwrap();
    lines(&mut stream, 1).await;
    drop(stream);
    within(sim.wait_until(|state| state.counters.cancelled == 1 && state.faults[1].hits == 1)).await;
    let hanging = open(chat(&sim, "a"));
    within(sim.wait_until(|state| state.queued() == 1)).await;
    let ps = within(get(&sim.url(), "/api/ps").send()).await.unwrap().json();
    assert_eq!(ps["models"][0]["name"], "a:latest", "looks healthy");
    // Unloading heals, once nobody waits any more.
    let unload = within(generate(&sim, json!({"model": "a", "keep_alive": 0})).send()).await.unwrap();
    assert_eq!(unload.json()["done_reason"], "unload");
    assert!(sim.state().model("a:latest").unwrap().load.loaded && !hanging.is_finished());
    drop(hanging);
    within(sim.wait_until(|state| !state.model("a:latest").unwrap().load.loaded)).await;
    let answer = within(chat(&sim, "a").send()).await.unwrap();
    assert_eq!(answer.lines().last().unwrap()["done"], true);
}

#[tokio::test]
async fn loads_fail() {
    let sim = start(config()).await;
    sim.faults().add(Fault::new(FaultKind::FailLoad { message: Some("no memory".to_owned()) }).times(1));
    let failed = within(chat(&sim, "a").send()).await.unwrap();
    assert_eq!((failed.status, failed.json()), (500, json!({"error": "no memory"})));
    assert_eq!(within(chat(&sim, "a").send()).await.unwrap().status, 200);
    let loads = sim.state().loads;
    assert_eq!((loads.loads, loads.loads_failed), (2, 1));
}

#[tokio::test]
async fn lists_of_models_glitch() {
    let sim = start(config()).await;
    let list = async |path: &str| within(get(&sim.url(), path).send()).await.unwrap();
    let whole = list("/api/tags").await.text();
    sim.faults().set(vec![Fault::empty_tags().times(2)]);
    assert_eq!(list("/api/tags").await.text(), r#"{"models":[]}"#);
    assert_eq!(list("/v1/models").await.json()["data"], json!(null));
    assert_eq!(list("/api/tags").await.text(), whole);
    sim.faults().set(vec![Fault::malformed_tags().times(1)]);
    let broken = list("/api/tags").await;
    assert_eq!((broken.status, broken.json()), (200, json!(null)));
    assert!(whole.starts_with(&broken.text()) && whole.len() > broken.text().len());
    assert_eq!(list("/api/tags").await.text(), whole);
}

#[tokio::test]
async fn faults_over_http() {
    let sim = start(config()).await;
    let control = |method: &str, body: &str| {
        let call = aivonx_simulator::client::Call::new(method.parse().unwrap(), &sim.url(), "/_sim/faults");
        call.body(body.to_owned()).send()
    };
    let hang = r#"[{"kind":"hang"},{"kind":"status","status":503,"path":"/api/chat","count":1}]"#;
    let set = control("PUT", hang).await.unwrap();
    assert_eq!(set.json().as_array().unwrap().len(), 2, "{}", set.text());
    let added = control("POST", r#"{"kind":"cut","after":3,"how":"reset","for":"1h"}"#).await.unwrap();
    assert_eq!(added.json()[2]["for"], "1h", "{}", added.text());
    assert_eq!(control("GET", "").await.unwrap().json(), added.json(), "control is hit by no fault");
    assert_eq!(sim.faults().list().len(), 3);
    for body in ["", "{", r#"{"kind":"hang","pth":"/x"}"#, r#"{"kind":"explode"}"#] {
        let bad = control("PUT", body).await.unwrap();
        assert_eq!(bad.status, 400);
        assert!(bad.json()["error"].is_string());
    }
    assert_eq!(sim.faults().list().len(), 3, "a bad list changes nothing");
    assert_eq!(control("DELETE", "").await.unwrap().status, 204);
    assert_eq!(version(&sim).await.unwrap().status, 200);
    assert_eq!(control("PATCH", "").await.unwrap().status, 405);
    assert_eq!(get(&sim.url(), "/_sim/nothing").send().await.unwrap().status, 404);
}

#[tokio::test]
async fn embedding_routes_are_hit_too() {
    let sim = start(config()).await;
    let embed = || post(&sim.url(), "/api/embed", &json!({"model": "e", "input": "x"})).send();
    sim.faults().add(Fault::fail_load().times(1).on("/api/embed"));
    assert_eq!(embed().await.unwrap().status, 500);
    sim.faults().set(vec![Fault::busy().times(1)]);
    assert_eq!(embed().await.unwrap().status, 503);
    assert_eq!(embed().await.unwrap().status, 200);
}
