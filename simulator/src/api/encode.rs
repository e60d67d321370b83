//! A generation in the words of each API: chunks, the end, an error within, or all at once.

use bytes::Bytes;
use jiff::Timestamp;

use super::reply::{BARE_JSON, GIN_JSON, to_json, to_json_line};
use super::wire::{
    Chat, ChatChoice, ChatChunk, ChatCompletion, ChunkChoice, Completion, CompletionChoice, CompletionChunk,
    Delta, ErrorLine, Generate, Message, Metrics, Usage,
};

/// Which API a generation answers.
#[derive(Clone, Debug)]
pub enum Shape {
    /// `/api/generate`
    Generate,
    /// `/api/chat`
    Chat,
    /// `/v1/chat/completions`
    OpenAiChat(OpenAi),
    /// `/v1/completions`
    OpenAiCompletion(OpenAi),
}

/// What a `/v1` answer keeps from chunk to chunk.
#[derive(Clone, Debug)]
pub struct OpenAi {
    id: String,
    include_usage: bool,
    /// One time for all chunks of a chat.
    created: Option<i64>,
    begun: bool,
}

impl OpenAi {
    /// `kind` is `chatcmpl` or `cmpl`. Ids are drawn from few, as Ollama's are.
    pub fn new(kind: &str, include_usage: bool) -> Self {
        let id = format!("{kind}-{}", rand::random_range(0..999));
        Self { id, include_usage, created: None, begun: false }
    }
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `stop`, `length` or `load`
    pub reason: &'static str,
    /// The counts.
    pub metrics: Metrics,
    /// The numbers of all tokens; only generate shows them, and not when raw.
    pub context: Vec<u32>,
}

const FINGERPRINT: &str = "fp_ollama";
const ASSISTANT: &str = "assistant";

impl Shape {
    /// The content type of a stream.
    pub fn stream_type(&self) -> &'static str {
        match self {
            Self::Generate | Self::Chat => "application/x-ndjson",
            Self::OpenAiChat(_) | Self::OpenAiCompletion(_) => "text/event-stream",
        }
    }

    /// The content type of a whole answer.
    pub fn whole_type(&self) -> &'static str {
        match self {
            Self::Generate | Self::Chat => GIN_JSON,
            Self::OpenAiChat(_) | Self::OpenAiCompletion(_) => BARE_JSON,
        }
    }

    /// One token.
    pub fn token(&mut self, model: &str, now: Timestamp, text: &str) -> Bytes {
        match self {
            Self::Generate => line(&Generate {
                model,
                created_at: now,
                response: text,
                done: false,
                done_reason: None,
                context: &[],
                metrics: None,
            }),
            Self::Chat => line(&Chat {
                model,
                created_at: now,
                message: Message { role: ASSISTANT, content: text },
                done: false,
                done_reason: None,
                metrics: None,
            }),
            Self::OpenAiChat(open) => open.chat_delta(model, now, text).into(),
            Self::OpenAiCompletion(open) => open.completion_chunk(model, now, text, None).into(),
        }
    }

    /// The last chunk, or chunks, of a stream.
    pub fn end(&mut self, model: &str, now: Timestamp, end: &End) -> Bytes {
        match self {
            Self::Generate | Self::Chat => {
                let mut line = self.native(model, now, "", end);
                line.push(b'\n');
                line.into()
            }
            Self::OpenAiChat(open) => open.chat_end(model, now, end).into(),
            Self::OpenAiCompletion(open) => open.completion_end(model, now, end).into(),
        }
    }

    /// An error within a stream. `/v1` swallows it: what arrives is a chunk with nothing in it.
    pub fn error(&mut self, now: Timestamp, message: &str) -> Bytes {
        match self {
            Self::Generate | Self::Chat => line(&ErrorLine { error: message }),
            Self::OpenAiChat(open) => open.chat_delta("", now, "").into(),
            Self::OpenAiCompletion(open) => open.completion_chunk("", now, "", None).into(),
        }
    }

    /// All at once.
    pub fn whole(&mut self, model: &str, now: Timestamp, text: &str, end: &End) -> Bytes {
        match self {
            Self::Generate | Self::Chat => self.native(model, now, text, end).into(),
            Self::OpenAiChat(open) => line(&ChatCompletion {
                id: &open.id,
                object: "chat.completion",
                created: now.as_second(),
                model,
                system_fingerprint: FINGERPRINT,
                choices: [ChatChoice {
                    index: 0,
                    message: Message { role: ASSISTANT, content: text },
                    finish_reason: Some(end.reason),
                }],
                usage: Usage::of(&end.metrics),
            }),
            Self::OpenAiCompletion(open) => line(&Completion {
                id: &open.id,
                object: "text_completion",
                created: now.as_second(),
                model,
                system_fingerprint: FINGERPRINT,
                choices: [CompletionChoice { text, index: 0, finish_reason: Some(end.reason) }],
                usage: Usage::of(&end.metrics),
            }),
        }
    }

    fn native(&self, model: &str, now: Timestamp, text: &str, end: &End) -> Vec<u8> {
        let (done_reason, metrics) = (Some(end.reason), Some(&end.metrics));
        if matches!(self, Self::Chat) {
            let message = Message { role: ASSISTANT, content: text };
            to_json(&Chat { model, created_at: now, message, done: true, done_reason, metrics })
        } else {
            let context = &end.context;
            to_json(&Generate {
                model,
                created_at: now,
                response: text,
                done: true,
                done_reason,
                context,
                metrics,
            })
        }
    }
}

