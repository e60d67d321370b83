//! Another node, while it costs nobody anything.

use crate::kit::{
    Act, Gateway, Node, Seen, chunk, entry, eventually, json_answer, limits, ndjson, post, status,
};
use aivonx_state::table::NodeEntry;

const ASK: &str = r#"{"model":"m"}"#;

/// The entry of a node that is tried before those with a higher place.
fn placed(node: &Node, place: i32) -> NodeEntry {
    NodeEntry { priority: -place, ..entry(node) }
}

/// Three nodes in the order in which they are tried.
async fn three(script: impl Fn(&Seen) -> Vec<Act> + Clone + Send + Sync + 'static) -> (Vec<Node>, Gateway) {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(Node::start(name, script.clone()).await);
    }
    let entries = nodes.iter().enumerate().map(|(place, node)| placed(node, place as i32)).collect();
    let gateway = Gateway::with_entries(limits(), entries).await;
    (nodes, gateway)
}

fn counts(nodes: &[Node]) -> Vec<usize> {
    nodes.iter().map(Node::count).collect()
}

#[tokio::test]
async fn a_node_that_refuses_connections_costs_no_request() {
    let (nodes, gateway) = three(|_| json_answer("{}")).await;
    nodes[0].stop().await;
    nodes[1].stop().await;
    for request in 0..20 {
        let reply = post(gateway.address, "/api/chat", ASK).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-aivonx-node")), (200, Some("ai/c")));
        let attempts = if request == 0 { "3" } else { "1" };
        assert_eq!(reply.header("x-aivonx-attempts"), Some(attempts), "suspects are not asked again");
    }
    assert_eq!(gateway.metric("aivonx_retries_total", &[("reason", "refused")]), 2.0);
    gateway.idle().await;
}

#[tokio::test]
async fn when_nobody_can_be_reached_there_is_no_healthy_node() {
    let (nodes, gateway) = three(|_| json_answer("{}")).await;
    for node in &nodes {
        node.stop().await;
    }
    for _ in 0..2 {
        let reply = post(gateway.address, "/api/chat", ASK).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (503, r#"{"error":"no healthy nodes available"}"#));
        assert!(reply.header("retry-after").is_some());
    }
    gateway.idle().await;
}

#[tokio::test]
async fn the_number_of_attempts_is_bounded() {
    let (nodes, gateway) = {
        let nodes = [Node::answering("a").await, Node::answering("b").await, Node::answering("c").await];
        let entries = nodes.iter().enumerate().map(|(place, node)| placed(node, place as i32)).collect();
        let gateway =
            Gateway::with_entries(aivonx_dataplane::Limits { max_attempts: 2, ..limits() }, entries).await;
        (nodes, gateway)
    };
    nodes[0].stop().await;
    nodes[1].stop().await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-aivonx-attempts")), (503, Some("2")));
    assert_eq!(nodes[2].count(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_head_gets_one_more_node_and_no_third() {
    for end in [Act::Reset, Act::Close] {
        let (nodes, gateway) = three(move |_| vec![end.clone()]).await;
        let reply = post(gateway.address, "/api/chat", ASK).await;
        assert_eq!(reply.status, 502);
        assert_eq!(counts(&nodes), [1, 1, 0]);
        nodes[1].script(|_| json_answer("{\"node\":\"b\"}"));
        assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "b");
        gateway.idle().await;
    }
}

#[tokio::test]
async fn busy_and_failed_loads_get_one_more_node() {
    for (answer, kind) in [("503 Service Unavailable", "busy"), ("500 Internal Server Error", "load_failed")]
    {
        let (nodes, gateway) = three(move |_| status(answer, "{\"error\":\"no\"}")).await;
        nodes[1].script(|_| json_answer("{\"node\":\"b\"}"));
        assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "b");
        assert_eq!(gateway.metric("aivonx_retries_total", &[("reason", kind)]), 1.0);
        nodes[1].script(move |_| status(answer, "{\"error\":\"second\"}"));
        let reply = post(gateway.address, "/api/chat", ASK).await;
        assert_eq!((reply.text(), reply.header("x-aivonx-node")), ("{\"error\":\"second\"}", Some("ai/b")));
        assert!(answer.starts_with(reply.status.as_str()));
        assert_eq!(counts(&nodes), [2, 2, 0]);
        eventually("counted", || gateway.ended("upstream_error") == 1.0).await;
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_model_that_a_node_has_lost_is_found_elsewhere() {
    let (nodes, gateway) = three(|_| status("404 Not Found", "{\"error\":\"model 'm' not found\"}")).await;
    nodes[2].script(|_| json_answer("{\"node\":\"c\"}"));
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.json()["node"], "c");
    assert_eq!(counts(&nodes), [1, 1, 1]);
    nodes[2].stop().await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (404, "{\"error\":\"model 'm' not found\"}"));
}

#[tokio::test]
async fn the_only_nodes_refusal_is_the_answer() {
    for answer in ["503 Service Unavailable", "500 Internal Server Error", "404 Not Found"] {
        let node = Node::start("a", move |_| status(answer, "{\"error\":\"mine\"}")).await;
        let gateway = Gateway::with_nodes(&[&node]).await;
        let reply = post(gateway.address, "/api/chat", ASK).await;
        assert!(answer.starts_with(reply.status.as_str()));
        assert_eq!((reply.text(), node.count()), ("{\"error\":\"mine\"}", 1));
    }
}

#[tokio::test]
async fn a_refusal_is_given_back_when_the_next_node_is_dead() {
    let (nodes, gateway) = three(|_| status("503 Service Unavailable", "{\"error\":\"mine\"}")).await;
    nodes[1].stop().await;
    nodes[2].stop().await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (503, "{\"error\":\"mine\"}"));
    gateway.idle().await;
}

#[tokio::test]
async fn errors_of_the_request_and_begun_answers_are_never_repeated() {
    for answer in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "501 Not Implemented"] {
        let (nodes, gateway) = three(move |_| status(answer, "{}")).await;
        assert!(answer.starts_with(post(gateway.address, "/api/chat", ASK).await.status.as_str()));
        assert_eq!(counts(&nodes), [1, 0, 0], "{answer}");
    }
    let (nodes, gateway) = three(|_| vec![ndjson(), chunk("{\"done\":false}\n"), Act::Reset]).await;
    assert!(post(gateway.address, "/api/chat", ASK).await.text().contains("\"error\""));
    assert_eq!(counts(&nodes), [1, 0, 0]);
}

