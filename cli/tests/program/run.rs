//! `aivonx run`: a whole gateway.

use crate::gateway::Gateway;
use crate::{aivonx, finish, stderr};
use aivonx_simulator::{Config, Model, Simulator};
use aivonx_tests::process::Signal;
use aivonx_tests::{http, ports};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

fn manifest(name: &str, url: &str) -> String {
    format!(
        "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata: {{name: {name}}}\nspec:\n  url: {url}\n"
    )
}

async fn node(model: &str) -> Simulator {
    Simulator::start(Config::default().models(vec![Model::completion(model)])).await.unwrap()
}

/// A node whose answers have so many tokens, ten in a second.
async fn slow_node(model: &str, tokens: u64) -> Simulator {
    let config = Config::default().models(vec![Model::completion(model)]).reply_tokens(tokens);
    Simulator::start(config.tokens_per_second(10.0)).await.unwrap()
}

#[tokio::test]
async fn the_demo_streams_the_chat_that_it_advertises() {
    let mut gateway = Gateway::start(&["--demo"], &[]).await.unwrap();
    let (url, body) = gateway.advertised().await.unwrap();
    assert_eq!(url, format!("{}/api/chat", gateway.url));
    let log = gateway.log();
    for node in ["default/demo-1", "default/demo-2"] {
        assert!(log.contains(node), "{log}");
    }
    // At once, with no second try: what is printed works.
    let mut stream = http::stream_json(&url, &body).await.unwrap();
    assert_eq!(stream.status, 200);
    assert!(stream.headers["x-aivonx-node"].to_str().unwrap().starts_with("default/demo-"));
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        chunks.push(chunk);
    }
    let (first, last) = (chunks.first().unwrap(), chunks.last().unwrap());
    assert!(chunks.len() > 10, "{} chunks", chunks.len());
    assert!((last.at - first.at).as_millis() > 500, "the tokens came at once");
    let lines: Vec<_> = chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["done"], true);

    let metrics = http::get(format!("{}/metrics", gateway.admin)).await.unwrap();
    assert!(metrics.text().unwrap().contains("aivonx_build_info{program=\"aivonx\""));
    assert_eq!(http::get(format!("{}/readyz", gateway.admin)).await.unwrap().status, 200);
}

#[tokio::test]
async fn files_are_followed_and_a_broken_edit_changes_nothing() {
    let (one, two) = (node("one").await, node("two").await);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("one.yaml", manifest("one", &one.url()));
    let mut gateway = Gateway::start(&["-f", folder.path().to_str().unwrap()], &[]).await.unwrap();
    gateway.offers(&["one:latest"]).await.unwrap();

    write("two.yml", manifest("two", &two.url()));
    gateway.offers(&["one:latest", "two:latest"]).await.unwrap();

    let broken = folder.path().join("two.yml");
    write("two.yml", manifest("two", &two.url()).replace("url:", "ulr:"));
    gateway.says(&format!("{}:5: spec.ulr: ", broken.display())).await.unwrap();
    assert_eq!(gateway.models().await.unwrap().len(), 2, "{}", gateway.log());

    // The way an editor saves: another file under the same name.
    write("new", manifest("two", &two.url()) + "---\n" + &manifest("three", &two.url()));
    std::fs::rename(folder.path().join("new"), &broken).unwrap();
    gateway.says("the files were read again nodes=3").await.unwrap();

    std::fs::remove_file(folder.path().join("one.yaml")).unwrap();
    gateway.offers(&["two:latest"]).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_down_is_told_and_waited_for() {
    let port = ports::free().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let mut gateway = Gateway::start(&["--node", &url], &[]).await.unwrap();
    let told = gateway.says(&format!("× default/127.0.0.1-{port}  {url}: ")).await.unwrap();
    assert!(told.contains("nobody listens at the address → start Ollama there (`ollama serve`)"), "{told}");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let config = Config::default().listen(address).models(vec![Model::completion("late")]);
    let _node = Simulator::start(config).await.unwrap();
    let (url, body) = gateway.advertised().await.unwrap();
    assert_eq!(body["model"], "late:latest");
    assert_eq!(http::post_json(url, &body).await.unwrap().status, 200);
}

#[tokio::test]
async fn without_flags_the_node_is_the_one_of_ollama_host() {
    let node = node("local").await;
    let host = format!("0.0.0.0:{}", node.addr().port());
    let mut gateway = Gateway::start(&[], &[("OLLAMA_HOST", &host)]).await.unwrap();
    assert_eq!(gateway.advertised().await.unwrap().1["model"], "local:latest");
    assert!(
        gateway.log().contains(&format!("default/127.0.0.1-{}", node.addr().port())),
        "{}",
        gateway.log()
    );
}

#[tokio::test]
async fn a_signal_lets_a_stream_finish() {
    let node = slow_node("slow", 15).await;
    let mut gateway = Gateway::start(&["--node", &node.url()], &[]).await.unwrap();
    let (url, body) = gateway.advertised().await.unwrap();
    let mut stream = http::stream_json(url, &body).await.unwrap();
    let mut last = stream.next_line().await.unwrap().unwrap();
    gateway.signal(Signal::Term).unwrap();
    gateway.says("draining").await.unwrap();
    while let Some(line) = stream.next_line().await.unwrap() {
        last = line;
    }
    assert_eq!(last.json().unwrap()["done"], true);
    assert_eq!(gateway.ended().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_hastens_the_end() {
    let node = slow_node("endless", 100_000).await;
    let mut gateway = Gateway::start(&["--node", &node.url()], &[]).await.unwrap();
    let (url, body) = gateway.advertised().await.unwrap();
    let mut stream = http::stream_json(url, &body).await.unwrap();
    stream.next_line().await.unwrap().unwrap();
    gateway.signal(Signal::Int).unwrap();
    gateway.says("draining").await.unwrap();
    gateway.signal(Signal::Int).unwrap();
    let status = gateway.ended().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
}

#[tokio::test]
async fn a_taken_address_is_a_wrong_setting() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--admin-listen"), ("--admin-listen", "--listen")] {
        let output = finish(aivonx(&["run", flag, &taken, other, "127.0.0.1:0"])).await;
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(flag) && said.contains(&taken), "{said}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_node_at_the_start_is_a_wrong_setting() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("fleet.yaml");
    std::fs::write(&broken, manifest("gpu", "ftp://gpu")).unwrap();
    let gone = folder.path().join("gone.yaml");
    let refused = async |path: &Path| {
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let output = finish(aivonx(&[&["run", "-f", path.to_str().unwrap()], &ports[..]].concat())).await;
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let said = refused(&broken).await;
    assert!(
        said.starts_with(&format!("error: {}:5: spec.url: url must start with http://", broken.display())),
        "{said}"
    );
    let said = refused(&gone).await;
    assert!(said.starts_with(&format!("error: {}: cannot be read: No such file", gone.display())), "{said}");
}