fn line(value: &impl serde::Serialize) -> Bytes {
    to_json_line(value).into()
}

fn event(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = b"data: ".to_vec();
    out.extend(to_json(value));
    out.extend(b"\n\n");
    out
}

const DONE: &[u8] = b"data: [DONE]\n\n";

impl OpenAi {
    fn chat_chunk(
        &mut self,
        model: &str,
        now: Timestamp,
        choices: &[ChunkChoice<'_>],
        usage: Option<Usage>,
    ) -> Vec<u8> {
        let created = *self.created.get_or_insert(now.as_second());
        event(&ChatChunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created,
            model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        })
    }

    fn chat_delta(&mut self, model: &str, now: Timestamp, text: &str) -> Vec<u8> {
        let role = (!self.begun).then_some(ASSISTANT);
        self.begun = true;
        let delta = Delta { role, content: Some(text) };
        self.chat_chunk(model, now, &[ChunkChoice { index: 0, delta, finish_reason: None }], None)
    }

    fn chat_end(&mut self, model: &str, now: Timestamp, end: &End) -> Vec<u8> {
        // A reply without a single token still opens with a role.
        let mut out = if self.begun { Vec::new() } else { self.chat_delta(model, now, "") };
        let finish = ChunkChoice { index: 0, delta: Delta::default(), finish_reason: Some(end.reason) };
        out.extend(self.chat_chunk(model, now, &[finish], None));
        if self.include_usage {
            out.extend(self.chat_chunk(model, now, &[], Some(Usage::of(&end.metrics))));
        }
        out.extend(DONE);
        out
    }

    fn completion_chunk(&self, model: &str, now: Timestamp, text: &str, reason: Option<&str>) -> Vec<u8> {
        let usage = self.include_usage.then(Usage::default);
        let choice = CompletionChoice { text, index: 0, finish_reason: reason };
        self.completion_event(model, now, &[choice], usage)
    }

    fn completion_end(&self, model: &str, now: Timestamp, end: &End) -> Vec<u8> {
        let mut out = self.completion_chunk(model, now, "", Some(end.reason));
        if self.include_usage {
            out.extend(self.completion_event(model, now, &[], Some(Usage::of(&end.metrics))));
        }
        out.extend(DONE);
        out
    }

