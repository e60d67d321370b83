//! Added latency as paired differences: one client asks each target in turn, so that what disturbs one disturbs all.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::{Client, Request};
use crate::stats::quantile;

/// What to compare.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The node itself, and the proxies before it.
    pub targets: Vec<SocketAddr>,
    /// The text that each answer must hold.
    pub nonce: String,
    /// How long it goes on.
    pub window: Duration,
}

/// What a proxy adds to a request that is alone, in microseconds: quantiles of the differences between the two requests
/// of each pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Added {
    /// To half of the requests at most this.
    pub p50: f64,
    /// To 99 % of the requests at most this.
    pub p99: f64,
}

/// Compares, and gives for each proxy what it adds.
pub async fn run(plan: Plan) -> Result<Vec<Added>> {
    let mut clients = Vec::new();
    for target in &plan.targets {
        clients.push(Client::connect(*target).await?);
    }
    let request = Request::new(0);
    let mut added = vec![Vec::new(); clients.len()];
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < plan.window {
        let mut times = vec![0.0; clients.len()];
        // Each of them comes first in its turn: the first request of a round is not like the others.
        for offset in 0..clients.len() {
            let place = (rounds + offset) % clients.len();
            let sent = Instant::now();
            clients[place].ask(&request, &plan.nonce, |_| ()).await?;
            times[place] = sent.elapsed().as_secs_f64() * 1e6;
        }
        rounds += 1;
        for (added, time) in added.iter_mut().zip(&times) {
            added.push(time - times[0]);
        }
    }
    ensure!(rounds >= 1000, "only {rounds} rounds in {:?}: p99 says nothing", plan.window);
    Ok(added[1..]
        .iter()
        .map(|added| Added { p50: quantile(added, 0.5), p99: quantile(added, 0.99) })
        .collect())
}
