//! `/_sim/`: looking into a node and setting its faults over HTTP. No fault hits these routes (only a listener
//! that is closed cannot answer: give such a fault a time, with `for`), and nothing here is recorded.
//!
//! | route | does |
//! |---|---|
//! | `GET /_sim/state` | state, counts, and the requests seen |
//! | `GET /_sim/faults` | the faults that are set |
//! | `PUT /_sim/faults` | replaces them by a list (or by one) |
//! | `POST /_sim/faults` | adds to them |
//! | `DELETE /_sim/faults` | removes all |

use http::{Method, Response};
use serde::Serialize;

use crate::api::{Body, empty, json, text};
use crate::faults::Fault;
use crate::node::{Node, State};
use crate::record::{Outcome, RecordedRequest};

/// What control paths begin with.
pub const PREFIX: &str = "/_sim/";

/// Headers worth showing. `authorization` is shown as present only.
const SHOWN: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "origin",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-prefix",
    "x-request-id",
];

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    state: State,
    uptime_ms: u128,
    requests: Vec<ShownRequest>,
}

#[derive(Serialize)]
struct ShownRequest {
    id: u64,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body_bytes: usize,
    status: Option<u16>,
    outcome: Outcome,
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

/// Answers a control request.
pub fn answer(node: &Node, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
    let faults = node.faults();
    match (path.strip_prefix(PREFIX).unwrap_or_default(), method) {
        ("state", &Method::GET) => json(
            200,
            &Shown {
                state: node.state(),
                uptime_ms: node.clock().elapsed().as_millis(),
                requests: node.recorder().requests().iter().map(show).collect(),
            },
        ),
        ("faults", &Method::GET) => json(200, &faults.list()),
        ("faults", &Method::PUT | &Method::POST) => match Fault::read_list(body) {
            Ok(list) => {
                if method == Method::PUT {
                    faults.set(list);
                } else {
                    for fault in list {
                        faults.add(fault);
                    }
                }
                json(200, &faults.list())
            }
            Err(error) => json(400, &Problem { error }),
        },
        ("faults", &Method::DELETE) => {
            faults.clear();
            empty(204)
        }
        ("state" | "faults", _) => text(405, "text/plain", "405 method not allowed"),
        _ => text(404, "text/plain", "404 page not found"),
    }
}

fn show(request: &RecordedRequest) -> ShownRequest {
    let headers = request.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str();
        if name == "authorization" {
            return Some((name.to_owned(), "(present)".to_owned()));
        }
        SHOWN
            .contains(&name)
            .then(|| (name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    ShownRequest {
        id: request.id,
        method: request.method.to_string(),
        path: request.path.clone(),
        headers: headers.collect(),
        body_bytes: request.body_len,
        status: request.status,
        outcome: request.outcome,
    }
}