    fn completion_event(
        &self,
        model: &str,
        now: Timestamp,
        choices: &[CompletionChoice<'_>],
        usage: Option<Usage>,
    ) -> Vec<u8> {
        event(&CompletionChunk {
            id: &self.id,
            object: "text_completion",
            created: now.as_second(),
            choices,
            model,
            system_fingerprint: FINGERPRINT,
            usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-08-19T10:00:00.5Z".parse().unwrap()
    }

    fn end() -> End {
        let metrics =
            Metrics { total_duration: 5, prompt_eval_count: 2, eval_count: 3, ..Metrics::default() };
        End { reason: "stop", metrics, context: vec![1, 2] }
    }

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn native_lines() {
        assert_eq!(
            text(Shape::Generate.token("m", now(), " x")),
            "{\"model\":\"m\",\"created_at\":\"2026-08-19T10:00:00.5Z\",\"response\":\" x\",\"done\":false}\n"
        );
        assert_eq!(
            text(Shape::Chat.token("m", now(), "x")),
            "{\"model\":\"m\",\"created_at\":\"2026-08-19T10:00:00.5Z\",\
             \"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\n"
        );
        assert_eq!(
            text(Shape::Generate.end("m", now(), &end())),
            "{\"model\":\"m\",\"created_at\":\"2026-08-19T10:00:00.5Z\",\"response\":\"\",\"done\":true,\
             \"done_reason\":\"stop\",\"context\":[1,2],\"total_duration\":5,\"prompt_eval_count\":2,\
             \"eval_count\":3}\n"
        );
        assert_eq!(
            text(Shape::Chat.whole("m", now(), "all", &end())),
            "{\"model\":\"m\",\"created_at\":\"2026-08-19T10:00:00.5Z\",\
             \"message\":{\"role\":\"assistant\",\"content\":\"all\"},\"done\":true,\
             \"done_reason\":\"stop\",\"total_duration\":5,\"prompt_eval_count\":2,\"eval_count\":3}"
        );
        assert_eq!(text(Shape::Chat.error(now(), "boom")), "{\"error\":\"boom\"}\n");
    }

    fn open(kind: &str, include_usage: bool) -> OpenAi {
        OpenAi { id: format!("{kind}-1"), ..OpenAi::new(kind, include_usage) }
    }

    #[test]
    fn chat_events() {
        let mut shape = Shape::OpenAiChat(open("chatcmpl", true));
        let head = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1787133600,\
                    \"model\":\"m\",\"system_fingerprint\":\"fp_ollama\",\"choices\":";
        assert_eq!(
            text(shape.token("m", now(), "a")),
            format!(
                "{head}[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"a\"}},\"finish_reason\":null}}]}}\n\n"
            )
        );
        assert_eq!(
            text(shape.token("m", now(), "b")),
            format!("{head}[{{\"index\":0,\"delta\":{{\"content\":\"b\"}},\"finish_reason\":null}}]}}\n\n")
        );
        assert_eq!(
            text(shape.end("m", now(), &end())),
            format!(
                "{head}[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n{head}[],\"usage\":\
                 {{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}}}}\n\ndata: [DONE]\n\n"
            )
        );
        let mut swallowed = Shape::OpenAiChat(open("chatcmpl", false));
        let _ = swallowed.token("m", now(), "a");
        assert!(text(swallowed.error(now(), "boom")).contains("\"delta\":{\"content\":\"\"}"));
    }

    #[test]
    fn completion_events() {
        let mut shape = Shape::OpenAiCompletion(open("cmpl", false));
        assert!(!text(shape.token("m", now(), "a")).contains("usage"));
        let mut shape = Shape::OpenAiCompletion(open("cmpl", true));
        let zero = "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}";
        assert!(text(shape.token("m", now(), "a")).contains(zero));
        let end = text(shape.end("m", now(), &end()));
        assert!(end.contains("{\"text\":\"\",\"index\":0,\"finish_reason\":\"stop\"}"));
        assert!(end.contains("\"choices\":[],") && end.contains("\"total_tokens\":5"));
        assert!(end.ends_with("data: [DONE]\n\n"));
    }

    #[test]
    fn whole_openai_answers() {
        let mut shape = Shape::OpenAiChat(open("chatcmpl", false));
        assert_eq!(
            text(shape.whole("m", now(), "all", &end())),
            "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1787133600,\"model\":\"m\",\
             \"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\
             \"message\":{\"role\":\"assistant\",\"content\":\"all\"},\"finish_reason\":\"stop\"}],\
             \"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}}\n"
        );
    }
}
