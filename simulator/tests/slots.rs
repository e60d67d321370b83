//! Slots: who is served when.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aivonx_simulator::{Config, Fault, Model, Outcome};
use serde_json::{Value, json};
use support::{chat, config, generate, open, send, start, within};

#[tokio::test]
async fn one_slot_serves_one_request_at_a_time_in_the_order_of_arrival() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_tokens(1).times(1));
    let first = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    let mut queued = Vec::new();
    for waiting in 1..=3 {
        queued.push(send(chat(&sim, "a")));
        let state = within(sim.wait_until(|state| state.queued() == waiting)).await;
        assert_eq!(state.in_flight(), 1);
    }
    assert!(!first.is_finished() && queued.iter().all(|request| !request.is_finished()));
    sim.faults().remove(stall);
    // By the node's own clock nobody began before the one ahead had ended.
    let mut ended = created_at(first.done().await.unwrap().lines().last().unwrap());
    for request in queued {
        let lines = request.done().await.unwrap().lines();
        assert!(created_at(&lines[0]) >= ended);
        ended = created_at(lines.last().unwrap());
    }
    within(sim.wait_until(|state| state.in_flight() == 0 && state.counters.completed == 4)).await;
}

fn created_at(line: &Value) -> String {
    let time: &str = line["created_at"].as_str().unwrap();
    // Padded, so that texts compare as times do.
    let (seconds, fraction) = time.trim_end_matches('Z').split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}")
}

#[tokio::test]
async fn two_slots_serve_two() {
    let sim = start(config().slots(2usize)).await;
    sim.faults().add(Fault::stall_tokens(1));
    let _streams = [open(chat(&sim, "a")), open(chat(&sim, "a")), open(chat(&sim, "a"))];
    let state = within(sim.wait_until(|state| state.in_flight() == 2 && state.queued() == 1)).await;
    let load = &state.model("a:latest").unwrap().load;
    assert_eq!((load.slots, load.loaded), (2, true));
}

#[tokio::test]
async fn models_do_not_share_slots() {
    let sim = start(config()).await;
    sim.faults().add(Fault::stall_tokens(0).times(1));
    let _stalled = open(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    let answer = within(chat(&sim, "b").send()).await.unwrap();
    assert_eq!(answer.lines().last().unwrap()["done"], true);
}

#[tokio::test]
async fn embedding_models_have_one_slot_and_texts_take_turns() {
    let mut model = Model::embedding("e");
    model.embedding_length = 8;
    let config = Config::default().models(vec![model]).slots(4usize);
    let sim = start(config.prompt_time_per_token(std::time::Duration::from_secs(3600))).await;
    let body = json!({"model": "e", "input": ["x", "y", "z"]});
    let _batch = send(aivonx_simulator::client::post(&sim.url(), "/api/embed", &body));
    let state = within(sim.wait_until(|state| state.in_flight() == 1 && state.queued() == 2)).await;
    assert_eq!(state.model("e:latest").unwrap().load.slots, 1);
}

#[tokio::test]
async fn who_waits_for_a_slot_holds_the_model() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_tokens(0).times(1));
    let first = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    let second = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.queued() == 1)).await;
    let unload = generate(&sim, json!({"model": "a", "keep_alive": 0})).send().await.unwrap();
    assert_eq!(unload.json()["done_reason"], "unload", "answered at once");
    sim.faults().remove(stall);
    first.done().await.unwrap();
    assert_eq!(second.done().await.unwrap().lines().last().unwrap()["done"], true);
    // Then it goes.
    within(sim.wait_until(|state| !state.model("a:latest").unwrap().load.loaded)).await;
    assert!(sim.requests().iter().all(|request| request.outcome == Outcome::Completed));
}
