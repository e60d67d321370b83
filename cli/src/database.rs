//! `aivonx migrate` and `aivonx db reset`.

use crate::args::{DatabaseArgs, MigrateArgs, ResetArgs};
use aivonx_process::exit::Failure;
use aivonx_process::settings::SettingsError;
use aivonx_state::StoreError;
use aivonx_state::store::postgres::{MigrationReport, PostgresStore};
use std::fmt::Write as _;

/// The only environment in which data may be thrown away.
const DEVELOPMENT: &str = "development";

/// Brings the schema up to date, and tells what was done.
///
/// # Errors
/// When the URL cannot be used, Postgres cannot be reached, or a migration fails.
pub async fn migrate(args: &MigrateArgs) -> Result<String, Failure> {
    let store = store(&args.database)?;
    let report = match &args.fake {
        None => store.migrate().await,
        Some(name) => store.fake(name).await,
    };
    let verb = if args.fake.is_some() { "recorded as done" } else { "applied" };
    Ok(tell(&report.map_err(failure)?, verb))
}

/// Throws everything away and lays the schema anew, and tells what was done.
///
/// # Errors
/// When this is not a development environment or `--yes` is missing; else as [`migrate`].
pub async fn reset(args: &ResetArgs) -> Result<String, Failure> {
    allowed(args.environment.as_deref(), args.yes)?;
    let store = store(&args.database)?;
    store.reset().await.map_err(failure)?;
    let report = store.migrate().await.map_err(failure)?;
    Ok(format!("Everything was deleted.\n{}", tell(&report, "applied")))
}

/// Whether data may be thrown away.
fn allowed(environment: Option<&str>, yes: bool) -> Result<(), SettingsError> {
    if environment != Some(DEVELOPMENT) {
        let now = match environment {
            None | Some("") => "is not set".to_owned(),
            Some(other) => format!("is '{other}'"),
        };
        return Err(SettingsError::new(
            "AIVONX_ENVIRONMENT",
            format!(
                "AIVONX_ENVIRONMENT {now}, and nothing is deleted outside development: set it to {DEVELOPMENT} if this is such a database"
            ),
        ));
    }
    if !yes {
        let sentence = "everything that Aivonx keeps in this database would be deleted: add --yes if that is what you want";
        return Err(SettingsError::new("AIVONX_YES", sentence));
    }
    Ok(())
}

fn store(args: &DatabaseArgs) -> Result<PostgresStore, Failure> {
    PostgresStore::new(args.url()?.expose()).map_err(failure)
}

fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Address { reason, .. } => {
            SettingsError::new("AIVONX_DATABASE_URL", format!("AIVONX_DATABASE_URL cannot be used: {reason}"))
                .into()
        }
        error => Failure::runtime(error),
    }
}

fn tell(report: &MigrationReport, verb: &str) -> String {
    let mut text = String::new();
    for migration in &report.applied {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{verb}: {migration}");
    }
    let _ = match report.version {
        Some(version) if report.applied.is_empty() => {
            writeln!(text, "The schema was up to date, at version {version}.")
        }
        Some(version) => writeln!(text, "The schema is at version {version}."),
        None => writeln!(text, "There is no schema."),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deleted_outside_development_or_without_a_yes() {
        for environment in [None, Some(""), Some("production"), Some("Development")] {
            let error = allowed(environment, true).unwrap_err();
            assert_eq!(error.setting, "AIVONX_ENVIRONMENT");
        }
        assert!(allowed(Some("production"), true).unwrap_err().sentence.contains("is 'production'"));
        assert!(allowed(Some(DEVELOPMENT), false).unwrap_err().sentence.contains("--yes"));
        assert_eq!(allowed(Some(DEVELOPMENT), true), Ok(()));
    }

    #[test]
    fn what_was_done_is_told() {
        let report = |applied: &[&str], version| MigrationReport {
            applied: applied.iter().map(|&name| name.to_owned()).collect(),
            version,
        };
        assert_eq!(
            tell(&report(&["V1__routing_table", "V2__node_inventory"], Some(2)), "applied"),
            "applied: V1__routing_table\napplied: V2__node_inventory\nThe schema is at version 2.\n"
        );
        assert_eq!(tell(&report(&[], Some(2)), "applied"), "The schema was up to date, at version 2.\n");
    }
}
