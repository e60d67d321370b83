//! Bodies of `/v1`, translated into those of the native API. Much is dropped on the way: `keep_alive`, `options`,
//! and with them `num_ctx`, have no effect here.

use super::failure::Failure;
use super::request::{Chat, Embed, Generate, Message, go_dynamic_type, input};
use crate::gojson::{Decoded, Fields, GoType, Kind, Raw, ScanError, base64_error, decode};
use crate::runner::Options;

/// The words of `/v1`.
fn openai<T>(decoded: Result<Decoded<T>, ScanError>) -> Result<T, Failure> {
    match decoded {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(text)) => Err(Failure::middleware(400, text)),
        Err(error) => Err(Failure::middleware(400, error.to_string())),
    }
}

/// `/v1/chat/completions` as `/api/chat`, and whether usage is wanted.
pub fn chat(body: &[u8]) -> Result<(Chat, bool), Failure> {
    let (chat, usage, problem) = openai(decode(body, "openai", "ChatCompletionRequest", |f| {
        let messages = f.objects("messages", "[]openai.Message", ("openai.Message", "Message"), false, |f| {
            let role = f.string("role");
            let calls = !f.array("tool_calls", "[]openai.ToolCall").is_empty();
            (role, calls, f.pointer("content").map(content_parts))
        });
        let (effort, effort_problem) = reasoning(f);
        let (stream, usage) = (f.boolean("stream"), include_usage(f));
        let tools = !f.array("tools", "[]api.Tool").is_empty();
        f.check(&[("logprobs", GoType::Bool), ("_debug_render_only", GoType::Bool)]);
        floats(f, "float64");
        let chat = Chat {
            model: f.string("model"),
            messages: Vec::new(),
            stream,
            keep_alive: None,
            tools,
            think: effort,
            top_logprobs: f.int_pointer("top_logprobs").unwrap_or(0),
            options: openai_options(f),
        };
        (chat, usage, (messages, effort_problem))
    }))?;
    let (messages, effort_problem) = problem;
    if messages.is_empty() {
        return Err(Failure::middleware(400, "[] is too short - 'messages'"));
    }
    let mut chat = chat;
    for (role, calls, content) in messages {
        let role = role.to_lowercase();
        match content {
            Some(Ok(parts)) => {
                chat.messages
                    .extend(parts.into_iter().map(|content| Message { role: role.clone(), content }));
            }
            Some(Err(problem)) if problem.starts_with("invalid message content type") && calls => {
                chat.messages.push(Message { role, content: String::new() });
            }
            Some(Err(problem)) => return Err(Failure::middleware(400, problem)),
            None if calls => chat.messages.push(Message { role, content: String::new() }),
            None => return Err(Failure::middleware(400, "invalid message content type: <nil>")),
        }
    }
    if let Some(problem) = effort_problem {
        return Err(Failure::middleware(400, problem));
    }
    Ok((chat, usage))
}

/// `/v1/completions` as `/api/generate`, and whether usage is wanted.
pub fn completion(body: &[u8]) -> Result<(Generate, bool), Failure> {
    let (generate, usage, wrong_stop) = openai(decode(body, "openai", "CompletionRequest", |f| {
        let usage = include_usage(f);
        f.check(&[("_debug_render_only", GoType::Bool)]);
        floats(f, "float32");
        let stops = f.pointer("stop").map(|raw| raw.elements()).unwrap_or_default();
        let wrong_stop = stops.iter().find(|stop| stop.kind() != Kind::String).map(go_dynamic_type);
        let generate = Generate {
            model: f.string("model"),
            prompt: f.string("prompt"),
            suffix: !f.string("suffix").is_empty(),
            stream: f.boolean("stream"),
            raw: false,
            not_raw: false,
            keep_alive: None,
            think: false,
            top_logprobs: f.int_pointer("logprobs").unwrap_or(0).max(0),
            options: openai_options(f),
        };
        (generate, usage, wrong_stop)
    }))?;
    match wrong_stop {
        Some(kind) => Err(Failure::middleware(400, format!("invalid type for 'stop' field: {kind}"))),
        None => Ok((generate, usage)),
    }
}

/// `/v1/embeddings` as `/api/embed`, and whether base64 is wanted.
pub fn embedding(body: &[u8]) -> Result<(Embed, bool), Failure> {
    let (model, dimensions, format, raw) = openai(decode(body, "openai", "EmbedRequest", |f| {
        let dimensions = f.int_pointer("dimensions").unwrap_or(0);
        (f.string("model"), dimensions, f.string("encoding_format"), f.pointer("input"))
    }))?;
    let base64 = format.eq_ignore_ascii_case("base64");
    if !format.is_empty() && !base64 && !format.eq_ignore_ascii_case("float") {
        return Err(Failure::middleware(
            400,
            format!("Invalid value for 'encoding_format' = {format}. Supported values: ['float', 'base64']."),
        ));
    }
    let empty = raw.is_some_and(|raw| raw.string().is_some_and(|text| text.is_empty()));
    let mut wanted = input(raw);
    if empty {
        wanted = Some(vec![String::new()]);
    } else if raw.is_none() || raw.is_some_and(|raw| raw.kind() == Kind::Array && raw.elements().is_empty()) {
        return Err(Failure::middleware(400, "invalid input"));
    }
    let options = Options::default();
    Ok((Embed { model, input: wanted, keep_alive: None, truncate: true, dimensions, options }, base64))
}

