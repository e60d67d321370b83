//! `/v1`: translated, run as the native API, and told in its own words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Response;

use super::Call;
use super::encode::{OpenAi, Shape};
use super::failure::Failure;
use super::reply::{self, Body};
use super::{embed, generate, request_openai, wire};
use crate::gojson::first_value;
use crate::name::{ModelRef, Source};
use crate::node::Node;

/// Cloud models are passed through untranslated, here: refused. They are looked for under the exact key `model`
/// of a body that is JSON and nothing more; what is spelt otherwise is found later, by the handler.
fn no_cloud(body: &[u8]) -> Result<(), Failure> {
    let Ok(raw) = first_value(body) else { return Ok(()) };
    if body.get(raw.end()..).is_some_and(|rest| !rest.trim_ascii().is_empty()) {
        return Ok(());
    }
    let name = raw.last("model").and_then(|raw| raw.string()).unwrap_or_default();
    match ModelRef::parse(&name) {
        Ok(parsed) if parsed.source == Source::Cloud => Err(Failure::cloud_passthrough(generate::NO_CLOUD)),
        _ => Ok(()),
    }
}

/// `/v1/chat/completions`
pub async fn chat(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    no_cloud(body)?;
    let (request, usage) = request_openai::chat(body)?;
    generate::run_chat(node, call, request, Shape::OpenAiChat(OpenAi::new("chatcmpl", usage))).await
}

/// `/v1/completions`
pub async fn completions(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    no_cloud(body)?;
    let (request, usage) = request_openai::completion(body)?;
    generate::run_generate(node, call, request, Shape::OpenAiCompletion(OpenAi::new("cmpl", usage))).await
}

/// `/v1/embeddings`
pub async fn embeddings(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    no_cloud(body)?;
    let (request, base64) = request_openai::embedding(body)?;
    let model = request.model.clone();
    let embedded = embed::run(node, &call, request).await?;
    let item = |(index, vector): (usize, Vec<f32>)| {
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            wire::Vector::Base64(STANDARD.encode(bytes))
        } else {
            wire::Vector::Float(vector)
        };
        wire::EmbeddingItem { object: "embedding", embedding, index }
    };
    let tokens = embedded.tokens;
    Ok(reply::json_line(
        200,
        &wire::EmbeddingList {
            object: "list",
            data: embedded.vectors.into_iter().enumerate().map(item).collect(),
            model: &model,
            usage: wire::EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens },
        },
    ))
}
