//! `/v1`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Target;
use super::expect::{ensure, head, keys, native_error, openai_error, positive, send, text};
use crate::client::{Answer, Call, get, post};

const JSON: &str = "application/json";

fn chat(target: &Target) -> Value {
    json!({
        "model": target.completion,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0,
        "seed": 1,
    })
}

fn completion(target: &Target) -> Value {
    json!({"model": target.completion, "prompt": "hi", "temperature": 0, "seed": 1})
}

async fn ask(target: &Target, path: &str, request: &Value) -> Result<Answer, String> {
    send(post(&target.base, path, request)).await
}

fn streamed(mut request: Value, include_usage: bool) -> Value {
    request["stream"] = json!(true);
    if include_usage {
        request["stream_options"] = json!({"include_usage": true});
    }
    request
}

/// One line of JSON.
fn whole(answer: &Answer) -> Result<Value, String> {
    head(answer, 200, JSON)?;
    ensure!(answer.text().ends_with("}\n"), "does not end with a newline");
    Ok(answer.json())
}

/// The events before `[DONE]`.
fn events(answer: &Answer) -> Result<Vec<Value>, String> {
    head(answer, 200, "text/event-stream")?;
    let mut events = answer.events();
    ensure!(events.pop().as_deref() == Some("[DONE]"), "does not end with [DONE]");
    ensure!(answer.text().ends_with("data: [DONE]\n\n"), "something after [DONE]");
    events
        .iter()
        .map(|event| serde_json::from_str(event).map_err(|error| format!("{event}: {error}")))
        .collect()
}

fn usage(value: &Value) -> Result<(), String> {
    keys(value, &["prompt_tokens", "completion_tokens", "total_tokens"], &[])?;
    let sum = positive(value, "prompt_tokens")? + positive(value, "completion_tokens")?;
    ensure!(value["total_tokens"] == sum, "sum in {value}");
    Ok(())
}

fn common(target: &Target, value: &Value, object: &str, id: &str) -> Result<(), String> {
    ensure!(value["object"] == object, "object in {value}");
    ensure!(text(value, "id")?.starts_with(id), "id in {value}");
    ensure!(value["model"] == target.completion, "model in {value}");
    ensure!(value["system_fingerprint"] == "fp_ollama", "fingerprint in {value}");
    positive(value, "created").map(|_| ())
}

pub async fn models(target: &Target) -> Result<(), String> {
    let value = whole(&send(get(&target.base, "/v1/models")).await?)?;
    keys(&value, &["object", "data"], &[])?;
    ensure!(value["object"] == "list", "object in {value}");
    let models = value["data"].as_array().ok_or("data is no array")?;
    for model in models {
        keys(model, &["id", "object", "created", "owned_by"], &[])?;
        ensure!(model["object"] == "model", "object in {model}");
        positive(model, "created")?;
    }
    let tags = send(get(&target.base, "/api/tags")).await?.json();
    // Both lists are newest first to the whole second; within one, a real server's order is that of a hash map.
    let sorted = |list: &[Value], key: &str| {
        let mut names: Vec<String> = list.iter().map(|model| model[key].to_string()).collect();
        names.sort_unstable();
        names
    };
    let names = sorted(tags["models"].as_array().map_or(&[], Vec::as_slice), "model");
    let ids = sorted(models, "id");
    ensure!(names == ids, "ids {ids:?} are not the tags {names:?}");
    Ok(())
}

pub async fn model(target: &Target) -> Result<(), String> {
    for name in [target.completion.clone(), format!("{}:latest", target.completion)] {
        let value = whole(&send(get(&target.base, &format!("/v1/models/{name}"))).await?)?;
        keys(&value, &["id", "object", "created", "owned_by"], &[])?;
        ensure!(value["id"] == name && value["owned_by"] == "library", "{value}");
    }
    let answer = send(get(&target.base, "/v1/models/no-such-model")).await?;
    openai_error(&answer, 404, "not_found_error", "model 'no-such-model:latest' not found", true)
}

pub async fn chat_whole(target: &Target) -> Result<(), String> {
    let value = whole(&ask(target, "/v1/chat/completions", &chat(target)).await?)?;
    keys(&value, &["id", "object", "created", "model", "system_fingerprint", "choices", "usage"], &[])?;
    common(target, &value, "chat.completion", "chatcmpl-")?;
    let choice = &value["choices"][0];
    keys(choice, &["index", "message", "finish_reason"], &[])?;
    keys(&choice["message"], &["role", "content"], &[])?;
    ensure!(choice["index"] == 0 && choice["finish_reason"] == "stop", "{choice}");
    ensure!(choice["message"]["role"] == "assistant", "{choice}");
    ensure!(!text(&choice["message"], "content")?.is_empty(), "no text");
    usage(&value["usage"])?;
    let mut short = chat(target);
    short["max_tokens"] = json!(3);
    let value = whole(&ask(target, "/v1/chat/completions", &short).await?)?;
    ensure!(value["choices"][0]["finish_reason"] == "length", "not cut: {value}");
    ensure!(value["usage"]["completion_tokens"] == 3, "tokens in {value}");
    Ok(())
}

