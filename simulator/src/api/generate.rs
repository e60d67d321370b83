//! `/api/generate` and `/api/chat`, and what `/v1` makes of them.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;

use super::Call;
use super::encode::{End, Shape};
use super::failure::Failure;
use super::generation::{Event, Generation, Plan};
use super::reply::{self, Body, Streamed};
use super::request;
use super::wire::{self, Metrics};
use crate::config::Capability;
use crate::faults::{Cut, FaultKind};
use crate::keep_alive::KeepAlive;
use crate::name::{ModelRef, Source};
use crate::node::Node;
use crate::record::Outcome;
use crate::runner::{Ask, Lease, Options};
use crate::store::Stored;

/// What cloud models get on inference routes.
pub const NO_CLOUD: &str = "remote model is unavailable";

/// `/api/generate`
pub async fn generate(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    run_generate(node, call, request::Generate::read(body)?, Shape::Generate).await
}

/// `/api/chat`
pub async fn chat(node: &Node, call: Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    run_chat(node, call, request::Chat::read(body)?, Shape::Chat).await
}

/// A generate request in any of its shapes.
pub async fn run_generate(
    node: &Node,
    call: Call,
    request: request::Generate,
    shape: Shape,
) -> Result<Response<Body>, Failure> {
    check_logprobs(request.top_logprobs)?;
    let missing = format!("model '{}' not found", request.model);
    let model = resolve(node, &request.model, Failure::new(404, missing))?;
    if request.prompt.is_empty() && request.keep_alive.is_some_and(KeepAlive::is_zero) {
        node.scheduler().unload(&model.digest);
        return Ok(reply::json(200, &generate_done(node, &request.model, "unload")));
    }
    if request.raw && request.not_raw {
        return Err(Failure::new(400, "raw mode does not support template, system, or context"));
    }
    let needs: &[Capability] = if request.suffix { &[Capability::Insert] } else { &[] };
    let job = Job {
        verb: "generate",
        needs,
        think: request.think,
        stream: request.stream,
        keep_alive: request.keep_alive,
        options: request.options,
        context: !request.raw,
        prompt: (!request.prompt.is_empty()).then_some(request.prompt),
        echo: request.model,
        model,
    };
    job.run(node, call, shape).await
}

/// A chat in any of its shapes.
pub async fn run_chat(
    node: &Node,
    call: Call,
    request: request::Chat,
    shape: Shape,
) -> Result<Response<Body>, Failure> {
    check_logprobs(request.top_logprobs)?;
    let model = resolve(node, &request.model, Failure::new(400, "model is required"))?;
    let empty = request.messages.is_empty();
    if empty && request.keep_alive.is_some_and(KeepAlive::is_zero) {
        node.scheduler().unload(&model.digest);
        return Ok(reply::json(200, &chat_done(node, &request.model, "unload")));
    }
    let needs: &[Capability] = if request.tools { &[Capability::Tools] } else { &[] };
    let job = Job {
        verb: "chat",
        needs,
        think: request.think,
        stream: request.stream,
        keep_alive: request.keep_alive,
        context: false,
        prompt: (!empty).then(|| request.prompt()),
        options: request.options,
        echo: request.model,
        model,
    };
    job.run(node, call, shape).await
}

fn check_logprobs(top: i64) -> Result<(), Failure> {
    if (0..=20).contains(&top) {
        return Ok(());
    }
    Err(Failure::new(400, "top_logprobs must be between 0 and 20"))
}

/// The model a request names. `required`: what this route says to an empty name.
fn resolve(node: &Node, name: &str, required: Failure) -> Result<Arc<Stored>, Failure> {
    let parsed = ModelRef::parse(name).map_err(|error| Failure::name(error, required))?;
    if parsed.source == Source::Cloud {
        return Err(Failure::cloud(NO_CLOUD));
    }
    node.store().find(&parsed.name).ok_or_else(|| Failure::new(404, format!("model '{name}' not found")))
}

fn generate_done<'a>(node: &Node, model: &'a str, reason: &'a str) -> wire::Generate<'a> {
    wire::Generate {
        model,
        created_at: node.clock().now(),
        response: "",
        done: true,
        done_reason: Some(reason),
        context: &[],
        metrics: None,
    }
}

fn chat_done<'a>(node: &Node, model: &'a str, reason: &'a str) -> wire::Chat<'a> {
    wire::Chat {
        model,
        created_at: node.clock().now(),
        message: wire::Message { role: "assistant", content: "" },
        done: true,
        done_reason: Some(reason),
        metrics: None,
    }
}

/// A request whose model is known and whose body was understood.
struct Job {
    model: Arc<Stored>,
    /// The model as the client spelt it.
    echo: String,
    verb: &'static str,
    needs: &'static [Capability],
    think: bool,
    stream: bool,
    keep_alive: Option<KeepAlive>,
    options: Options,
    context: bool,
    /// `None` only loads the model.
    prompt: Option<String>,
}

impl Job {
    async fn run(self, node: &Node, call: Call, shape: Shape) -> Result<Response<Body>, Failure> {
        let arrived = Instant::now();
        self.check()?;
        let lease = acquire(node, &call, &self.model, &self.options, self.keep_alive).await?;
        let loaded = Instant::now();
        if self.prompt.is_none() {
            return Ok(self.only_loaded(node, shape));
        }
        let Self { model, echo, stream, options, context, prompt, .. } = self;
        let settings = node.config();
        let plan = Plan {
            model: model.key.clone(),
            prompt: prompt.unwrap_or_default(),
            natural: model.model.reply_tokens.unwrap_or(settings.reply_tokens),
            num_predict: options.num_predict,
            num_ctx: lease.num_ctx(),
            context,
            prompt_time: settings.prompt_time_per_token,
            tokens_per_second: model.model.tokens_per_second.unwrap_or(settings.tokens_per_second),
            arrived,
            loaded,
            path: call.path.clone(),
        };
        let generation = Generation::begin(plan, lease, node.faults().clone()).await?;
        let telling = Telling { node: node.clone(), call, shape, echo, generation };
        if stream { telling.stream().await } else { telling.whole().await }
    }

