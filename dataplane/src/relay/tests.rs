use super::*;
use crate::metrics::Metrics;
use http::{HeaderValue, Method};
use std::collections::VecDeque;
use std::future::poll_fn;

/// What a scripted body does, poll after poll.
#[derive(Debug)]
enum Step {
    Data(&'static [u8]),
    Break,
    Silence,
}

#[derive(Debug)]
struct Script {
    steps: VecDeque<Step>,
    known_length: bool,
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.steps.front() {
            Some(Step::Silence) => return Poll::Pending,
            None => return Poll::Ready(None),
            Some(_) => {}
        }
        Poll::Ready(self.steps.pop_front().map(|step| match step {
            Step::Data(bytes) => Ok(Frame::data(Bytes::from_static(bytes))),
            Step::Break | Step::Silence => Err(std::io::ErrorKind::ConnectionReset.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.known_length && self.steps.is_empty()
    }
}

struct Run {
    frames: Vec<Bytes>,
    cut: Option<Cut>,
    outcome: String,
}

impl Run {
    fn text(&self) -> String {
        String::from_utf8(self.frames.concat()).unwrap()
    }
}

const QUICK: Patience = Patience { idle: Some(Duration::from_secs(5)), deadline: None };

fn record() -> RequestRecord {
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    RequestRecord::begin(metrics, tracing::Span::none(), HeaderValue::from_static("r"), Method::POST)
}

async fn run_with(
    protocol: Protocol,
    family: Family,
    steps: Vec<Step>,
    patience: Patience,
    ending: &Ending,
) -> Run {
    let script = Script { steps: steps.into(), known_length: protocol == Protocol::Plain };
    let mut relay = Relay::new(script, None, family, protocol, patience, ending);
    let mut record = record();
    let mut run = Run { frames: vec![], cut: None, outcome: String::new() };
    while !relay.is_end_stream() {
        match poll_fn(|cx| relay.poll_frame(cx, &mut record)).await {
            Some(Ok(frame)) => run.frames.push(frame.into_data().unwrap()),
            Some(Err(cut)) => run.cut = Some(cut),
            None => break,
        }
    }
    relay.dropped(&mut record);
    run.outcome = record.outcome().unwrap().as_str().to_owned();
    run
}

async fn run(protocol: Protocol, steps: Vec<Step>) -> Run {
    let family = if protocol == Protocol::Sse { Family::OpenAi } else { Family::Ollama };
    run_with(protocol, family, steps, QUICK, &Ending::default()).await
}

const LINE: &[u8] = b"{\"response\":\"a\",\"done\":false}\n";
const LAST: &[u8] = b"{\"response\":\"\",\"done\":true}\n";
const EVENT: &[u8] = b"data: {\"choices\":[]}\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

#[tokio::test]
async fn frames_pass_as_they_come() {
    let parts: [&'static [u8]; 4] =
        [b"{\"resp", b"onse\":\"a\",\"done\":false}\n{\"done\":tr", b"ue}", b"\n"];
    let run = run(Protocol::Ndjson, parts.iter().map(|part| Step::Data(part)).collect()).await;
    assert_eq!(run.frames, parts);
    assert_eq!((run.outcome.as_str(), run.cut), ("completed", None));
}

#[tokio::test]
async fn a_broken_ndjson_stream_ends_with_an_error_line() {
    let run = run(Protocol::Ndjson, vec![Step::Data(LINE), Step::Break]).await;
    let text = run.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [std::str::from_utf8(LINE).unwrap().trim(), r#"{"error":"the node broke off its answer"}"#]
    );
    assert!(text.ends_with('\n'));
    assert_eq!((run.outcome.as_str(), run.cut), ("upstream_error", None));
}

#[tokio::test]
async fn the_error_line_is_not_glued_to_half_a_line() {
    let run = run(Protocol::Ndjson, vec![Step::Data(b"{\"response\":\"a"), Step::Break]).await;
    assert_eq!(run.text(), "{\"response\":\"a\n{\"error\":\"the node broke off its answer\"}\n");
}

#[tokio::test]
async fn a_broken_event_stream_ends_with_an_error_event_and_no_done() {
    let run = run(Protocol::Sse, vec![Step::Data(EVENT), Step::Break]).await;
    assert!(run.text().ends_with("\n\ndata: {\"error\":{\"message\":\"the node broke off its answer\",\"type\":\"api_error\",\"param\":null,\"code\":null}}\n\n"));
    assert!(!run.text().contains("[DONE]"));
}

#[tokio::test]
async fn an_event_stream_without_done_is_told_from_one_with_it() {
    let cut = run(Protocol::Sse, vec![Step::Data(EVENT)]).await;
    assert!(cut.text().contains("\"error\""));
    assert_eq!(cut.outcome, "upstream_truncated");
    let whole = run(Protocol::Sse, vec![Step::Data(EVENT), Step::Data(DONE)]).await;
    assert_eq!((whole.text().contains("error"), whole.outcome.as_str()), (false, "completed"));
}

#[tokio::test]
async fn ndjson_without_done_passes_as_it_is_and_counts_as_incomplete() {
    let run = run(Protocol::Ndjson, vec![Step::Data(LINE)]).await;
    assert_eq!(run.frames, [LINE]);
    assert_eq!(run.outcome, "upstream_truncated");
}

#[tokio::test]
async fn an_error_line_of_the_node_passes_and_counts_as_its_failure() {
    let run = run(Protocol::Ndjson, vec![Step::Data(LINE), Step::Data(b"{\"error\":\"x\"}\n")]).await;
    assert_eq!(run.frames.len(), 2);
    assert_eq!(run.outcome, "upstream_error");
}

#[tokio::test]
async fn a_document_that_breaks_aborts_the_connection() {
    let run = run(Protocol::Plain, vec![Step::Data(b"{\"embedd"), Step::Break]).await;
    assert_eq!((run.cut, run.outcome.as_str()), (Some(Cut::Broken), "upstream_error"));
}

#[tokio::test]
async fn a_break_after_the_last_line_is_none() {
    let run = run(Protocol::Ndjson, vec![Step::Data(LAST), Step::Break]).await;
    assert_eq!(run.frames, [LAST]);
    assert_eq!(run.outcome, "completed");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_stream_after_the_idle_limit() {
    let begun = Instant::now();
    let run = run(Protocol::Ndjson, vec![Step::Data(LINE), Step::Silence]).await;
    assert!(run.text().ends_with("{\"error\":\"the node sent nothing for too long\"}\n"));
    assert_eq!((run.outcome.as_str(), begun.elapsed().as_secs()), ("timed_out", 5));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_for_the_whole_ends_it_too() {
    let begun = Instant::now();
    let patience = Patience { idle: None, deadline: Some(begun + Duration::from_secs(9)) };
    let run =
        run_with(Protocol::Ndjson, Family::Ollama, vec![Step::Silence], patience, &Ending::default()).await;
    assert!(run.text().contains("took too long"));
    assert_eq!(begun.elapsed().as_secs(), 9);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_process_ends_it_visibly() {
    let ending = Ending::default();
    let stream = run_with(
        Protocol::Ndjson,
        Family::Ollama,
        vec![Step::Data(LINE), Step::Silence],
        Patience::default(),
        &ending,
    );
    let (run, ()) = tokio::join!(stream, async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        ending.begin();
    });
    assert!(run.text().ends_with("{\"error\":\"the gateway is shutting down\"}\n"));
}

#[tokio::test]
async fn a_dropped_body_is_a_client_that_left_unless_it_had_everything() {
    for (steps, outcome) in [
        (vec![Step::Data(LINE), Step::Silence], "client_gone"),
        (vec![Step::Data(LAST), Step::Silence], "completed"),
    ] {
        let script = Script { steps: steps.into(), known_length: false };
        let mut relay = Relay::new(script, None, Family::Ollama, Protocol::Ndjson, QUICK, &Ending::default());
        let mut record = record();
        poll_fn(|cx| relay.poll_frame(cx, &mut record)).await.unwrap().unwrap();
        relay.dropped(&mut record);
        assert_eq!(record.outcome().unwrap().as_str(), outcome);
    }
}

#[test]
fn only_a_stream_without_a_length_takes_an_event() {
    let with = |pairs: &[(http::HeaderName, &'static str)]| -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    };
    let ndjson = with(&[(CONTENT_TYPE, "application/x-ndjson")]);
    assert_eq!(protocol(StatusCode::OK, &ndjson), Protocol::Ndjson);
    assert_eq!(protocol(StatusCode::OK, &with(&[(CONTENT_TYPE, "text/event-stream")])), Protocol::Sse);
    assert_eq!(protocol(StatusCode::BAD_REQUEST, &ndjson), Protocol::Plain);
    let sized = with(&[(CONTENT_TYPE, "application/x-ndjson"), (CONTENT_LENGTH, "5")]);
    assert_eq!(protocol(StatusCode::OK, &sized), Protocol::Plain);
    assert_eq!(protocol(StatusCode::OK, &HeaderMap::new()), Protocol::Plain);
}
