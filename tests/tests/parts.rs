//! The harness itself: each part starts, answers, is killed, comes back, and leaves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aivonx_tests::process::{Child, Signal};
use aivonx_tests::wait::eventually;
use aivonx_tests::{KubeApi, Ollama, Postgres, Redis, http, ports};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(10);
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn redis_comes_back_empty() -> Result<()> {
    let mut redis = Redis::start().await?;
    redis.command::<String>(&["SET", "key", "value"]).await?;
    assert_eq!(redis.command::<String>(&["GET", "key"]).await?, "value");
    redis.flushall().await?;
    assert_eq!(redis.command::<i64>(&["DBSIZE"]).await?, 0);

    redis.command::<String>(&["SET", "key", "value"]).await?;
    redis.kill()?;
    assert!(redis.command::<String>(&["PING"]).await.is_err());
    redis.restart().await?;
    assert_eq!(redis.command::<i64>(&["DBSIZE"]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn redis_can_demand_a_password() -> Result<()> {
    let redis = Redis::start_with_password("secret").await?;
    assert_eq!(redis.command::<String>(&["PING"]).await?, "PONG");
    let open = redis::Client::open(redis.url().replace(":secret@", ""))?;
    let refused = match open.get_multiplexed_async_connection().await {
        Ok(mut connection) => redis::cmd("PING").query_async::<String>(&mut connection).await,
        Err(error) => Err(error),
    };
    assert!(refused.is_err(), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_paused_part_answers_when_it_goes_on() -> Result<()> {
    let mut redis = Redis::start().await?;
    redis.process().pause()?;
    assert!(timeout(Duration::from_millis(300), redis.command::<String>(&["PING"])).await.is_err());
    redis.process().resume()?;
    assert_eq!(redis.command::<String>(&["PING"]).await?, "PONG");
    redis.process().pause()?; // and dropping it does not hang
    Ok(())
}

#[tokio::test]
async fn postgres_keeps_its_data() -> Result<()> {
    let mut postgres = Postgres::start().await?;
    postgres.execute("create table kept (n int); insert into kept values (1)").await?;
    postgres.kill()?;
    assert!(postgres.execute("").await.is_err());
    postgres.restart().await?;
    postgres.execute("insert into kept select count(*) + 1 from kept").await?;
    postgres.execute("do $$ begin assert (select max(n) from kept) = 2; end $$").await?;
    assert!(postgres.execute("select nothing from nowhere").await.is_err());
    Ok(())
}

#[tokio::test]
async fn kubernetes_api_knows_its_users_and_keeps_its_data() -> Result<()> {
    let mut api = KubeApi::start().await?;
    let config_map =
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, namespace: default}, data: {count: '1'}}";
    let read = ["get", "configmap", "kept", "--namespace=default", "--output=jsonpath={.data.count}"];
    assert!(api.apply("dev", config_map).await.is_err_and(|error| error.to_string().contains("forbidden")));
    api.apply("admin", config_map).await?;
    assert_eq!(api.kubectl_ok("admin", &read).await?, "1");

    assert!(!api.kubectl("controller", &read).await?.status.success());
    let role = ["create", "clusterrole", "reads", "--verb=get", "--resource=configmaps"];
    api.kubectl_ok("admin", &role).await?;
    let binding = ["create", "clusterrolebinding", "reads", "--clusterrole=reads", "--user=controller"];
    api.kubectl_ok("admin", &binding).await?;
    let reads = async || api.kubectl_ok("controller", &read).await;
    assert_eq!(eventually("the role is in force", SOON, reads).await?, "1");

    api.kill()?;
    assert!(!api.kubectl("admin", &read).await?.status.success());
    api.restart().await?;
    assert_eq!(api.kubectl_ok("admin", &read).await?, "1");
    Ok(())
}

#[tokio::test]
async fn ollama_streams_what_it_says_at_once() -> Result<()> {
    let ollama = Ollama::start().await?;
    let url = format!("{}/api/chat", ollama.url());
    let mut body = json!({"model": "alphabet", "messages": [{"role": "user", "content": "hi"}]});
    let mut stream = http::stream_json(&url, &body).await?;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("application/x-ndjson"));
    let lines = stream.lines().await?;
    let words: Vec<Value> = lines.iter().map(|line| line.json()).collect::<Result<_>>()?;
    let text: String = words.iter().filter_map(|word| word["message"]["content"].as_str()).collect();
    assert_eq!(text, LETTERS);
    let last = words.last().context("no line")?;
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
    assert!(lines.len() > 20 && lines.is_sorted_by_key(|line| line.at));

    body["stream"] = json!(false);
    let whole = http::post_json(&url, &body).await?;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.json()?["message"]["content"], LETTERS);
    Ok(())
}

#[tokio::test]
async fn ollama_embeds_and_streams_without_end() -> Result<()> {
    let ollama = Ollama::start().await?;
    let body = json!({"model": "tinybert", "input": ["one", "two"]});
    let answer = http::post_json(format!("{}/api/embed", ollama.url()), &body).await?.json()?;
    let vectors = answer["embeddings"].as_array().with_context(|| answer.to_string())?;
    assert_eq!(vectors[0].as_array().map(Vec::len), Some(64));
    assert_ne!(vectors[0], vectors[1]);

    let body = json!({"model": "alphabet", "prompt": "#", "raw": true, "options": {"num_predict": -1}});
    let mut stream = http::stream_json(format!("{}/api/generate", ollama.url()), &body).await?;
    for expected in ["$", "#", "$", "#"] {
        let line = stream.next_line().await?.context("it ended")?.json()?;
        assert_eq!(line["response"], expected);
    }
    drop(stream); // leaves
    Ok(())
}

#[tokio::test]
async fn ollama_dies_with_its_runners_and_comes_back() -> Result<()> {
    let mut ollama = Ollama::start().await?;
    let url = ollama.url();
    let loaded = async || -> Result<usize> {
        let models = http::get(format!("{url}/api/ps")).await?.json()?;
        Ok(models["models"].as_array().context("no list")?.len())
    };
    let body = json!({"model": "alphabet", "prompt": "#", "raw": true, "options": {"num_predict": -1}});
    let mut stream = http::stream_json(format!("{url}/api/generate"), &body).await?;
    stream.next_line().await?.context("it ended")?;
    assert_eq!(loaded().await?, 1);

    ollama.kill()?;
    assert!(stream.lines().await.is_err(), "a broken stream must not look whole");
    assert!(loaded().await.is_err());
    ollama.restart().await?;
    assert_eq!(loaded().await?, 0);
    let tags = http::get(format!("{url}/api/tags")).await?;
    assert!(tags.text()?.contains("alphabet:latest") && tags.text()?.contains("tinybert:latest"));
    Ok(())
}

/// A shell that answers TERM by nothing, with a child that does the same.
fn stubborn(folder: &Path) -> Result<Child> {
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >child; while :; do sleep 1; done' & wait";
    Child::start(Command::new("sh").args(["-c", script]).current_dir(folder), &folder.join("log"))
}

async fn child_of(folder: &Path) -> Result<String> {
    let read = async || {
        let id = std::fs::read_to_string(folder.join("child"))?;
        ensure!(id.ends_with('\n'), "half written");
        Ok(id.trim().to_owned())
    };
    eventually("the child has started", SOON, read).await
}

async fn gone(id: &str) -> Result<()> {
    let check = async || {
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // A zombie is gone too: whoever adopted it reaps it when it likes.
        ensure!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok(())
    };
    eventually("the process is gone", SOON, check).await
}

#[tokio::test]
async fn killing_takes_the_children_along() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut program = stubborn(folder.path())?;
    let child = child_of(folder.path()).await?;
    program.kill()?;
    assert!(program.ended()?.is_some());
    gone(&child).await
}

