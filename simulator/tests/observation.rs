//! What a test can learn of a node.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aivonx_simulator::client::get;
use aivonx_simulator::{Fault, NODE_HEADER, Outcome};
use serde_json::json;
use support::{chat, config, openai_chat, start, version, within};

#[tokio::test]
async fn every_answer_names_its_node() {
    let sim = start(config().node("node-7")).await;
    for answer in [
        version(&sim).await.unwrap(),
        within(chat(&sim, "a").send()).await.unwrap(),
        within(openai_chat(&sim, "nope", true).send()).await.unwrap(),
        get(&sim.url(), "/nothing").send().await.unwrap(),
    ] {
        assert_eq!(answer.header(NODE_HEADER), "node-7");
    }
    assert_eq!(sim.name(), "node-7");
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let sim = start(config().recorded_body(10usize)).await;
    let call = chat(&sim, "a").header("X-Request-Id", "abc").header("Authorization", "Bearer secret");
    within(call.send()).await.unwrap();
    get(&sim.url(), "/api/ps?x=%20y").send().await.unwrap();
    let requests = sim.requests();
    let [chat, ps] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((chat.method.as_str(), chat.path.as_str()), ("POST", "/api/chat"));
    assert_eq!(chat.headers["x-request-id"], "abc");
    assert_eq!(chat.headers["authorization"], "Bearer secret");
    assert_eq!(chat.body.len(), 10);
    assert!(chat.body_len > 10);
    assert_eq!((chat.status, chat.outcome), (Some(200), Outcome::Completed));
    assert_eq!((ps.method.as_str(), ps.path.as_str()), ("GET", "/api/ps?x=%20y"));
    let found = within(sim.wait_for_request(|request| request.path.starts_with("/api/ps"))).await;
    assert_eq!(found.id, ps.id);
    sim.clear_requests();
    assert!(sim.requests().is_empty());
    assert_eq!(sim.state().counters.requests, 2);
}

#[tokio::test]
async fn state_over_http() {
    let sim = start(config()).await;
    sim.faults().add(Fault::stall_tokens(1).on("/api/chat"));
    let call = chat(&sim, "a").header("authorization", "Bearer secret").header("user-agent", "test/1");
    let _stream = within(call.open()).await.unwrap();
    let answer = get(&sim.url(), "/_sim/state").send().await.unwrap();
    let state = answer.json();
    assert_eq!((&state["node"], &state["listening"]), (&json!("sim"), &json!(true)));
    assert_eq!(state["counters"]["requests"], 1, "this request is not among them");
    assert_eq!(state["models"][0]["name"], "a:latest");
    assert_eq!(state["models"][0]["in_flight"], 1);
    assert_eq!(state["faults"][0]["hits"], 1);
    let request = &state["requests"][0];
    assert_eq!((&request["path"], &request["outcome"]), (&json!("/api/chat"), &json!("pending")));
    let headers = request["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["user-agent", "test/1"])));
    assert!(headers.contains(&json!(["authorization", "(present)"])));
    assert!(!answer.text().contains("secret"));
}

#[tokio::test]
async fn connections_are_counted() {
    let sim = start(config()).await;
    version(&sim).await.unwrap();
    version(&sim).await.unwrap();
    let state = within(sim.wait_until(|state| state.connections == 0)).await;
    assert_eq!(state.counters.connections, 2);
}

#[tokio::test]
async fn shutdown_and_drop_free_the_port_and_cut_streams() {
    for by_drop in [false, true] {
        let sim = start(config()).await;
        sim.faults().add(Fault::stall_tokens(1));
        let stream = within(chat(&sim, "a").open()).await.unwrap();
        let (url, address) = (sim.url(), sim.addr());
        if by_drop {
            drop(sim);
        } else {
            within(sim.shutdown()).await;
        }
        let (_, error) = within(stream.until_broken()).await;
        assert!(error.is_some());
        // The port can be had again, by a node that is asked for just this one.
        let again = within(async {
            loop {
                match aivonx_simulator::Simulator::start(config().listen(address)).await {
                    Ok(sim) => break sim,
                    Err(_) if by_drop => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        assert_eq!(again.url(), url);
        assert_eq!(version(&again).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn wrong_settings_are_told() {
    let sim = start(config()).await;
    let error =
        aivonx_simulator::Simulator::start(config().listen(sim.addr())).await.unwrap_err().to_string();
    assert!(error.contains(&sim.addr().to_string()), "{error}");
    for config in
        [config().node("a\nb"), config().models(vec![aivonx_simulator::Model::completion("a/b/c/d")])]
    {
        assert!(aivonx_simulator::Simulator::start(config).await.is_err());
    }
}
