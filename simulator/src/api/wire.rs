//! The objects Ollama answers, field by field in its order. A zero count or duration is left out, as Go does.

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Capability, Model};

fn zero(n: &u64) -> bool {
    *n == 0
}

/// The counts of a finished generation; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    #[serde(skip_serializing_if = "zero")]
    pub total_duration: u64,
    #[serde(skip_serializing_if = "zero")]
    pub load_duration: u64,
    #[serde(skip_serializing_if = "zero")]
    pub prompt_eval_count: u64,
    #[serde(skip_serializing_if = "zero")]
    pub prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "zero")]
    pub eval_count: u64,
    #[serde(skip_serializing_if = "zero")]
    pub eval_duration: u64,
}

/// A chunk, or all, of `/api/generate`.
#[derive(Serialize)]
pub struct Generate<'a> {
    pub model: &'a str,
    pub created_at: Timestamp,
    pub response: &'a str,
    pub done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    pub context: &'a [u32],
    #[serde(flatten)]
    pub metrics: Option<&'a Metrics>,
}

/// A chunk, or all, of `/api/chat`.
#[derive(Serialize)]
pub struct Chat<'a> {
    pub model: &'a str,
    pub created_at: Timestamp,
    pub message: Message<'a>,
    pub done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<&'a str>,
    #[serde(flatten)]
    pub metrics: Option<&'a Metrics>,
}

#[derive(Serialize)]
pub struct Message<'a> {
    pub role: &'static str,
    pub content: &'a str,
}

/// An error line within a stream.
#[derive(Serialize)]
pub struct ErrorLine<'a> {
    pub error: &'a str,
}

/// `/api/embed`
#[derive(Serialize)]
pub struct Embed<'a> {
    pub model: &'a str,
    pub embeddings: Vec<Vec<f32>>,
    #[serde(skip_serializing_if = "zero")]
    pub total_duration: u64,
    #[serde(skip_serializing_if = "zero")]
    pub load_duration: u64,
    #[serde(skip_serializing_if = "zero")]
    pub prompt_eval_count: u64,
}

/// `/api/embeddings`
#[derive(Serialize)]
pub struct Embedding {
    pub embedding: Vec<f64>,
}

/// A model's details; only `/api/tags` gives the last two.
#[derive(Serialize)]
pub struct Details<'a> {
    pub parent_model: &'static str,
    pub format: &'static str,
    pub family: &'a str,
    pub families: [&'a str; 1],
    pub parameter_size: &'a str,
    pub quantization_level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_length: Option<usize>,
}

impl<'a> Details<'a> {
    pub fn of(model: &'a Model) -> Self {
        Self {
            parent_model: "",
            format: "gguf",
            family: &model.family,
            families: [&model.family],
            parameter_size: &model.parameter_size,
            quantization_level: &model.quantization,
            context_length: None,
            embedding_length: None,
        }
    }

    pub fn with_lengths(model: &'a Model) -> Self {
        Self {
            context_length: Some(model.context_length),
            embedding_length: Some(model.embedding_length),
            ..Self::of(model)
        }
    }
}

/// `/api/tags`, `/api/ps`
#[derive(Serialize)]
pub struct Models<T> {
    pub models: Vec<T>,
}

#[derive(Serialize)]
pub struct Tag<'a> {
    pub name: &'a str,
    pub model: &'a str,
    pub modified_at: Timestamp,
    pub size: u64,
    pub digest: &'a str,
    pub details: Details<'a>,
    pub capabilities: &'a [Capability],
}

#[derive(Serialize)]
pub struct Process<'a> {
    pub name: &'a str,
    pub model: &'a str,
    pub size: u64,
    pub digest: &'a str,
    pub details: Details<'a>,
    pub expires_at: Timestamp,
    pub size_vram: u64,
    pub context_length: u64,
}

/// `/api/show`
#[derive(Serialize)]
pub struct Show<'a> {
    pub modelfile: String,
    pub parameters: &'static str,
    pub template: &'static str,
    pub details: Details<'a>,
    pub model_info: serde_json::Map<String, serde_json::Value>,
    pub tensors: [Tensor; 2],
    pub capabilities: &'a [Capability],
    pub modified_at: Timestamp,
}

#[derive(Serialize)]
pub struct Tensor {
    pub name: &'static str,
    pub r#type: &'static str,
    pub shape: [u64; 2],
}

/// Token counts of `/v1`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
}

impl Usage {
    pub fn of(metrics: &Metrics) -> Self {
        Self {
            prompt_tokens: metrics.prompt_eval_count,
            completion_tokens: metrics.eval_count,
            total_tokens: metrics.prompt_eval_count + metrics.eval_count,
        }
    }
}

/// `chat.completion`
#[derive(Serialize)]
pub struct ChatCompletion<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub model: &'a str,
    pub system_fingerprint: &'static str,
    pub choices: [ChatChoice<'a>; 1],
    pub usage: Usage,
}

#[derive(Serialize)]
pub struct ChatChoice<'a> {
    pub index: u8,
    pub message: Message<'a>,
    pub finish_reason: Option<&'a str>,
}

/// `chat.completion.chunk`
#[derive(Serialize)]
pub struct ChatChunk<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub model: &'a str,
    pub system_fingerprint: &'static str,
    pub choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Serialize)]
pub struct ChunkChoice<'a> {
    pub index: u8,
    pub delta: Delta<'a>,
    pub finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
pub struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
}

/// `text_completion`, whole
#[derive(Serialize)]
pub struct Completion<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub model: &'a str,
    pub system_fingerprint: &'static str,
    pub choices: [CompletionChoice<'a>; 1],
    pub usage: Usage,
}

/// `text_completion`, a chunk
#[derive(Serialize)]
pub struct CompletionChunk<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub choices: &'a [CompletionChoice<'a>],
    pub model: &'a str,
    pub system_fingerprint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Serialize)]
pub struct CompletionChoice<'a> {
    pub text: &'a str,
    pub index: u8,
    pub finish_reason: Option<&'a str>,
}

/// `/v1/models`; no models are `null`.
#[derive(Serialize)]
pub struct OpenAiModels<'a> {
    pub object: &'static str,
    pub data: Option<Vec<OpenAiModel<'a>>>,
}

#[derive(Serialize)]
pub struct OpenAiModel<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: i64,
    pub owned_by: &'a str,
}

/// `/v1/embeddings`
#[derive(Serialize)]
pub struct EmbeddingList<'a> {
    pub object: &'static str,
    pub data: Vec<EmbeddingItem>,
    pub model: &'a str,
    pub usage: EmbeddingUsage,
}

#[derive(Serialize)]
pub struct EmbeddingItem {
    pub object: &'static str,
    pub embedding: Vector,
    pub index: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
pub struct EmbeddingUsage {
    pub prompt_tokens: u64,
    pub total_tokens: u64,
}