#[tokio::test]
async fn a_body_is_sent_again_as_it_was() {
    let (nodes, gateway) = three(|_| vec![Act::Reset]).await;
    nodes[1].script(|_| json_answer("{}"));
    let body = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(post(gateway.address, "/api/generate", &body).await.status, 200);
    assert_eq!(nodes[1].seen()[0].body, body);
}

#[tokio::test]
async fn a_node_that_does_not_begin_in_time_is_given_up_and_not_repeated() {
    let (nodes, gateway) = three(|_| vec![Act::Hang]).await;
    let entries = nodes.iter().enumerate().map(|(place, node)| {
        let mut entry = placed(node, place as i32);
        entry.timeouts.first_byte_ms = 50;
        entry
    });
    gateway.publish(entries.collect()).await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!(reply.status, 504);
    assert_eq!(counts(&nodes), [1, 0, 0]);
    eventually("the node is left", || !nodes[0].left().is_empty()).await;
    eventually("counted", || gateway.ended("timed_out") == 1.0).await;
    gateway.idle().await;
}

#[tokio::test]
async fn a_node_that_cannot_be_connected_to_in_time_costs_no_request() {
    // A listener whose backlog is full answers no connect.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        stream.set_nonblocking(true).unwrap();
        // In progress is all that is wanted.
        let _ = stream.connect(&address.into());
        waiting.push(stream);
    }
    let node = Node::answering("b").await;
    let mut silent = placed(&node, 0);
    silent.id = "ai/a".into();
    silent.url = format!("http://{address}");
    silent.timeouts.connect_ms = 50;
    let gateway = Gateway::with_entries(limits(), vec![silent, placed(&node, 1)]).await;
    let reply = post(gateway.address, "/api/chat", ASK).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-aivonx-node")), (200, Some("ai/b")));
    assert_eq!(gateway.metric("aivonx_upstream_errors_total", &[("kind", "connect_timeout")]), 1.0);
}

#[tokio::test]
async fn a_redirect_of_a_node_is_not_followed() {
    let other = Node::answering("other").await;
    let location = other.address;
    let node = Node::start("a", move |_| {
        vec![Act::Send(format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{location}/api/chat\r\ncontent-length: 0\r\n\r\n").into())]
    })
    .await;
    let gateway = Gateway::with_nodes(&[&node]).await;
    assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 307);
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn retries_of_all_requests_together_have_a_budget() {
    let (_nodes, gateway) = three(|_| status("503 Service Unavailable", "{\"error\":\"no\"}")).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..400 {
        assert_eq!(post(gateway.address, "/api/chat", ASK).await.status, 503);
    }
    // A reserve of 100, one for five requests, and ten for each second.
    let most = 100.0 + 400.0 / 5.0 + 10.0 * (begun.elapsed().as_secs_f64() + 1.0);
    let retries = gateway.metric("aivonx_retries_total", &[]);
    assert!((100.0..=most).contains(&retries) && retries < 400.0, "{retries}");
}