#[tokio::test]
async fn a_panic_ends_what_was_started() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = stubborn(folder.path())?.ended_by(Signal::Kill);
    let (id, child) = (program.id().to_string(), child_of(folder.path()).await?);
    let result = tokio::spawn(async move {
        let _program = program;
        panic!("on purpose");
    });
    assert!(result.await.is_err_and(|error| error.is_panic()));
    gone(&id).await?;
    gone(&child).await
}

/// How the second of the next two tests tells the first, in a process of its own, which folder to use.
const FOLDER: &str = "AIVONX_TEST_FOLDER";

#[tokio::test]
#[ignore = "never ends by itself: killing_the_test_ends_what_it_started runs it and kills it"]
async fn holds_a_program_until_it_is_killed() -> Result<()> {
    let folder = PathBuf::from(std::env::var_os(FOLDER).context("run by itself")?);
    let _program = stubborn(&folder)?;
    std::future::pending().await
}

#[tokio::test]
async fn killing_the_test_ends_what_it_started() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut test = Command::new(std::env::current_exe()?);
    test.args(["--ignored", "--exact", "holds_a_program_until_it_is_killed"]).env(FOLDER, folder.path());
    let test = Child::start(&mut test, &folder.path().join("test.log"))?;
    let child = child_of(folder.path()).await?;
    test.signal(Signal::Kill)?; // to its group, and what it started is in others
    gone(&child).await
}

#[tokio::test]
async fn a_program_that_ends_early_fails_at_once_with_its_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("sh");
    let mut program =
        Child::start(command.args(["-c", "echo no such luck; exit 3"]), &folder.path().join("log"))?;
    let began = Instant::now();
    let never = async || -> Result<()> { anyhow::bail!("not yet") };
    let error = program.until("it answers", Duration::from_secs(60), never).await.expect_err("it cannot");
    let error = format!("{error:#}");
    assert!(error.contains("no such luck") && error.contains("exit code 3"), "{error}");
    assert!(began.elapsed() < SOON);
    Ok(())
}

#[tokio::test]
async fn a_wait_tells_what_it_saw_last() {
    let mut tries = 0;
    let check = async || -> Result<()> {
        tries += 1;
        anyhow::bail!("try {tries}")
    };
    let error = eventually("the impossible", Duration::from_millis(200), check).await.expect_err("it cannot");
    let error = format!("{error:#}");
    assert!(error.contains("the impossible") && error.contains(&format!("try {tries}")), "{error}");
    assert!(tries > 1);
}

#[test]
fn ports_are_given_once() -> Result<()> {
    let mut given = (0..50).map(|_| ports::free()).collect::<Result<Vec<u16>>>()?;
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 50);
    Ok(())
}
