//! What a simulated node is: its models, its speed, its limits.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::keep_alive::KeepAlive;
use crate::name::Name;

/// A simulated node. `Config::default()` is a fast node with one model of each kind; every field may be set
/// directly or by the method of its name.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The node's own name, sent as `x-sim-node`.
    pub node: String,
    /// What `/api/version` says.
    pub version: String,
    /// The models on disk.
    pub models: Vec<Model>,
    /// Requests one loaded model serves at once (`OLLAMA_NUM_PARALLEL`). Embedding models always have 1.
    pub slots: usize,
    /// Loaded models at once (`OLLAMA_MAX_LOADED_MODELS`).
    pub max_loaded: usize,
    /// Bytes of VRAM; `None` fits everything.
    pub vram: Option<u64>,
    /// Requests that wait for a load (`OLLAMA_MAX_QUEUE`); more get 503.
    pub max_queue: usize,
    /// How long an idle model stays (`OLLAMA_KEEP_ALIVE`).
    pub keep_alive: KeepAlive,
    /// `num_ctx` when nobody says one (`OLLAMA_CONTEXT_LENGTH`).
    pub num_ctx: u64,
    /// How long a load takes, unless the model says so.
    pub load_time: Duration,
    /// Time for a prompt token that is not in the cache.
    pub prompt_time_per_token: Duration,
    /// Generation speed; 0 is as fast as it goes.
    pub tokens_per_second: f64,
    /// Tokens a reply has when `num_predict` does not cut it short.
    pub reply_tokens: u64,
    /// Requests kept for [`crate::Simulator::requests`].
    pub recorded_requests: usize,
    /// Bytes kept of each request's body.
    pub recorded_body: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            node: "sim".to_owned(),
            version: "0.32.15".to_owned(),
            models: vec![Model::completion("llama3.2"), Model::embedding("all-minilm")],
            slots: 1,
            max_loaded: 3,
            vram: None,
            max_queue: 512,
            keep_alive: KeepAlive::DEFAULT,
            num_ctx: 4096,
            load_time: Duration::ZERO,
            prompt_time_per_token: Duration::ZERO,
            tokens_per_second: 0.0,
            reply_tokens: 32,
            recorded_requests: 1000,
            recorded_body: 64 * 1024,
        }
    }
}

/// One method a field.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty),+ $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: impl Into<$type>) -> Self {
            self.$field = $field.into();
            self
        })+
    };
}

impl Config {
    setters! {
        /// Sets where to listen.
        listen: SocketAddr,
        /// Sets the node's name.
        node: String,
        /// Sets the version.
        version: String,
        /// Sets the models.
        models: Vec<Model>,
        /// Sets the slots of each model.
        slots: usize,
        /// Sets how many models may be loaded.
        max_loaded: usize,
        /// Sets the VRAM.
        vram: Option<u64>,
        /// Sets the length of the load queue.
        max_queue: usize,
        /// Sets how long idle models stay.
        keep_alive: KeepAlive,
        /// Sets the default context length.
        num_ctx: u64,
        /// Sets the load time.
        load_time: Duration,
        /// Sets the time for a prompt token.
        prompt_time_per_token: Duration,
        /// Sets the generation speed.
        tokens_per_second: f64,
        /// Sets the length of replies.
        reply_tokens: u64,
        /// Sets how many requests are recorded.
        recorded_requests: usize,
        /// Sets how much of a body is recorded.
        recorded_body: usize,
    }

    /// Adds a model to those already there.
    #[must_use]
    pub fn model(mut self, model: Model) -> Self {
        self.models.push(model);
        self
    }
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// generate and chat
    Completion,
    /// Accepts `tools` (it never calls one).
    Tools,
    /// Accepts `suffix`.
    Insert,
    /// embed
    Embedding,
    /// Accepts `think` (it never thinks).
    Thinking,
}

/// A model on a node's disk.
#[derive(Clone, Debug)]
pub struct Model {
    /// As a user would spell it.
    pub name: String,
    /// Its family, also the prefix of its `model_info`.
    pub family: String,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Bytes on disk and, loaded, in VRAM.
    pub size: u64,
    /// 64 hex digits; made from the name unless set. Models of one digest share a runner.
    pub digest: Option<String>,
    /// `details.parameter_size`
    pub parameter_size: String,
    /// `details.quantization_level`
    pub quantization: String,
    /// The longest context it was trained for.
    pub context_length: u64,
    /// The dimensions of its embeddings.
    pub embedding_length: usize,
    /// When it was pulled; the start of the node unless set.
    pub modified_at: Option<Timestamp>,
    /// Overrides [`Config::load_time`].
    pub load_time: Option<Duration>,
    /// Overrides [`Config::tokens_per_second`].
    pub tokens_per_second: Option<f64>,
    /// Overrides [`Config::reply_tokens`].
    pub reply_tokens: Option<u64>,
}

impl Model {
    /// A model that generates.
    pub fn completion(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            family: "llama".to_owned(),
            capabilities: vec![Capability::Completion, Capability::Tools],
            size: 2_019_393_189,
            digest: None,
            parameter_size: "3.2B".to_owned(),
            quantization: "Q4_K_M".to_owned(),
            context_length: 131_072,
            embedding_length: 3072,
            modified_at: None,
            load_time: None,
            tokens_per_second: None,
            reply_tokens: None,
        }
    }

    /// A model that embeds.
    pub fn embedding(name: impl Into<String>) -> Self {
        Self {
            family: "bert".to_owned(),
            capabilities: vec![Capability::Embedding],
            size: 45_960_996,
            parameter_size: "23M".to_owned(),
            quantization: "F16".to_owned(),
            context_length: 512,
            embedding_length: 384,
            ..Self::completion(name)
        }
    }

    setters! {
        /// Sets the family.
        family: String,
        /// Sets what it can do.
        capabilities: Vec<Capability>,
        /// Sets its size in bytes.
        size: u64,
        /// Sets its digest.
        digest: Option<String>,
        /// Sets the longest context.
        context_length: u64,
        /// Sets the dimensions of its embeddings.
        embedding_length: usize,
        /// Sets when it was pulled.
        modified_at: Option<Timestamp>,
        /// Sets its own load time.
        load_time: Option<Duration>,
        /// Sets its own speed.
        tokens_per_second: Option<f64>,
        /// Sets its own length of replies.
        reply_tokens: Option<u64>,
    }

    /// Whether it can do something.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// The digest of a model that has none of its own: the same on every node.
pub fn digest_of(name: &Name) -> String {
    hex::encode(Sha256::digest(format!("aivonx-simulator/{}", name.key())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_follow_the_name() {
        let digest = |text| digest_of(&Name::parse(text).unwrap());
        assert_eq!(digest("llama3.2"), digest("library/LLAMA3.2:latest"));
        assert_ne!(digest("llama3.2"), digest("llama3.2:1b"));
        assert_eq!(digest("a").len(), 64);
    }

    #[test]
    fn setters_take_the_plain_value() {
        let config = Config::default()
            .slots(2usize)
            .vram(5u64)
            .model(Model::completion("x").load_time(Duration::ZERO));
        assert_eq!((config.slots, config.vram, config.models.len()), (2, Some(5), 3));
    }
}
