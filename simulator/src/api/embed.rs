//! `/api/embed` and its elder, `/api/embeddings`.

use futures::future::try_join_all;
use http::Response;
use tokio::time::Instant;

use super::Call;
use super::failure::Failure;
use super::generate::{NO_CLOUD, acquire};
use super::generation::nanos;
use super::reply::{self, Body};
use super::{request, wire};
use crate::config::Capability;
use crate::name::{ModelRef, Source};
use crate::node::Node;
use crate::runner::Lease;
use crate::store::Stored;
use crate::text::{count_tokens, embedding, normalized};

/// What llama-server says when it was not started for embeddings.
const NO_EMBEDDINGS: &str = "This server does not support embeddings. Start it with `--embeddings`";

/// The embeddings of a request.
#[derive(Debug, Default)]
pub struct Embedded {
    /// One for each input, in its order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs.
    pub tokens: u64,
    /// Nanoseconds for all; zero when there was nothing to embed.
    pub total_duration: u64,
    /// Nanoseconds until the model was there.
    pub load_duration: u64,
}

/// `/api/embed`
pub async fn embed(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    let request = request::Embed::read(body)?;
    let model = request.model.clone();
    let embedded = run(node, &call, request).await?;
    Ok(reply::json(
        200,
        &wire::Embed {
            model: &model,
            embeddings: embedded.vectors,
            total_duration: embedded.total_duration,
            load_duration: embedded.load_duration,
            prompt_eval_count: embedded.tokens,
        },
    ))
}

/// An embed request, native or translated.
pub async fn run(node: &Node, call: &Call, request: request::Embed) -> Result<Embedded, Failure> {
    let arrived = Instant::now();
    let name = &request.model;
    let parsed = ModelRef::parse(name)
        .map_err(|error| Failure::name(error, Failure::new(404, format!("model '{name}' not found"))))?;
    if parsed.source == Source::Cloud {
        return Err(Failure::cloud(NO_CLOUD));
    }
    let input = request.input.as_ref().ok_or_else(|| Failure::new(400, "invalid input type"))?;
    let model = node.store().find(&parsed.name).ok_or_else(|| not_pulled(name))?;
    if let Some(error) = &request.options.error {
        return Err(Failure::new(500, error.clone()));
    }
    let lease = acquire(node, call, &model, &request.options, request.keep_alive).await?;
    let load_duration = nanos(arrived.elapsed());
    if input.is_empty() {
        return Ok(Embedded::default());
    }
    if !model.model.can(Capability::Embedding) {
        return Err(Failure::new(501, NO_EMBEDDINGS));
    }
    if !request.truncate && input.iter().any(|text| count_tokens(text) > lease.num_ctx()) {
        return Err(Failure::new(400, "the input length exceeds the context length"));
    }
    // Each text takes its own turn at the slots.
    let mut vectors = try_join_all(input.iter().map(|text| one(node, &lease, &model, text))).await?;
    let dimensions = usize::try_from(request.dimensions).unwrap_or(0);
    if dimensions > 0 && dimensions < model.model.embedding_length {
        for vector in &mut vectors {
            vector.truncate(dimensions);
            *vector = normalized(std::mem::take(vector));
        }
    }
    Ok(Embedded {
        vectors,
        tokens: input.iter().map(|text| count_tokens(text)).sum(),
        total_duration: nanos(arrived.elapsed()),
        load_duration,
    })
}

/// `/api/embeddings`
pub async fn embeddings(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    let request = request::Embeddings::read(body)?;
    let parsed = ModelRef::parse(&request.model)
        .map_err(|error| Failure::name(error, Failure::new(400, "model is required")))?;
    if parsed.source == Source::Cloud {
        return Err(Failure::cloud(NO_CLOUD));
    }
    let model = node.store().find_exact(&parsed.name).ok_or_else(|| not_pulled(&request.model))?;
    if let Some(error) = &request.options.error {
        return Err(Failure::new(500, error.clone()));
    }
    let lease = acquire(node, &call, &model, &request.options, request.keep_alive).await?;
    let mut vector = Vec::new();
    if !request.prompt.is_empty() {
        if !model.model.can(Capability::Embedding) {
            return Err(Failure::new(500, NO_EMBEDDINGS));
        }
        vector = one(node, &lease, &model, &request.prompt).await?;
    }
    let embedding = vector.into_iter().map(f64::from).collect();
    Ok(reply::json(200, &wire::Embedding { embedding }))
}

async fn one(node: &Node, lease: &Lease, model: &Stored, text: &str) -> Result<Vec<f32>, Failure> {
    let _slot = lease.slot().await?;
    let tokens = u32::try_from(count_tokens(text)).unwrap_or(u32::MAX);
    let time = node.config().prompt_time_per_token.saturating_mul(tokens);
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    Ok(embedding(&model.key, text, model.model.embedding_length))
}

fn not_pulled(name: &str) -> Failure {
    Failure::new(404, format!("model {name:?} not found, try pulling it first"))
}
