//! What is in memory, as seen from outside.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aivonx_simulator::client::{get, post};
use aivonx_simulator::{Config, Fault, Model, Simulator};
use serde_json::{Value, json};
use support::{chat, config, generate, openai_chat, send, start, within};

async fn ps(sim: &Simulator) -> Vec<Value> {
    let answer = get(&sim.url(), "/api/ps").send().await.unwrap();
    answer.json()["models"].as_array().unwrap().clone()
}

async fn names(sim: &Simulator) -> Vec<String> {
    ps(sim).await.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

async fn load(sim: &Simulator, body: Value) {
    let answer = within(generate(sim, body).send()).await.unwrap();
    assert_eq!(answer.json()["done_reason"], "load", "{}", answer.text());
}

#[tokio::test]
async fn a_loading_model_is_not_listed() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_load());
    let loading = send(generate(&sim, json!({"model": "a"})));
    within(sim.wait_until(|state| state.model("a:latest").unwrap().load.loading)).await;
    assert!(ps(&sim).await.is_empty());
    assert!(!loading.is_finished());
    sim.faults().remove(stall);
    assert_eq!(loading.done().await.unwrap().json()["done_reason"], "load");
    assert_eq!(names(&sim).await, ["a:latest"]);
}

#[tokio::test]
async fn a_full_node_evicts_the_shortest_keep_alive() {
    let sim = start(config().max_loaded(2usize)).await;
    load(&sim, json!({"model": "a", "keep_alive": "1h"})).await;
    let embed = post(&sim.url(), "/api/embed", &json!({"model": "e"}));
    assert_eq!(within(embed.send()).await.unwrap().json()["embeddings"], json!([]));
    assert_eq!(names(&sim).await, ["a:latest", "e:latest"], "sorted by when they leave");
    load(&sim, json!({"model": "b", "keep_alive": -1})).await;
    assert_eq!(names(&sim).await, ["b:latest", "a:latest"]);
    assert_eq!(sim.state().loads.evictions, 1);
}

#[tokio::test]
async fn vram_bounds_what_is_loaded() {
    let models = vec![Model::completion("a").size(60u64), Model::completion("b").size(50u64)];
    let sim = start(Config::default().models(models).vram(100u64)).await;
    load(&sim, json!({"model": "a"})).await;
    load(&sim, json!({"model": "b"})).await;
    assert_eq!(names(&sim).await, ["b:latest"]);
    let model = &ps(&sim).await[0];
    assert_eq!((&model["size"], &model["size_vram"]), (&json!(50), &json!(50)));
}

#[tokio::test]
async fn a_model_larger_than_vram_lies_in_it_in_part() {
    let sim = start(Config::default().models(vec![Model::completion("a").size(60u64)]).vram(40u64)).await;
    load(&sim, json!({"model": "a"})).await;
    let model = &ps(&sim).await[0];
    assert_eq!((&model["size"], &model["size_vram"]), (&json!(60), &json!(40)));
}

#[tokio::test]
async fn another_num_ctx_reloads_and_v1_cannot_set_it() {
    let sim = start(config()).await;
    load(&sim, json!({"model": "a", "options": {"num_ctx": 8192}})).await;
    assert_eq!(ps(&sim).await[0]["context_length"], 8192);
    load(&sim, json!({"model": "a", "options": {"num_ctx": 8192}})).await;
    assert_eq!(sim.state().loads.loads, 1);
    within(openai_chat(&sim, "a", false).send()).await.unwrap();
    assert_eq!(ps(&sim).await[0]["context_length"], 4096);
    let loads = sim.state().loads;
    assert_eq!((loads.loads, loads.reloads), (2, 1));
}

#[tokio::test]
async fn keep_alive_zero_unloads_after_the_reply() {
    let sim = start(config()).await;
    let body = json!({"model": "a", "prompt": "hi", "keep_alive": 0});
    let answer = within(generate(&sim, body).send()).await.unwrap();
    assert_eq!(answer.lines().last().unwrap()["done_reason"], "stop");
    within(sim.wait_until(|state| state.loads.unloads == 1)).await;
    assert!(names(&sim).await.is_empty());
}

#[tokio::test]
async fn idle_models_leave_by_themselves() {
    let sim = start(config()).await;
    load(&sim, json!({"model": "a", "keep_alive": "30ms"})).await;
    within(sim.wait_until(|state| state.loads.unloads == 1)).await;
    assert!(names(&sim).await.is_empty());
}

#[tokio::test]
async fn a_cold_load_waits_for_a_busy_model_and_then_goes_ahead() {
    let sim = start(config().max_loaded(1usize)).await;
    let stall = sim.faults().add(Fault::stall_tokens(1).times(1));
    let busy = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    let cold = send(chat(&sim, "b"));
    within(sim.wait_until(|state| state.model("b:latest").unwrap().load.queued == 1)).await;
    assert_eq!(names(&sim).await, ["a:latest"]);
    sim.faults().remove(stall);
    busy.done().await.unwrap();
    cold.done().await.unwrap();
    assert_eq!(names(&sim).await, ["b:latest"]);
}

#[tokio::test]
async fn names_of_one_digest_share_a_runner() {
    let digest = "d".repeat(64);
    let models =
        vec![Model::completion("a").digest(digest.clone()), Model::completion("copy").digest(digest.clone())];
    let sim = start(Config::default().models(models)).await;
    load(&sim, json!({"model": "copy"})).await;
    load(&sim, json!({"model": "a"})).await;
    assert_eq!(names(&sim).await, ["copy:latest"], "the name that caused the load");
    assert_eq!(sim.state().loads.loads, 1);
}

#[tokio::test]
async fn the_load_queue_is_bounded() {
    let sim = start(config().max_queue(1usize)).await;
    sim.faults().add(Fault::stall_load());
    let _loading = send(chat(&sim, "a"));
    within(sim.wait_until(|state| state.model("a:latest").unwrap().load.loading)).await;
    let _queued = send(chat(&sim, "b"));
    within(sim.wait_until(|state| state.model("b:latest").unwrap().load.queued == 1)).await;
    let refused = within(chat(&sim, "b").send()).await.unwrap();
    assert_eq!(refused.status, 503);
    let text = "server busy, please try again.  maximum pending requests exceeded";
    assert_eq!(refused.json(), json!({"error": text}));
}
