//! The addresses of Redis and Postgres.

use super::SettingsError;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;

/// Where the stores are.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArgs {
    /// Redis, such as redis://redis:6379/0 or rediss://user:password@redis:6380
    #[arg(long, env = "AIVONX_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<SecretString>,
    /// Postgres, such as postgres://user:password@postgres:5432/aivonx
    #[arg(long, env = "AIVONX_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretString>,
}

impl StoreArgs {
    /// The address of Redis.
    ///
    /// # Errors
    /// When it is missing or is no Redis URL.
    pub fn redis_url(&self) -> Result<StoreUrl, SettingsError> {
        StoreUrl::parse(
            "AIVONX_REDIS_URL",
            self.redis_url.as_ref(),
            &["redis", "rediss"],
            "redis://redis:6379/0",
        )
    }

    /// The address of Postgres.
    ///
    /// # Errors
    /// When it is missing or is no Postgres URL.
    pub fn database_url(&self) -> Result<StoreUrl, SettingsError> {
        StoreUrl::parse(
            "AIVONX_DATABASE_URL",
            self.database_url.as_ref(),
            &["postgres", "postgresql"],
            "postgres://aivonx:password@postgres:5432/aivonx",
        )
    }
}

/// A store's URL. `Display` leaves the credentials and the options out.
#[derive(Clone)]
pub struct StoreUrl {
    text: SecretString,
    shown: String,
}

impl StoreUrl {
    /// The whole URL with its credentials; never log it.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    fn parse(
        setting: &'static str,
        text: Option<&SecretString>,
        schemes: &[&str],
        example: &str,
    ) -> Result<Self, SettingsError> {
        let wrong =
            |what: String| SettingsError::new(setting, format!("{setting} {what}, such as {example}"));
        let text = text
            .filter(|text| !text.expose_secret().trim().is_empty())
            .ok_or_else(|| wrong("environment variable is required: a URL".to_owned()))?;
        let url = url::Url::parse(text.expose_secret().trim())
            .map_err(|error| wrong(format!("is not a URL ({error}): write one")))?;
        if !schemes.contains(&url.scheme()) {
            return Err(wrong(format!(
                "starts with {}://: write one that starts with {}://",
                url.scheme(),
                schemes.join(":// or ")
            )));
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| wrong("names no host: write a URL with one".to_owned()))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}{}", url.scheme(), url.path());
        Ok(Self { text: text.expose_secret().trim().into(), shown })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(url: &str) -> Result<StoreUrl, SettingsError> {
        StoreArgs { redis_url: Some(url.into()), database_url: None }.redis_url()
    }

    #[test]
    fn a_url_is_shown_without_its_credentials() {
        let url = redis("rediss://me:hunter2@redis.example:6380/1?protocol=resp3").unwrap();
        assert_eq!(url.to_string(), "rediss://redis.example:6380/1");
        assert_eq!(format!("{url:?}"), "rediss://redis.example:6380/1");
        assert!(url.expose().contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name_of_the_variable_and_an_example() {
        let cases = [
            ("", "AIVONX_REDIS_URL environment variable is required: a URL, such as redis://redis:6379/0"),
            ("localhost", "AIVONX_REDIS_URL is not a URL (relative URL without a base): write one, such as"),
            ("http://redis:6379", "starts with http://: write one that starts with redis:// or rediss://"),
            ("redis://", "AIVONX_REDIS_URL names no host"),
        ];
        for (url, expected) in cases {
            let error = redis(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url:?}: {error}");
        }
        let args = StoreArgs { redis_url: None, database_url: Some("mysql://db".into()) };
        assert!(args.redis_url().unwrap_err().to_string().contains("is required"));
        assert_eq!(args.database_url().unwrap_err().setting, "AIVONX_DATABASE_URL");
    }
}
