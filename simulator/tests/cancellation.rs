//! A client that leaves frees what it held, at every stage.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use aivonx_simulator::client::post;
use aivonx_simulator::{Fault, Outcome};
use serde_json::json;
use support::{chat, config, generate, lines, open, openai_chat, send, start, within};

#[tokio::test]
async fn during_the_stream_the_slot_is_freed_and_the_tokens_stop() {
    let sim = start(config().tokens_per_second(200.0).reply_tokens(u64::MAX)).await;
    for _ in 0..3 {
        let mut stream = within(chat(&sim, "a").open()).await.unwrap();
        lines(&mut stream, 1).await;
        drop(stream);
        within(sim.wait_until(|state| state.in_flight() == 0)).await;
    }
    within(sim.wait_until(|state| state.counters.cancelled == 3)).await;
    assert!(sim.requests().iter().all(|request| request.outcome == Outcome::Cancelled));
    // Nobody generates any more: the count stands still while another request runs its course.
    let before = sim.state().counters.tokens;
    let body = json!({"model": "a", "prompt": "x", "options": {"num_predict": 5}});
    within(generate(&sim, body).send()).await.unwrap();
    assert_eq!(sim.state().counters.tokens, before + 5);
}

#[tokio::test]
async fn during_a_stall() {
    let sim = start(config()).await;
    sim.faults().add(Fault::stall_tokens(2));
    let mut stream = within(openai_chat(&sim, "a", true).open()).await.unwrap();
    within(stream.chunk()).await.unwrap();
    drop(stream);
    within(sim.wait_until(|state| state.in_flight() == 0 && state.counters.cancelled == 1)).await;
}

#[tokio::test]
async fn before_the_whole_answer() {
    let sim = start(config()).await;
    sim.faults().add(Fault::stall_tokens(2));
    let body = json!({"model": "a", "prompt": "x", "stream": false});
    let waiting = send(generate(&sim, body));
    within(sim.wait_until(|state| state.counters.tokens == 2)).await;
    drop(waiting);
    within(sim.wait_until(|state| state.in_flight() == 0 && state.counters.cancelled == 1)).await;
}

#[tokio::test]
async fn while_the_prompt_is_evaluated() {
    let sim = start(config().prompt_time_per_token(Duration::from_secs(3600))).await;
    let waiting = open(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    drop(waiting);
    within(sim.wait_until(|state| state.in_flight() == 0 && state.counters.cancelled == 1)).await;
}

#[tokio::test]
async fn while_queued_and_nobody_else_is_touched() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_tokens(1).times(1));
    let first = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    let leaves = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.queued() == 1)).await;
    let stays = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.queued() == 2)).await;
    drop(leaves);
    within(sim.wait_until(|state| state.queued() == 1)).await;
    sim.faults().remove(stall);
    first.done().await.unwrap();
    assert_eq!(stays.done().await.unwrap().lines().last().unwrap()["done"], true);
    let outcomes: Vec<_> = sim.requests().iter().map(|request| request.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed, Outcome::Cancelled, Outcome::Completed]);
}

#[tokio::test]
async fn during_the_load_the_load_is_aborted() {
    let sim = start(config().load_time(Duration::from_secs(3600))).await;
    let waiting = open(chat(&sim, "a"));
    within(sim.wait_until(|state| state.model("a:latest").unwrap().load.loading)).await;
    drop(waiting);
    let state = within(sim.wait_until(|state| state.loads.loads_aborted == 1)).await;
    let load = &state.model("a:latest").unwrap().load;
    assert!(!load.loaded && !load.loading);
}

#[tokio::test]
async fn while_a_batch_is_embedded() {
    let sim = start(config().prompt_time_per_token(Duration::from_secs(3600))).await;
    let waiting = send(post(&sim.url(), "/api/embed", &json!({"model": "e", "input": ["x", "y", "z"]})));
    within(sim.wait_until(|state| state.in_flight() == 1 && state.queued() == 2)).await;
    drop(waiting);
    within(sim.wait_until(|state| state.in_flight() == 0 && state.queued() == 0)).await;
}
