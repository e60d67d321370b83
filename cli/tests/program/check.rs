//! `aivonx check` on real stores, a real API server, and nodes.

use crate::{SECRET_KEY, aivonx, finish, stderr, stdout};
use aivonx_crds::OllamaNode;
use aivonx_simulator::{Config, Model, Simulator};
use aivonx_tests::{KubeApi, Postgres, Redis, ports};
use kube::CustomResourceExt as _;
use std::process::{Command, Output};
use std::time::Duration;
use tokio::time::Instant;

async fn check(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command: Command = aivonx(&[&["check"], arguments].concat());
    command.envs(variables.iter().copied());
    finish(command).await
}

/// The line of a subject.
#[track_caller]
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
    found.unwrap_or_else(|| panic!("no line for {name} in:\n{text}"))
}

#[tokio::test]
async fn what_is_missing_is_asked_for_by_its_name() {
    let output = check(&["--only", "secret-key,redis,postgres,api-server"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert_eq!(line(&text, "secret-key"), "× secret-key  AIVONX_SECRET_KEY environment variable is required");
    assert!(
        line(&text, "redis").starts_with("× redis       AIVONX_REDIS_URL environment variable is required"),
        "{text}"
    );
    assert!(
        line(&text, "postgres")
            .starts_with("× postgres    AIVONX_DATABASE_URL environment variable is required"),
        "{text}"
    );
    assert!(line(&text, "api-server").starts_with("× api-server  no kubeconfig"), "{text}");
    assert!(text.ends_with("4 of 4 checks found something wrong.\n"), "{text}");
}

#[tokio::test]
async fn stores_that_work_are_good_and_only_a_migration_is_missing() {
    let (redis, postgres) = (Redis::start().await.unwrap(), Postgres::start().await.unwrap());
    let variables = [
        ("AIVONX_SECRET_KEY", SECRET_KEY),
        ("AIVONX_REDIS_URL", &redis.url()),
        ("AIVONX_DATABASE_URL", &postgres.url()),
    ];
    let output = check(&[], &variables).await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(line(&text, "secret-key"), "√ secret-key  set, and long enough");
    assert!(line(&text, "redis").starts_with("√ redis"), "{text}");
    assert!(line(&text, "redis").contains("may be written to, no routing table yet"), "{text}");
    assert!(
        line(&text, "postgres").ends_with("answers, and has no schema yet → run `aivonx migrate`"),
        "{text}"
    );
    assert!(line(&text, "api-server").starts_with("- api-server  no kubeconfig"), "{text}");
    assert!(line(&text, "nodes").starts_with("- nodes"), "{text}");
    assert!(!text.contains(SECRET_KEY) && !text.contains('\u{1b}'), "{text}");

    let mut migrate = aivonx(&["migrate"]);
    migrate.env("AIVONX_DATABASE_URL", postgres.url());
    assert_eq!(finish(migrate).await.status.code(), Some(0));
    let output = check(&["--output", "json"], &variables).await;
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ok"], true);
    let subjects: Vec<_> =
        value["checks"].as_array().unwrap().iter().map(|check| &check["subject"]).collect();
    assert_eq!(subjects, ["secret-key", "redis", "postgres", "api-server", "nodes"]);
    assert!(value["checks"][2]["message"].as_str().unwrap().contains("schema version "));
    // What was written to see whether writing is allowed does not stay.
    aivonx_tests::wait::eventually("Redis is empty again", Duration::from_secs(5), async || {
        let keys: u64 = redis.command(&["DBSIZE"]).await?;
        anyhow::ensure!(keys == 0, "{keys} keys");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_told_with_the_cure() {
    let redis = Redis::start_with_password("hunter2").await.unwrap();
    let only = ["--only", "redis"];
    let open = redis.url().replace(":hunter2@", "");
    let output = check(&only, &[("AIVONX_REDIS_URL", &open)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("→ put the right user and password into AIVONX_REDIS_URL"),
        "{}",
        stdout(&output)
    );

    let wrong = redis.url().replace("hunter2", "wrong-password");
    let output = check(&only, &[("AIVONX_REDIS_URL", &wrong)]).await;
    assert!(stdout(&output).contains("→ put the right user and password"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("wrong-password"), "{}", stdout(&output));

    redis.command::<String>(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let output = check(&only, &[("AIVONX_REDIS_URL", &redis.url())]).await;
    assert!(stdout(&output).contains("→ this is a replica: name the primary"), "{}", stdout(&output));
    redis.command::<String>(&["REPLICAOF", "NO", "ONE"]).await.unwrap();

    redis.command::<u64>(&["HSET", "{aivonx}:table:head", "epoch", "x"]).await.unwrap();
    let output = check(&only, &[("AIVONX_REDIS_URL", &redis.url())]).await;
    assert!(stdout(&output).contains("→ delete the keys that begin with {aivonx}"), "{}", stdout(&output));
    assert!(!stdout(&output).contains("hunter2"), "{}", stdout(&output));
}

#[tokio::test]
async fn what_is_down_is_told_with_the_cure() {
    let (redis, postgres, node) = (ports::free().unwrap(), ports::free().unwrap(), ports::free().unwrap());
    let variables = [
        ("AIVONX_REDIS_URL", format!("redis://127.0.0.1:{redis}")),
        ("AIVONX_DATABASE_URL", format!("postgres://me:hunter2@127.0.0.1:{postgres}/aivonx")),
        ("AIVONX_NODE", format!("http://127.0.0.1:{node}")),
        ("AIVONX_SECRET_KEY", "short".to_owned()),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let output = check(&[], &variables).await;
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(line(&text, "secret-key").contains("has 5 characters and needs at least 32"), "{text}");
    assert!(line(&text, "redis").contains("→ start Redis there, or set AIVONX_REDIS_URL"), "{text}");
    assert!(line(&text, "postgres").contains("→ start Postgres there, or set AIVONX_DATABASE_URL"), "{text}");
    let node = format!("default/127.0.0.1-{node}");
    assert!(line(&text, &node).contains("nobody listens at the address → start Ollama there"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_store_that_hangs_takes_no_longer_than_the_timeout() {
    let (mut redis, mut postgres) = (Redis::start().await.unwrap(), Postgres::start().await.unwrap());
    let variables = [("AIVONX_REDIS_URL", &*redis.url()), ("AIVONX_DATABASE_URL", &*postgres.url())];
    redis.process().pause().unwrap();
    postgres.process().pause().unwrap();
    let start = Instant::now();
    let output = check(&["--only", "redis,postgres", "--timeout", "400ms"], &variables).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    redis.process().resume().unwrap();
    postgres.process().resume().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert_eq!(text.matches("no answer within 400ms").count(), 2, "{text}");
}

#[tokio::test]
async fn the_api_server_is_asked_for_what_the_controller_needs() {
    let mut api = KubeApi::start().await.unwrap();
    let kubeconfigs = ["admin", "dev"].map(|user| api.kubeconfig(user).display().to_string());
    let [admin, dev] = &kubeconfigs;
    let check = async |kubeconfig: &str, arguments: &[&str]| {
        let arguments = [&["--only", "api-server"], arguments].concat();
        let output = check(&arguments, &[("KUBECONFIG", kubeconfig)]).await;
        (output.status.code(), stdout(&output))
    };
    let (code, text) = check(admin, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "api-server").contains("ollamanodes.aivonx.io is not installed → apply "), "{text}");

    let definition = serde_json::to_string(&OllamaNode::crd()).unwrap();
    api.apply("admin", &definition).await.unwrap();
    let established = ["wait", "--for=condition=Established", "crd/ollamanodes.aivonx.io", "--timeout=30s"];
    api.kubectl_ok("admin", &established).await.unwrap();
    let node = serde_json::json!({
        "apiVersion": "aivonx.io/v1alpha1",
        "kind": "OllamaNode",
        "metadata": { "name": "gpu-1", "namespace": "default" },
        "spec": { "url": "http://10.0.0.7:11434" },
    });
    api.apply("admin", &node.to_string()).await.unwrap();
    let (code, text) = check(admin, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let good = line(&text, "api-server");
    assert!(good.starts_with(&format!("√ api-server  {}: Kubernetes v1.", api.url())), "{text}");
    assert!(good.ends_with(", 1 OllamaNode"), "{text}");

    let (code, text) = check(dev, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "api-server").contains("→ bind this user to a role that may get and list"), "{text}");

    let unknown = std::fs::read_to_string(admin).unwrap().replace("admin-token", "nobody-token");
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("nobody.kubeconfig");
    std::fs::write(&nobody, unknown).unwrap();
    let (_, text) = check(nobody.to_str().unwrap(), &[]).await;
    assert!(line(&text, "api-server").contains("does not accept the credentials →"), "{text}");

    api.process().pause().unwrap();
    let (code, text) = check(admin, &["--timeout", "400ms"]).await;
    api.process().resume().unwrap();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        line(&text, "api-server").contains("no answer within 400ms → check the kubeconfig's server"),
        "{text}"
    );

    api.kill().unwrap();
    let (code, text) = check(admin, &[]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(line(&text, "api-server").contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_wrong_even_if_nobody_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    for text in [None, Some("apiVersion: ["), Some("apiVersion: v1\nkind: Config\n")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let output = check(&["--only", "api-server"], &[("KUBECONFIG", file.to_str().unwrap())]).await;
        assert_eq!(output.status.code(), Some(1));
        let text = stdout(&output);
        assert!(
            line(&text, "api-server").starts_with("× api-server  the kubeconfig cannot be used: "),
            "{text}"
        );
    }
}

#[tokio::test]
async fn nodes_are_asked_for_their_version_and_models() {
    let models = vec![Model::completion("llama3.2"), Model::embedding("all-minilm")];
    let node = Simulator::start(Config::default().version("0.12.3").models(models)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    let manifest = |name: &str, url: &str| {
        format!(
            "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata: {{name: {name}}}\nspec: {{url: {url}}}\n"
        )
    };
    std::fs::write(&file, manifest("gpu-1", &node.url())).unwrap();
    let file = file.to_str().unwrap();

    let output = check(&["-f", file], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let expected = format!("√ default/gpu-1  {}: Ollama 0.12.3, 2 models", node.url());
    assert_eq!(line(&stdout(&output), "default/gpu-1"), expected);

    // As `aivonx run` would find it.
    let output = check(&[], &[("OLLAMA_HOST", &node.addr().to_string())]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("√ default/127.0.0.1-"), "{}", stdout(&output));

    std::fs::write(file, manifest("gpu-1", "http://169.254.169.254")).unwrap();
    let output = check(&["-f", file, "--only", "nodes"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with(&format!("× nodes  {file}:4: spec.url: ")), "{}", stdout(&output));
}

#[tokio::test]
async fn a_node_that_hangs_takes_no_longer_than_the_timeout() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let output = check(&["--only", "nodes", "--node", &url, "--timeout", "400ms"], &[]).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("within 400ms → look at the log of that server"), "{}", stdout(&output));
}