async fn chat_events(target: &Target, include_usage: bool) -> Result<Vec<Value>, String> {
    let request = streamed(chat(target), include_usage);
    let events = events(&ask(target, "/v1/chat/completions", &request).await?)?;
    for event in &events {
        let needed = ["id", "object", "created", "model", "system_fingerprint", "choices"];
        keys(event, &needed, &["usage"])?;
        common(target, event, "chat.completion.chunk", "chatcmpl-")?;
        ensure!(event["id"] == events[0]["id"], "another id in {event}");
        ensure!(event["created"] == events[0]["created"], "another time in {event}");
    }
    Ok(events)
}

/// Checks the chunks with choices: a role first, then text, then the reason. Gives the text.
fn chat_chunks(chunks: &[Value]) -> Result<String, String> {
    let (last, contents) = chunks.split_last().ok_or("no chunks")?;
    ensure!(last["choices"][0]["finish_reason"] == "stop", "{last}");
    ensure!(last["choices"][0]["delta"] == json!({}), "{last}");
    let mut said = String::new();
    for (at, chunk) in contents.iter().enumerate() {
        let choice = &chunk["choices"][0];
        keys(choice, &["index", "delta", "finish_reason"], &[])?;
        ensure!(choice["finish_reason"].is_null(), "{chunk}");
        let needed: &[&str] = if at == 0 { &["role", "content"] } else { &["content"] };
        keys(&choice["delta"], needed, &[])?;
        said.push_str(text(&choice["delta"], "content")?);
    }
    Ok(said)
}

pub async fn chat_stream(target: &Target) -> Result<(), String> {
    let events = chat_events(target, false).await?;
    ensure!(events.iter().all(|event| event.get("usage").is_none()), "usage was not asked for");
    let said = chat_chunks(&events)?;
    let value = whole(&ask(target, "/v1/chat/completions", &chat(target)).await?)?;
    ensure!(value["choices"][0]["message"]["content"] == said, "another text: {said}");
    Ok(())
}

pub async fn chat_stream_with_usage(target: &Target) -> Result<(), String> {
    let events = chat_events(target, true).await?;
    let (last, chunks) = events.split_last().ok_or("no events")?;
    ensure!(last["choices"] == json!([]), "{last}");
    usage(&last["usage"])?;
    ensure!(chunks.iter().all(|event| event.get("usage").is_none()), "usage too early");
    chat_chunks(chunks).map(|_| ())
}

pub async fn completions_whole(target: &Target) -> Result<(), String> {
    let value = whole(&ask(target, "/v1/completions", &completion(target)).await?)?;
    keys(&value, &["id", "object", "created", "model", "system_fingerprint", "choices", "usage"], &[])?;
    common(target, &value, "text_completion", "cmpl-")?;
    let choice = &value["choices"][0];
    keys(choice, &["text", "index", "finish_reason"], &[])?;
    ensure!(choice["finish_reason"] == "stop" && !text(choice, "text")?.is_empty(), "{choice}");
    usage(&value["usage"])
}

async fn completion_events(target: &Target, include_usage: bool) -> Result<Vec<Value>, String> {
    let request = streamed(completion(target), include_usage);
    let events = events(&ask(target, "/v1/completions", &request).await?)?;
    for event in &events {
        let needed = ["id", "object", "created", "model", "system_fingerprint", "choices"];
        keys(event, &needed, &["usage"])?;
        common(target, event, "text_completion", "cmpl-")?;
    }
    Ok(events)
}

pub async fn completions_stream(target: &Target) -> Result<(), String> {
    let events = completion_events(target, false).await?;
    let (last, chunks) = events.split_last().ok_or("no events")?;
    ensure!(last["choices"][0]["finish_reason"] == "stop", "{last}");
    let mut said = String::new();
    for chunk in chunks {
        ensure!(chunk["choices"][0]["finish_reason"].is_null(), "{chunk}");
        ensure!(chunk.get("usage").is_none(), "usage was not asked for: {chunk}");
        said.push_str(text(&chunk["choices"][0], "text")?);
    }
    let value = whole(&ask(target, "/v1/completions", &completion(target)).await?)?;
    ensure!(value["choices"][0]["text"] == said, "another text: {said}");
    Ok(())
}

pub async fn completions_stream_with_usage(target: &Target) -> Result<(), String> {
    let events = completion_events(target, true).await?;
    let (last, chunks) = events.split_last().ok_or("no events")?;
    ensure!(last["choices"] == json!([]), "{last}");
    usage(&last["usage"])?;
    for chunk in chunks {
        let zero = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        ensure!(chunk["usage"] == zero, "usage in {chunk}");
    }
    Ok(())
}

