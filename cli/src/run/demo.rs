//! Two nodes for those who have none.

use aivonx_process::exit::Failure;
use aivonx_simulator::{Config, Model, Simulator};
use std::time::Duration;

/// Fast enough not to bore, slow enough to see the tokens come.
const TOKENS_PER_SECOND: f64 = 25.0;
const REPLY_TOKENS: u64 = 60;
const LOAD_TIME: Duration = Duration::from_millis(400);

/// Simulated nodes; they end when this is dropped.
#[derive(Debug)]
pub struct Demo {
    nodes: Vec<Simulator>,
}

impl Demo {
    /// Starts the nodes on free ports of the loopback interface.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> Result<Self, Failure> {
        let mut nodes = Vec::new();
        for (name, models) in [
            ("demo-1", vec![Model::completion("llama3.2"), Model::embedding("all-minilm")]),
            ("demo-2", vec![Model::completion("llama3.2"), Model::completion("qwen3:4b").family("qwen3")]),
        ] {
            let config = Config::default()
                .node(name)
                .models(models)
                .slots(4_usize)
                .load_time(LOAD_TIME)
                .tokens_per_second(TOKENS_PER_SECOND)
                .reply_tokens(REPLY_TOKENS);
            nodes.push(Simulator::start(config).await.map_err(Failure::runtime)?);
        }
        Ok(Self { nodes })
    }

    /// Name and URL of each node.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, String)> {
        self.nodes.iter().map(|node| (node.name(), node.url()))
    }
}
