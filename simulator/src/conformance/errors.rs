//! Errors of the native routes, byte for byte.

use http::Method;
use serde_json::{Value, json};

use super::Target;
use super::expect::{native_error, openai_error, send};
use crate::client::{Call, post};

const ROUTES: [&str; 5] = ["/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"];

async fn refused(target: &Target, path: &str, body: &str, status: u16, message: &str) -> Result<(), String> {
    let call = Call::new(Method::POST, &target.base, path).body(body.to_owned());
    let answer = send(call).await?;
    native_error(&answer, status, message).map_err(|problem| format!("{path} {body}: {problem}"))
}

async fn refused_json(
    target: &Target,
    path: &str,
    body: Value,
    status: u16,
    message: &str,
) -> Result<(), String> {
    refused(target, path, &body.to_string(), status, message).await
}

pub async fn bodies(target: &Target) -> Result<(), String> {
    for path in ROUTES {
        for (body, message) in [
            ("", "missing request body"),
            (" \n", "missing request body"),
            ("{", "unexpected EOF"),
            (r#"{"model":"#, "unexpected EOF"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            (r#"{"model" 1}"#, "invalid character '1' after object key"),
            ("\u{feff}{}", "invalid character '\u{ef}' looking for beginning of value"),
        ] {
            refused(target, path, body, 400, message).await?;
        }
    }
    Ok(())
}

pub async fn missing_models(target: &Target) -> Result<(), String> {
    for (path, status, message) in [
        ("/api/generate", 404, "model '' not found"),
        ("/api/chat", 400, "model is required"),
        ("/api/embed", 404, "model '' not found"),
        ("/api/embeddings", 400, "model is required"),
        ("/api/show", 400, "model is required"),
    ] {
        for body in ["{}", "null", r#"{"model":null}"#, r#"{"model":""}"#] {
            refused(target, path, body, status, message).await?;
        }
    }
    Ok(())
}

pub async fn illegal_names(target: &Target) -> Result<(), String> {
    for path in ROUTES {
        for name in ["a/b/c/d", "-x", "x:", "x@sha256:ab", "a b"] {
            refused_json(target, path, json!({"model": name}), 400, "invalid model name").await?;
        }
        let message = "use either :local or :cloud, not both: \"a:local:cloud\"";
        refused_json(target, path, json!({"model": "a:local:cloud"}), 400, message).await?;
    }
    Ok(())
}

pub async fn unknown_models(target: &Target) -> Result<(), String> {
    for (path, message) in [
        ("/api/generate", "model 'no-such-model' not found"),
        ("/api/chat", "model 'no-such-model' not found"),
        ("/api/embed", "model \"no-such-model\" not found, try pulling it first"),
        ("/api/embeddings", "model \"no-such-model\" not found, try pulling it first"),
        ("/api/show", "model 'no-such-model:latest' not found"),
    ] {
        refused_json(target, path, json!({"model": "no-such-model", "prompt": "x"}), 404, message).await?;
    }
    Ok(())
}

pub async fn wrong_capabilities(target: &Target) -> Result<(), String> {
    let (completion, embedding) = (&target.completion, &target.embedding);
    let generate = json!({"model": embedding, "prompt": "x"});
    refused_json(
        target,
        "/api/generate",
        generate,
        400,
        &format!("\"{embedding}\" does not support generate"),
    )
    .await?;
    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = json!({"model": embedding, "messages": messages});
    refused_json(target, "/api/chat", chat, 400, &format!("\"{embedding}\" does not support chat")).await?;
    let think = json!({"model": completion, "messages": messages, "think": true});
    refused_json(target, "/api/chat", think, 400, &format!("\"{completion}\" does not support thinking"))
        .await?;
    let insert = json!({"model": completion, "prompt": "x", "suffix": "y"});
    let message = format!("registry.ollama.ai/library/{completion}:latest does not support insert");
    refused_json(target, "/api/generate", insert, 400, &message).await?;
    let no_embeddings = "This server does not support embeddings. Start it with `--embeddings`";
    let embed = json!({"model": completion, "input": "x"});
    refused_json(target, "/api/embed", embed, 501, no_embeddings).await?;
    let embeddings = json!({"model": completion, "prompt": "x"});
    refused_json(target, "/api/embeddings", embeddings, 500, no_embeddings).await
}

pub async fn wrong_types(target: &Target) -> Result<(), String> {
    let name = &target.completion;
    for (path, body, status, message) in [
        (
            "/api/generate",
            json!({"model": name, "stream": "yes"}),
            400,
            "json: cannot unmarshal string into Go struct field GenerateRequest.stream of type bool",
        ),
        (
            "/api/chat",
            json!({"model": 5}),
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        (
            "/api/chat",
            json!({"model": name, "messages": [{"role": "user", "content": 5}]}),
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.messages.content of type string",
        ),
        ("/api/embed", json!([]), 400, "json: cannot unmarshal array into Go value of type api.EmbedRequest"),
        ("/api/embed", json!({"model": name, "input": [1]}), 400, "invalid input type"),
        (
            "/api/generate",
            json!({"model": name, "keep_alive": "300"}),
            400,
            "time: missing unit in duration \"300\"",
        ),
        (
            "/api/generate",
            json!({"model": name, "prompt": "x", "options": {"num_ctx": "big"}}),
            500,
            "option \"num_ctx\" must be of type integer",
        ),
        (
            "/api/generate",
            json!({"model": name, "raw": true, "prompt": "x", "system": "y"}),
            400,
            "raw mode does not support template, system, or context",
        ),
        (
            "/api/chat",
            json!({"model": name, "top_logprobs": 21}),
            400,
            "top_logprobs must be between 0 and 20",
        ),
    ] {
        refused_json(target, path, body, status, message).await?;
    }
    Ok(())
}

/// Holds for a server that was started with the cloud disabled.
pub async fn cloud_names_without_cloud(target: &Target) -> Result<(), String> {
    for name in ["x:cloud", "gpt-oss:120b-cloud", "x:CLOUD"] {
        for path in ["/api/generate", "/api/chat", "/api/embed", "/api/embeddings"] {
            let message = "ollama cloud is disabled: remote model is unavailable";
            refused_json(target, path, json!({"model": name, "prompt": "x"}), 403, message).await?;
        }
        let message = "ollama cloud is disabled: remote model details are unavailable";
        refused_json(target, "/api/show", json!({"model": name}), 403, message).await?;
    }
    let call = post(&target.base, "/v1/chat/completions", &json!({"model": "x:cloud"}));
    let message = "ollama cloud is disabled: remote model is unavailable";
    native_error(&send(call).await?, 403, message)?;
    // Spelt otherwise, the name is found after the translation.
    let messages = json!([{"role": "user", "content": "x"}]);
    let call = post(&target.base, "/v1/chat/completions", &json!({"MODEL": "x:cloud", "messages": messages}));
    openai_error(&send(call).await?, 403, "api_error", message, true)
}
