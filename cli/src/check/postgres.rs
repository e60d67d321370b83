//! Whether Postgres can be used: it answers, and its schema is the one that this version knows.

use super::report::{Finding, foreign};
use crate::args::Subject;
use aivonx_process::settings::StoreArgs;
use aivonx_state::StoreError;
use aivonx_state::store::postgres::PostgresStore;
use std::time::Duration;
use tokio::time::timeout;

const SUBJECT: Subject = Subject::Postgres;

/// Connects to Postgres and compares its schema with the migrations of this program.
pub async fn check(args: &StoreArgs, needed: bool, limit: Duration) -> Finding {
    let url = match args.database_url() {
        Ok(url) => url,
        Err(error) if args.database_url.is_none() => {
            return Finding::missing(needed, SUBJECT, error);
        }
        Err(error) => return Finding::refused(SUBJECT, error.sentence),
    };
    let store = match PostgresStore::new(url.expose()) {
        Ok(store) => store,
        Err(StoreError::Address { reason, .. }) => {
            return Finding::refused(SUBJECT, format!("AIVONX_DATABASE_URL cannot be used: {reason}"));
        }
        Err(error) => return Finding::refused(SUBJECT, error.to_string()),
    };
    match timeout(limit, Box::pin(store.schema_version())).await {
        Ok(Ok(version)) => judge(&url.to_string(), version, PostgresStore::latest_schema_version()),
        Ok(Err(StoreError::Unavailable { reason, .. })) => {
            Finding::wrong(SUBJECT, format!("{url}: {}", foreign(&reason)), advice(&reason))
        }
        Ok(Err(error)) => {
            Finding::wrong(SUBJECT, format!("{url}: {}", foreign(&error.to_string())), "run `aivonx migrate`")
        }
        Err(_) => Finding::wrong(SUBJECT, format!("{url}: no answer within {limit:?}"), UNREACHABLE),
    }
}

/// The schema that was found against the one that this program knows.
fn judge(url: &str, found: Option<i32>, known: i32) -> Finding {
    match found {
        None => {
            Finding::wrong(SUBJECT, format!("{url}: answers, and has no schema yet"), "run `aivonx migrate`")
        }
        Some(found) if found < known => Finding::wrong(
            SUBJECT,
            format!("{url}: the schema is at version {found}, and this program needs {known}"),
            "run `aivonx migrate`",
        ),
        Some(found) if found > known => Finding::wrong(
            SUBJECT,
            format!("{url}: the schema is at version {found}, and this program knows only {known}"),
            "use the version of aivonx that the controller runs",
        ),
        Some(found) => Finding::good(SUBJECT, format!("{url}: answers, schema version {found}")),
    }
}

const UNREACHABLE: &str = "check the host and the port in AIVONX_DATABASE_URL (--database-url), and that no firewall stands between";

/// What to do about what the driver said.
fn advice(reason: &str) -> &'static str {
    let known = [
        (
            "Connection refused",
            "start Postgres there, or set AIVONX_DATABASE_URL (--database-url) to where it runs",
        ),
        ("28P01", "put the right user and password into AIVONX_DATABASE_URL"),
        ("28000", "let this user connect in pg_hba.conf, or name another one in AIVONX_DATABASE_URL"),
        (
            "password missing",
            "put the password into AIVONX_DATABASE_URL: postgres://user:password@host:5432/database",
        ),
        ("3D000", "create the database, or name another one in AIVONX_DATABASE_URL"),
        ("42501", "grant this user USAGE on the schema aivonx and SELECT on its tables"),
        ("53300", "Postgres has no connection left: raise max_connections or end some"),
        ("57P03", "wait until Postgres has started"),
    ];
    known.iter().find(|(mark, _)| reason.contains(mark)).map_or(UNREACHABLE, |(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn only_the_schema_of_this_version_is_good() {
        let judged = |found| judge("postgres://db/aivonx", found, 3);
        assert_eq!(judged(Some(3)).verdict, Verdict::Good);
        for found in [None, Some(2)] {
            assert_eq!(judged(found).advice.as_deref(), Some("run `aivonx migrate`"));
        }
        assert!(judged(Some(4)).message.contains("at version 4, and this program knows only 3"));
    }

    #[test]
    fn what_the_driver_says_leads_to_what_cures_it() {
        assert!(
            advice("error connecting to server: Connection refused (os error 111)")
                .starts_with("start Postgres")
        );
        assert!(advice("password authentication failed (SQLSTATE 28P01)").contains("password"));
        assert!(advice("database \"x\" does not exist (SQLSTATE 3D000)").starts_with("create the database"));
        assert_eq!(advice("no answer while connecting"), UNREACHABLE);
    }
}
