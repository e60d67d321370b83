//! How bytes leave a node.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aivonx_simulator::client::{get, post};
use aivonx_simulator::{Fault, Model};
use serde_json::{Value, json};
use support::{chat, config, generate, lines, open, openai_chat, raw, raw_post, start, within};

#[tokio::test]
async fn the_head_comes_with_the_first_token() {
    let sim = start(config()).await;
    let stall = sim.faults().add(Fault::stall_tokens(0));
    let stream = open(chat(&sim, "a"));
    within(sim.wait_until(|state| state.in_flight() == 1)).await;
    assert!(!stream.is_finished());
    sim.faults().remove(stall);
    assert_eq!(stream.done().await.unwrap().status, 200);
}

#[tokio::test]
async fn every_token_is_sent_when_it_is_there() {
    let sim = start(config()).await;
    sim.faults().add(Fault::stall_tokens(3));
    let mut stream = within(chat(&sim, "a").open()).await.unwrap();
    // Three lines arrive while the fourth is held back.
    lines(&mut stream, 3).await;
    let stall = sim.faults().list()[0].id;
    sim.faults().remove(stall);
    lines(&mut stream, 30).await;
    assert!(within(stream.chunk()).await.unwrap().is_none());
}

#[tokio::test]
async fn every_chunk_is_one_line() {
    let sim = start(config()).await;
    let request = raw_post("/api/generate", &json!({"model": "a", "prompt": "hi"}));
    let request = request.replace("\r\nContent-Length", "\r\nConnection: close\r\nContent-Length");
    let (answer, ended) = raw(sim.addr(), &request).await;
    ended.unwrap();
    let (head, mut body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/x-ndjson"), "{head}");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let mut lines = 0;
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            assert_eq!(rest, "\r\n");
            break;
        }
        let chunk = &rest[..size];
        assert!(chunk.ends_with("}\n") && chunk.matches('\n').count() == 1, "{chunk:?}");
        lines += 1;
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
    assert_eq!(lines, 33);
}

#[tokio::test]
async fn nodes_say_the_same_and_models_do_not() {
    let (one, two) = (start(config()).await, start(config().tokens_per_second(5000.0)).await);
    let text = async |sim, model: &str| {
        let body = json!({"model": model, "prompt": "hi", "stream": false});
        within(generate(sim, body).send()).await.unwrap().json()["response"].clone()
    };
    let said = text(&one, "a").await;
    assert_eq!(said, text(&two, "A:latest").await);
    assert_eq!(said.as_str().unwrap().split(' ').count(), 32);
    assert_ne!(said, text(&one, "b").await);
    // A chat is the same on both APIs.
    let native: String = within(chat(&one, "a").send())
        .await
        .unwrap()
        .lines()
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap().to_owned())
        .collect();
    let openai = within(openai_chat(&two, "a", false).send()).await.unwrap().json();
    assert_eq!(openai["choices"][0]["message"]["content"], native);
}

#[tokio::test]
async fn prompt_tokens_take_their_time() {
    let sim = start(config().prompt_time_per_token(std::time::Duration::from_micros(200))).await;
    let body = json!({"model": "a", "prompt": "x".repeat(400), "stream": false});
    let value = within(generate(&sim, body).send()).await.unwrap().json();
    assert_eq!(value["prompt_eval_count"], 101);
    let spent = value["prompt_eval_duration"].as_u64().unwrap();
    assert!(spent >= 101 * 200_000, "{spent}");
}

#[tokio::test]
async fn large_bodies_are_read() {
    let sim = start(config()).await;
    let image = "QUJD".repeat(5 << 20);
    let body = json!({"model": "a", "prompt": "x", "images": [image], "options": {"num_predict": 1}});
    let answer = within(generate(&sim, body).send()).await.unwrap();
    assert_eq!(answer.lines().last().unwrap()["done"], true);
    let request = &sim.requests()[0];
    assert!(request.body_len > 20 << 20);
    assert_eq!(request.body.len(), 64 * 1024);
}

#[tokio::test]
async fn no_models_are_an_empty_list_and_null() {
    let sim = start(config().models(Vec::<Model>::new())).await;
    let tags = within(get(&sim.url(), "/api/tags").send()).await.unwrap();
    assert_eq!(tags.text(), r#"{"models":[]}"#);
    let models = within(get(&sim.url(), "/v1/models").send()).await.unwrap();
    assert_eq!(models.text(), "{\"object\":\"list\",\"data\":null}\n");
    let ps = within(get(&sim.url(), "/api/ps").send()).await.unwrap();
    assert_eq!(ps.text(), r#"{"models":[]}"#);
}

#[tokio::test]
async fn models_and_versions_change_while_it_runs() {
    let sim = start(config()).await;
    sim.set_models(vec![Model::completion("new:1b")]).unwrap();
    sim.set_version("0.33.0");
    let tags = within(get(&sim.url(), "/api/tags").send()).await.unwrap().json();
    let names: Vec<&Value> = tags["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["new:1b"]);
    assert_eq!(support::version(&sim).await.unwrap().json(), json!({"version": "0.33.0"}));
    let gone = within(post(&sim.url(), "/api/show", &json!({"model": "a"})).send()).await.unwrap();
    assert_eq!(gone.status, 404);
    assert!(sim.set_models(vec![Model::completion("no name")]).is_err());
}
