//! `aivonx migrate` and `aivonx db reset` on a real Postgres.

use crate::{aivonx, finish, stderr, stdout};
use aivonx_tests::{Postgres, ports};
use std::process::{Command, Output};

async fn on(postgres: &Postgres, arguments: &[&str], environment: Option<&str>) -> Output {
    let mut command = aivonx(arguments);
    command.env("AIVONX_DATABASE_URL", postgres.url());
    if let Some(environment) = environment {
        command.env("AIVONX_ENVIRONMENT", environment);
    }
    finish(command).await
}

#[tokio::test]
async fn a_schema_is_laid_once_and_then_found_up_to_date() {
    let postgres = Postgres::start().await.unwrap();
    let first = on(&postgres, &["migrate"], None).await;
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stdout(&first).starts_with("applied: V1__routing_table\n"), "{}", stdout(&first));
    let second = on(&postgres, &["migrate"], None).await;
    assert!(stdout(&second).starts_with("The schema was up to date, at version "), "{}", stdout(&second));
}

#[tokio::test]
async fn a_faked_migration_is_recorded_and_not_run() {
    let postgres = Postgres::start().await.unwrap();
    let faked = on(&postgres, &["migrate", "--fake", "V1__routing_table"], None).await;
    assert_eq!(
        stdout(&faked),
        "recorded as done: V1__routing_table\nThe schema is at version 1.\n",
        "{}",
        stderr(&faked)
    );
    postgres.execute("SELECT 1 FROM aivonx.routing_table").await.unwrap_err();

    let unknown = on(&postgres, &["migrate", "--fake", "V9__nothing"], None).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("V1__routing_table"), "{}", stderr(&unknown));
}

#[tokio::test]
async fn a_reset_happens_in_development_alone_and_with_a_yes() {
    let postgres = Postgres::start().await.unwrap();
    on(&postgres, &["migrate"], None).await;
    postgres.execute("CREATE TABLE aivonx.mark ()").await.unwrap();
    for (arguments, environment, expected) in [
        (&["db", "reset", "--yes"][..], None, "AIVONX_ENVIRONMENT is not set"),
        (&["db", "reset", "--yes"], Some("production"), "AIVONX_ENVIRONMENT is 'production'"),
        (&["db", "reset"], Some("development"), "--yes"),
    ] {
        let refused = on(&postgres, arguments, environment).await;
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
        postgres.execute("SELECT FROM aivonx.mark").await.unwrap();
    }
    let done = on(&postgres, &["db", "reset", "--yes"], Some("development")).await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(
        stdout(&done).starts_with("Everything was deleted.\napplied: V1__routing_table\n"),
        "{}",
        stdout(&done)
    );
    postgres.execute("SELECT FROM aivonx.mark").await.unwrap_err();
}

#[tokio::test]
async fn a_database_that_is_down_is_a_failure_and_a_wrong_url_a_wrong_setting() {
    let url = format!("postgres://me:hunter2@127.0.0.1:{}/aivonx", ports::free().unwrap());
    let run = async |url: &str| {
        let mut command: Command = aivonx(&["migrate"]);
        command.env("AIVONX_DATABASE_URL", url);
        finish(command).await
    };
    let down = run(&url).await;
    assert_eq!(down.status.code(), Some(1));
    assert!(
        stderr(&down).contains("Connection refused") && !stderr(&down).contains("hunter2"),
        "{}",
        stderr(&down)
    );
    for wrong in ["mysql://me:hunter2@db/aivonx", "postgres://me:hunter2@db/aivonx?sslmode=require"] {
        let output = run(wrong).await;
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.starts_with("error: AIVONX_DATABASE_URL ") && !said.contains("hunter2"), "{said}");
    }
}
