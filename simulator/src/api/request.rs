//! Request bodies, decoded as Ollama decodes them.

use super::failure::Failure;
use crate::gojson::{Decoded, Fields, GoType, Kind, Raw, ScanError, base64_error, decode};
use crate::keep_alive::KeepAlive;
use crate::runner::Options;

/// `/api/generate`
#[derive(Debug)]
pub struct Generate {
    pub model: String,
    pub prompt: String,
    pub suffix: bool,
    pub stream: bool,
    pub raw: bool,
    /// Something that raw mode does not go with.
    pub not_raw: bool,
    pub keep_alive: Option<KeepAlive>,
    pub think: bool,
    pub top_logprobs: i64,
    pub options: Options,
}

/// `/api/chat`
#[derive(Debug)]
pub struct Chat {
    pub model: String,
    pub messages: Vec<Message>,
    pub stream: bool,
    pub keep_alive: Option<KeepAlive>,
    pub tools: bool,
    pub think: bool,
    pub top_logprobs: i64,
    pub options: Options,
}

/// A message of a chat.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// Fields that are read and have no effect here.
const UNUSED: [(&str, GoType); 4] = [
    ("truncate", GoType::Bool),
    ("shift", GoType::Bool),
    ("logprobs", GoType::Bool),
    ("_debug_render_only", GoType::Bool),
];

/// `/api/embed`
#[derive(Debug)]
pub struct Embed {
    pub model: String,
    /// `None`: of a wrong type.
    pub input: Option<Vec<String>>,
    pub keep_alive: Option<KeepAlive>,
    pub truncate: bool,
    pub dimensions: i64,
    pub options: Options,
}

/// `/api/embeddings`
#[derive(Debug)]
pub struct Embeddings {
    pub model: String,
    pub prompt: String,
    pub keep_alive: Option<KeepAlive>,
    pub options: Options,
}

/// The native words for a body that cannot be read.
fn native<T>(decoded: Result<Decoded<T>, ScanError>) -> Result<T, Failure> {
    match decoded {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(text)) => Err(Failure::new(400, text)),
        Err(ScanError::Empty) => Err(Failure::new(400, "missing request body")),
        Err(error) => Err(Failure::new(400, error.to_string())),
    }
}

impl Generate {
    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        native(decode(body, "api", "GenerateRequest", |f| {
            images(f);
            let template = f.string("template");
            let system = f.string("system");
            let context = f.array("context", "[]int");
            for id in &context {
                if id.number_text().is_none_or(|text| text.parse::<i64>().is_err()) {
                    f.wrong_element("context", id, "int");
                }
            }
            f.check(&UNUSED);
            Self {
                model: f.string("model"),
                prompt: f.string("prompt"),
                suffix: !f.string("suffix").is_empty(),
                stream: f.boolean_pointer("stream").unwrap_or(true),
                raw: f.boolean("raw"),
                not_raw: !template.is_empty() || !system.is_empty() || !context.is_empty(),
                keep_alive: f.own("keep_alive", keep_alive),
                think: f.own("think", think).unwrap_or(false),
                top_logprobs: f.int_pointer("top_logprobs").unwrap_or(0),
                options: Options::read(f.map("options")),
            }
        }))
    }
}

impl Chat {
    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        native(decode(body, "api", "ChatRequest", |f| Self {
            model: {
                f.check(&UNUSED);
                f.string("model")
            },
            messages: f.objects("messages", "[]api.Message", ("api.Alias", "Alias"), true, |f| {
                images(f);
                f.check(&[
                    ("thinking", GoType::Text),
                    ("tool_name", GoType::Text),
                    ("tool_call_id", GoType::Text),
                    ("tool_calls", GoType::List("[]api.ToolCall")),
                ]);
                Message { role: f.string("role").to_lowercase(), content: f.string("content") }
            }),
            stream: f.boolean_pointer("stream").unwrap_or(true),
            keep_alive: f.own("keep_alive", keep_alive),
            tools: !f.array("tools", "api.Tools").is_empty(),
            think: f.own("think", think).unwrap_or(false),
            top_logprobs: f.int_pointer("top_logprobs").unwrap_or(0),
            options: Options::read(f.map("options")),
        }))
    }

    /// The messages as one prompt.
    pub fn prompt(&self) -> String {
        let mut prompt = String::new();
        for Message { role, content } in &self.messages {
            prompt.push('<');
            prompt.push_str(role);
            prompt.push('>');
            prompt.push_str(content);
            prompt.push('\n');
        }
        prompt
    }
}

impl Embed {
    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        native(decode(body, "api", "EmbedRequest", |f| Self {
            model: f.string("model"),
            input: input(f.pointer("input")),
            keep_alive: f.own("keep_alive", keep_alive),
            truncate: f.boolean_pointer("truncate").unwrap_or(true),
            dimensions: f.int_pointer("dimensions").unwrap_or(0),
            options: Options::read(f.map("options")),
        }))
    }
}

impl Embeddings {
    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        native(decode(body, "api", "EmbeddingRequest", |f| Self {
            model: f.string("model"),
            prompt: f.string("prompt"),
            keep_alive: f.own("keep_alive", keep_alive),
            options: Options::read(f.map("options")),
        }))
    }
}

