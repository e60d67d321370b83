//! How a program ends: the exit code and the one sentence that goes with it.

use crate::settings::SettingsError;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

/// Why a program ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting is missing or wrong: exit code 2.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Anything else: exit code 1.
    #[error(transparent)]
    Runtime(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// A failure at run time, from any error.
    pub fn runtime(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Runtime(error.into())
    }

    /// 2 for settings, 1 for the rest.
    pub fn code(&self) -> u8 {
        match self {
            Self::Settings(_) => 2,
            Self::Runtime(_) => 1,
        }
    }
}

/// The exit code of `result`; a failure is also written to standard error as one sentence.
pub fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told when standard error is closed.
            drop(writeln!(std::io::stderr(), "error: {}", chain(&failure)));
            ExitCode::from(failure.code())
        }
    }
}

/// The error and what caused it, each once, joined by colons.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_run_time_failures_differ_in_their_code() {
        let settings =
            Failure::from(SettingsError::new("AIVONX_SECRET_KEY", "AIVONX_SECRET_KEY is too short"));
        assert_eq!(settings.code(), 2);
        assert_eq!(Failure::runtime("the disk is full").code(), 1);
        assert_eq!(chain(&settings), "AIVONX_SECRET_KEY is too short");
    }
}
