//! The secret key, from which every other key is derived.

use super::SettingsError;
use secrecy::{ExposeSecret as _, SecretString};
use std::path::PathBuf;

const SETTING: &str = "AIVONX_SECRET_KEY";
/// Fewer characters than this can be guessed.
const MIN_CHARS: usize = 32;

/// Where the secret key comes from.
#[derive(clap::Args, Clone, Debug)]
pub struct SecretKeyArgs {
    /// The secret key, at least 32 characters; prefer the environment variable or the file
    #[arg(long, env = "AIVONX_SECRET_KEY", hide_env_values = true, value_name = "KEY")]
    pub secret_key: Option<SecretString>,
    /// A file that holds the secret key
    #[arg(long, env = "AIVONX_SECRET_KEY_FILE", value_name = "FILE", conflicts_with = "secret_key")]
    pub secret_key_file: Option<PathBuf>,
}

/// At least 32 characters that only this installation knows.
#[derive(Clone, Debug)]
pub struct SecretKey(SecretString);

impl SecretKey {
    /// The key itself; never log it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn new(text: &str) -> Result<Self, SettingsError> {
        let key = text.trim();
        let chars = key.chars().count();
        if chars == 0 {
            return Err(missing());
        }
        if chars < MIN_CHARS {
            return Err(SettingsError::new(
                SETTING,
                format!(
                    "{SETTING} has {chars} characters and needs at least {MIN_CHARS}: make one with `openssl rand -hex 32`"
                ),
            ));
        }
        Ok(Self(key.into()))
    }
}

impl SecretKeyArgs {
    /// The key, from the argument, the environment or the file.
    ///
    /// # Errors
    /// When there is none, when it is too short, or when the file cannot be read.
    pub fn load(&self) -> Result<SecretKey, SettingsError> {
        match (&self.secret_key, &self.secret_key_file) {
            (Some(key), _) => SecretKey::new(key.expose_secret()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    SettingsError::new(
                        "AIVONX_SECRET_KEY_FILE",
                        format!("AIVONX_SECRET_KEY_FILE: cannot read {}: {error}", file.display()),
                    )
                })?;
                SecretKey::new(&text)
            }
            (None, None) => Err(missing()),
        }
    }
}

fn missing() -> SettingsError {
    SettingsError::new(SETTING, "AIVONX_SECRET_KEY environment variable is required")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn args(key: Option<&str>, file: Option<PathBuf>) -> SecretKeyArgs {
        SecretKeyArgs { secret_key: key.map(Into::into), secret_key_file: file }
    }

    #[test]
    fn a_missing_or_empty_key_is_asked_for_by_its_name() {
        for args in [args(None, None), args(Some("  "), None)] {
            let error = args.load().unwrap_err();
            assert_eq!(error.to_string(), "AIVONX_SECRET_KEY environment variable is required");
        }
    }

    #[test]
    fn a_short_key_is_refused_without_showing_it() {
        let error = args(Some("hunter2"), None).load().unwrap_err();
        assert!(error.to_string().contains("has 7 characters"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_file_may_end_with_a_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
        assert_eq!(args(None, Some(file.path().to_owned())).load().unwrap().expose(), KEY);
        let gone = args(None, Some("/nowhere/key".into())).load().unwrap_err();
        assert_eq!(gone.setting, "AIVONX_SECRET_KEY_FILE");
    }

    #[test]
    fn the_key_is_not_in_debug_output() {
        let key = args(Some(KEY), None).load().unwrap();
        assert!(!format!("{key:?}").contains(KEY));
    }
}
