//! Finds what `tests/tools/install` has put in place.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The folder of the tools: `AIVONX_TOOLS`, by default `aivonx/tools` in the user's cache folder.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("AIVONX_TOOLS") {
        return Ok(folder.into());
    }
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither HOME nor AIVONX_TOOLS is set")?).join(".cache")
        }
    };
    Ok(cache.join("aivonx/tools"))
}

/// The path of the tool `name`; when it is missing, the error says how to get it.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = folder()?.join("bin").join(name);
    ensure!(path.exists(), "{} is missing: run tests/tools/install {name}", path.display());
    Ok(path)
}