pub async fn embeddings_in_both_encodings(target: &Target) -> Result<(), String> {
    let request = json!({"model": target.embedding, "input": ["apple", "zebra"]});
    let floats = whole(&ask(target, "/v1/embeddings", &request).await?)?;
    keys(&floats, &["object", "data", "model", "usage"], &[])?;
    keys(&floats["usage"], &["prompt_tokens", "total_tokens"], &[])?;
    positive(&floats["usage"], "prompt_tokens")?;
    ensure!(floats["object"] == "list" && floats["model"] == target.embedding, "{floats}");
    let mut request = request;
    request["encoding_format"] = json!("base64");
    let encoded = whole(&ask(target, "/v1/embeddings", &request).await?)?;
    for at in 0..2 {
        let (float, base64) = (&floats["data"][at], &encoded["data"][at]);
        keys(float, &["object", "embedding", "index"], &[])?;
        ensure!(float["index"] == at && float["object"] == "embedding", "{float}");
        let numbers = float["embedding"].as_array().ok_or("no vector")?;
        let bytes = STANDARD.decode(text(base64, "embedding")?).map_err(|error| error.to_string())?;
        ensure!(bytes.len() == numbers.len() * 4, "{} bytes, {} numbers", bytes.len(), numbers.len());
        for (four, number) in bytes.chunks_exact(4).zip(numbers) {
            let decoded = f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            let number = number.as_f64().ok_or("no number")?;
            ensure!((f64::from(decoded) - number).abs() < 1e-3, "{decoded} is not {number}");
        }
    }
    Ok(())
}

pub async fn errors_from_the_translation(target: &Target) -> Result<(), String> {
    let invalid = "invalid_request_error";
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
        for (body, message) in [
            ("", "EOF"),
            ("{", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
        ] {
            let answer = send(Call::new(http::Method::POST, &target.base, path).body(body)).await?;
            openai_error(&answer, 400, invalid, message, false)
                .map_err(|problem| format!("{path} {body}: {problem}"))?;
        }
    }
    let name = &target.completion;
    let encoding = "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].";
    for (path, request, message) in [
        ("/v1/chat/completions", json!({"model": name}), "[] is too short - 'messages'"),
        ("/v1/chat/completions", json!({"model": name, "messages": []}), "[] is too short - 'messages'"),
        (
            "/v1/chat/completions",
            json!({"model": name, "messages": [{"role": "user", "content": 5}]}),
            "invalid message content type: float64",
        ),
        (
            "/v1/completions",
            json!({"model": name, "prompt": ["x"]}),
            "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string",
        ),
        ("/v1/embeddings", json!({"model": name}), "invalid input"),
        ("/v1/embeddings", json!({"model": name, "input": "x", "encoding_format": "hex"}), encoding),
    ] {
        let answer = ask(target, path, &request).await?;
        openai_error(&answer, 400, invalid, message, false)
            .map_err(|problem| format!("{path} {request}: {problem}"))?;
    }
    Ok(())
}

pub async fn errors_from_the_handler(target: &Target) -> Result<(), String> {
    let messages = json!([{"role": "user", "content": "x"}]);
    let embedding = &target.embedding;
    let (not_found, invalid) = ("not_found_error", "invalid_request_error");
    let no_chat = format!("\"{embedding}\" does not support chat");
    let no_generate = format!("\"{embedding}\" does not support generate");
    let try_pulling = "model \"no-such-model\" not found, try pulling it first";
    let no_model = "model 'no-such-model' not found";
    for (path, request, status, kind, message) in [
        ("/v1/chat/completions", json!({"messages": messages}), 400, invalid, "model is required"),
        (
            "/v1/chat/completions",
            json!({"model": "no-such-model", "messages": messages}),
            404,
            not_found,
            no_model,
        ),
        ("/v1/chat/completions", json!({"model": embedding, "messages": messages}), 400, invalid, &no_chat),
        ("/v1/completions", json!({"prompt": "x"}), 404, not_found, "model '' not found"),
        ("/v1/completions", json!({"model": "no-such-model", "prompt": "x"}), 404, not_found, no_model),
        ("/v1/completions", json!({"model": embedding, "prompt": "x"}), 400, invalid, &no_generate),
        ("/v1/embeddings", json!({"input": "x"}), 404, not_found, "model '' not found"),
        ("/v1/embeddings", json!({"model": "no-such-model", "input": "x"}), 404, not_found, try_pulling),
    ] {
        let answer = ask(target, path, &request).await?;
        openai_error(&answer, status, kind, message, true)
            .map_err(|problem| format!("{path} {request}: {problem}"))?;
    }
    let answer = send(get(&target.base, "/v1/models/x:cloud")).await?;
    native_error(&answer, 403, "ollama cloud is disabled: remote model details are unavailable")
}
