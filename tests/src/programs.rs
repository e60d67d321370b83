//! The project's own programs, as cargo built them.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The program `name` (`aivonx`, `aivonx-controller`, `aivonx-dataplane`) of the same build as the caller.
pub fn path(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    // A test stands in `deps/` below the folder of the programs.
    let folder = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no folder")?;
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not there: run `cargo build --workspace --bins`", path.display());
    Ok(path)
}
