//! Ports that no other test takes, in this process or in another one.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::process;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::tools;

/// Below the ranges from which systems take the ports of outgoing connections: nothing grabs one of these
/// between the choice and its use, nor while a killed server is down.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// The locks of the ports given so far; the system releases them when this process ends.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 on which nothing listens. It stays the caller's until this process ends, so a server
/// may leave it and come back to it.
pub fn free() -> Result<u16> {
    let folder = tools::folder()?.join("ports");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut taken = TAKEN.lock();
    let count = u32::from(RANGE.end - RANGE.start);
    let start = process::id().wrapping_mul(97); // so that processes begin apart
    for offset in 0..count {
        let port = RANGE.start + (start.wrapping_add(offset) % count) as u16;
        let Ok(lock) = File::create(folder.join(port.to_string())) else { continue };
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.push(lock);
            return Ok(port);
        }
    }
    anyhow::bail!("no port of {RANGE:?} is free")
}