/// `/api/show`: the name it asks for, empty when there is none.
pub fn show(body: &[u8]) -> Result<String, Failure> {
    native(decode(body, "api", "ShowRequest", |f| {
        f.check(&[("system", GoType::Text), ("template", GoType::Text), ("verbose", GoType::Bool)]);
        f.map("options");
        let (model, name) = (f.string("model"), f.string("name"));
        if model.is_empty() { name } else { model }
    }))
}

/// A string, or an array of strings; an empty string is no input.
pub fn input(raw: Option<Raw<'_>>) -> Option<Vec<String>> {
    let Some(raw) = raw else { return Some(Vec::new()) };
    match raw.kind() {
        Kind::String => Some(raw.string().into_iter().filter(|text| !text.is_empty()).collect()),
        Kind::Array => raw.elements().iter().map(Raw::string).collect(),
        _ => None,
    }
}

fn keep_alive(raw: Raw<'_>) -> Result<KeepAlive, String> {
    if let Some(seconds) = raw.number() {
        return Ok(KeepAlive::from_seconds(seconds));
    }
    match raw.kind() {
        Kind::String => KeepAlive::from_go(&raw.string().unwrap_or_default()),
        _ => Err(format!("Unsupported type: '{}'", go_dynamic_type(&raw))),
    }
}

/// Whether thinking is asked for.
fn think(raw: Raw<'_>) -> Result<bool, String> {
    if let Some(wanted) = raw.boolean() {
        return Ok(wanted);
    }
    match raw.string() {
        Some(level) if ["high", "medium", "low", "max"].contains(&level.as_str()) => Ok(true),
        Some(level) => Err(format!(
            "invalid think value: {level:?} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)"
        )),
        None => {
            Err("think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)"
                .to_owned())
        }
    }
}

/// Images are checked, not looked at.
fn images(f: &mut Fields<'_>) {
    for raw in f.array("images", "[]api.ImageData") {
        match raw.string().map(|text| base64_error(text.as_bytes())) {
            Some(None) => {}
            Some(Some(at)) => f.refuse(raw.at(), format!("illegal base64 data at input byte {at}")),
            None => f.wrong_element("images", &raw, "api.ImageData"),
        }
    }
}

/// What Go's `%T` says of a value decoded into `any`.
pub fn go_dynamic_type(raw: &Raw<'_>) -> &'static str {
    match raw.kind() {
        Kind::String => "string",
        Kind::Array => "[]interface {}",
        Kind::Bool => "bool",
        Kind::Number => "float64",
        Kind::Object => "map[string]interface {}",
        Kind::Null => "<nil>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn refusal<T: std::fmt::Debug>(read: Result<T, Failure>) -> String {
        read.unwrap_err().message
    }

    #[test]
    fn generate() {
        let read = Generate::read(br#"{"Model":"m","prompt":"p","stream":false,"keep_alive":"90s","foo":1}"#)
            .unwrap();
        assert_eq!((read.model.as_str(), read.prompt.as_str(), read.stream), ("m", "p", false));
        assert_eq!(read.keep_alive, Some(KeepAlive::For(Duration::from_secs(90))));
        assert!(Generate::read(b"null").unwrap().stream, "streams unless told");
        for (body, want) in [
            (&b""[..], "missing request body"),
            (b" ", "missing request body"),
            (b"{", "unexpected EOF"),
            (br#"{"keep_alive":"300"}"#, "time: missing unit in duration \"300\""),
            (br#"{"keep_alive":true}"#, "Unsupported type: 'bool'"),
            (
                br#"{"stream":"yes"}"#,
                "json: cannot unmarshal string into Go struct field GenerateRequest.stream of type bool",
            ),
            (br#"{"images":["data:x"]}"#, "illegal base64 data at input byte 4"),
            (
                br#"{"think":"hard"}"#,
                "invalid think value: \"hard\" (must be \"high\", \"medium\", \"low\", \"max\", true, or false)",
            ),
        ] {
            assert_eq!(refusal(Generate::read(body)), want);
        }
    }

    #[test]
    fn chat() {
        let read =
            Chat::read(br#"{"messages":[{"role":"USER","content":"hi","Content":"ho"}],"think":"low"}"#)
                .unwrap();
        assert_eq!(read.prompt(), "<user>ho\n");
        assert!(read.think && read.stream && !read.tools);
        assert_eq!(
            refusal(Chat::read(br#"{"messages":[{"content":5}]}"#)),
            "json: cannot unmarshal number into Go struct field ChatRequest.messages.content of type string"
        );
        assert_eq!(
            refusal(Chat::read(br#"{"messages":{}}"#)),
            "json: cannot unmarshal object into Go struct field ChatRequest.messages of type []api.Message"
        );
    }

    #[test]
    fn embed_inputs() {
        let input = |body: &[u8]| Embed::read(body).unwrap().input;
        assert_eq!(input(br#"{"input":"a"}"#), Some(vec!["a".to_owned()]));
        assert_eq!(input(br#"{"input":["a","b"]}"#).map(|list| list.len()), Some(2));
        assert_eq!(input(br#"{"input":""}"#), Some(vec![]));
        assert_eq!(input(b"{}"), Some(vec![]));
        assert_eq!(input(br#"{"input":[1]}"#), None);
        assert_eq!(input(br#"{"input":5}"#), None);
    }
}
