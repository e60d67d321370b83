//! Finish: what every response carries.

use super::accept::REQUEST_ID;
use super::answer::{Answer, Content};
use super::routes::Family;
use crate::error::ProxyError;
use crate::record::RequestRecord;
use crate::table::Current;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

/// The node that answered, or was tried last.
const NODE: HeaderName = HeaderName::from_static("x-aivonx-node");
/// How many nodes were tried.
const ATTEMPTS: HeaderName = HeaderName::from_static("x-aivonx-attempts");
/// For how many seconds no store has confirmed the routing table.
const STALE: HeaderName = HeaderName::from_static("x-aivonx-stale");

/// Hands a response over to its client; the record goes with its body.
pub(crate) fn respond(
    mut response: Response<Content>,
    mut record: RequestRecord,
    current: &Current,
) -> Response<Answer> {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, record.request_id.clone());
    if let Some(node) = record.node() {
        headers.insert(NODE, node.header.clone());
        headers.insert(ATTEMPTS, HeaderValue::from(record.attempts()));
    }
    if let Some(age) = current.stale() {
        headers.insert(STALE, HeaderValue::from(age.as_secs()));
    }
    record.answered(response.status());
    response.map(|content| Answer::new(content, record))
}

/// The response that tells an error, in the words of the route's family.
pub(crate) fn error(error: &ProxyError, record: &mut RequestRecord) -> Response<Content> {
    record.end(error.outcome(), Some(error.reason()));
    let family = record.route().map_or(Family::Ollama, |route| route.family);
    let (kind, body) = error.body(family);
    let mut response = Response::new(Content::whole(body));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    insert(headers, RETRY_AFTER, error.retry_after());
    insert(headers, ALLOW, error.allow());
    if error.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}