/// A message's content: one text, or the texts of its parts.
fn content_parts(raw: Raw<'_>) -> Result<Vec<String>, String> {
    match raw.kind() {
        Kind::String => Ok(raw.string().into_iter().collect()),
        Kind::Array => raw.elements().iter().map(content_part).collect(),
        _ => Err(format!("invalid message content type: {}", go_dynamic_type(&raw))),
    }
}

fn content_part(raw: &Raw<'_>) -> Result<String, String> {
    let invalid = || "invalid message format".to_owned();
    let text = |raw: Option<Raw<'_>>| raw.and_then(|raw| raw.string()).ok_or_else(invalid);
    match text(raw.last("type"))?.as_str() {
        "text" => text(raw.last("text")),
        "image_url" => {
            let url = raw.last("image_url").ok_or_else(invalid)?;
            let url = if url.kind() == Kind::Object { url.last("url") } else { Some(url) };
            image_url(&text(url)?).map(|()| String::new())
        }
        _ => Err(invalid()),
    }
}

fn image_url(url: &str) -> Result<(), String> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Err(
            "image URLs are not currently supported, please use base64 encoded data instead".to_owned()
        );
    }
    let kinds = ["", "image/jpeg", "image/jpg", "image/png", "image/webp"];
    let data = kinds.iter().find_map(|kind| url.strip_prefix(&format!("data:{kind};base64,")));
    match data.map(|data| base64_error(data.as_bytes())) {
        Some(None) => Ok(()),
        _ => Err("invalid image input".to_owned()),
    }
}

fn include_usage(f: &mut Fields<'_>) -> bool {
    let take = |f: &mut Fields<'_>| f.boolean("include_usage");
    f.object("stream_options", "openai.StreamOptions", "StreamOptions", take).unwrap_or(false)
}

/// Whether thinking is asked for, and what is wrong with how.
fn reasoning(f: &mut Fields<'_>) -> (bool, Option<String>) {
    let nested = f.object("reasoning", "openai.Reasoning", "Reasoning", |f| f.string("effort"));
    let plain = f.pointer("reasoning_effort").is_some().then(|| f.string("reasoning_effort"));
    match nested.or(plain).unwrap_or_default().as_str() {
        "" | "none" => (false, None),
        "minimal" | "low" | "medium" | "high" | "max" | "xhigh" | "ultra" => (true, None),
        other => (
            false,
            Some(format!(
                "invalid reasoning value: {other:?} (must be \"minimal\", \"low\", \"medium\", \"high\", \
                 \"xhigh\", \"ultra\", \"max\", or \"none\")"
            )),
        ),
    }
}

fn floats(f: &mut Fields<'_>, go_type: &'static str) {
    for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty"] {
        f.check(&[(name, GoType::Float(go_type))]);
    }
}

/// `/v1` sets few options; `num_ctx` is not among them.
fn openai_options(f: &mut Fields<'_>) -> Options {
    f.int_pointer("seed");
    Options { num_predict: f.int_pointer("max_tokens"), ..Options::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(read: Result<T, Failure>) -> String {
        read.unwrap_err().message
    }

    #[test]
    fn chats() {
        let body = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,
            "keep_alive":0,"options":{"num_ctx":1},
            "messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        let (read, usage) = chat(body).unwrap();
        assert!(usage && read.stream);
        assert_eq!(read.prompt(), "<user>a\n<user>b\n");
        assert_eq!(
            (read.options.num_predict, read.options.runner.num_ctx, read.keep_alive),
            (Some(5), None, None)
        );
        for (body, want) in [
            (&b""[..], "EOF"),
            (b"{}", "[] is too short - 'messages'"),
            (br#"{"messages":[{"role":"user"}]}"#, "invalid message content type: <nil>"),
            (br#"{"messages":[{"role":"user","content":5}]}"#, "invalid message content type: float64"),
            (br#"{"messages":[{"role":"user","content":[{"type":"x"}]}]}"#, "invalid message format"),
            (
                br#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}"#,
                "image URLs are not currently supported, please use base64 encoded data instead",
            ),
            (
                br#"{"stream":"x","messages":[]}"#,
                "json: cannot unmarshal string into Go struct field ChatCompletionRequest.stream of type bool",
            ),
        ] {
            assert_eq!(refusal(chat(body)), want);
        }
    }

    #[test]
    fn completions_and_embeddings() {
        let (read, usage) = completion(br#"{"model":"m","prompt":"p","max_tokens":3}"#).unwrap();
        assert!(!read.stream && !usage && read.options.num_predict == Some(3));
        assert!(
            refusal(completion(br#"{"prompt":["p"]}"#)).contains("CompletionRequest.prompt of type string")
        );
        let (read, base64) = embedding(br#"{"input":"","encoding_format":"BASE64"}"#).unwrap();
        assert_eq!((read.input, base64), (Some(vec![String::new()]), true));
        assert_eq!(refusal(embedding(b"{}")), "invalid input");
        assert_eq!(refusal(embedding(br#"{"input":[]}"#)), "invalid input");
        assert!(refusal(embedding(br#"{"input":"x","encoding_format":"hex"}"#)).starts_with("Invalid value"));
    }
}