    fn check(&self) -> Result<(), Failure> {
        let model = &self.model.model;
        if self.think && !model.can(Capability::Thinking) {
            return Err(Failure::new(400, format!("{:?} does not support thinking", self.echo)));
        }
        if !model.can(Capability::Completion) {
            return Err(Failure::new(400, format!("{:?} does not support {}", self.echo, self.verb)));
        }
        let lacking = self.needs.iter().find(|capability| !model.can(**capability));
        if let Some(lacking) = lacking {
            let what = format!("{lacking:?}").to_lowercase();
            return Err(Failure::new(400, format!("{} does not support {what}", self.model.name.full())));
        }
        match &self.options.error {
            Some(error) => Err(Failure::new(500, error.clone())),
            None => Ok(()),
        }
    }

    fn only_loaded(&self, node: &Node, mut shape: Shape) -> Response<Body> {
        match shape {
            Shape::Generate => reply::json(200, &generate_done(node, &self.echo, "load")),
            Shape::Chat => reply::json(200, &chat_done(node, &self.echo, "load")),
            Shape::OpenAiChat(_) | Shape::OpenAiCompletion(_) => {
                let end = End { reason: "load", metrics: Metrics::default(), context: Vec::new() };
                let now = node.clock().now();
                if self.stream {
                    reply::bytes(200, shape.stream_type(), shape.end(&self.echo, now, &end))
                } else {
                    reply::bytes(200, shape.whole_type(), shape.whole(&self.echo, now, "", &end))
                }
            }
        }
    }
}

/// Gets the model into memory.
pub async fn acquire(
    node: &Node,
    call: &Call,
    model: &Stored,
    options: &Options,
    keep_alive: Option<KeepAlive>,
) -> Result<Lease, Failure> {
    let ask = Ask {
        model: Arc::clone(&model.model),
        digest: model.digest.clone(),
        shown: model.shown.clone(),
        options: options.runner.clone(),
        keep_alive,
        path: call.path.clone(),
    };
    Ok(node.scheduler().acquire(ask).await?)
}

/// A generation on its way to the client.
struct Telling {
    node: Node,
    call: Call,
    shape: Shape,
    echo: String,
    generation: Generation,
}

impl Telling {
    /// All at once.
    async fn whole(mut self) -> Result<Response<Body>, Failure> {
        let mut text = String::new();
        loop {
            match self.generation.next().await {
                Event::Token => {
                    self.node.count_token();
                    text.push_str(self.generation.token());
                }
                Event::Died(message) => {
                    self.call.mark.set(Outcome::Faulted);
                    return Err(Failure::new(500, message));
                }
                Event::End(end) => {
                    let now = self.node.clock().now();
                    let body = self.shape.whole(&self.echo, now, &text, &end);
                    return Ok(reply::bytes(200, self.shape.whole_type(), body));
                }
            }
        }
    }

    /// As a stream. The head goes out with the first chunk, so that what fails before it is an error answer.
    async fn stream(mut self) -> Result<Response<Body>, Failure> {
        let content_type = self.shape.stream_type();
        let first = match self.generation.next().await {
            Event::Died(message) => {
                self.call.mark.set(Outcome::Faulted);
                return Err(Failure::stream(500, message));
            }
            event => self.chunk(event),
        };
        let cut = self.node.faults().take(&self.call.path, |kind| match kind {
            FaultKind::Cut { after, how } => Some((*after, *how)),
            _ => None,
        });
        let cut = cut.map(|(_, cut)| cut);
        let state = Sending { telling: self, next: Some(first), sent: 0, ended: false, cut };
        let frames = futures::stream::unfold(state, Sending::frame);
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.extensions_mut().insert(Streamed);
        Ok(response)
    }

    /// The event as a chunk, and whether it is the last one.
    fn chunk(&mut self, event: Event) -> (Bytes, bool) {
        let now = self.node.clock().now();
        match event {
            Event::Token => {
                self.node.count_token();
                (self.shape.token(&self.echo, now, self.generation.token()), false)
            }
            Event::End(end) => (self.shape.end(&self.echo, now, &end), true),
            Event::Died(message) => {
                self.call.mark.set(Outcome::Faulted);
                (self.shape.error(now, &message), true)
            }
        }
    }
}

/// A stream half sent.
struct Sending {
    telling: Telling,
    /// The chunk that was made before the head went out.
    next: Option<(Bytes, bool)>,
    sent: u64,
    ended: bool,
    cut: Option<(u64, Cut)>,
}

impl Sending {
    async fn frame(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        if let Some((after, how)) = self.cut
            && self.sent >= after
        {
            let call = &self.telling.call;
            call.mark.set(Outcome::Faulted);
            call.connection.cut::<()>(how).await;
        }
        if self.ended {
            return None;
        }
        let (chunk, last) = match self.next.take() {
            Some(first) => first,
            None => {
                let event = self.telling.generation.next().await;
                self.telling.chunk(event)
            }
        };
        self.sent += 1;
        self.ended = last;
        Some((Ok(Frame::data(chunk)), self))
    }
}
