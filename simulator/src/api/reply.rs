//! Plain answers and their content types.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION,
    CONTENT_TYPE, HeaderValue, LOCATION,
};
use http::{Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Marks an answer whose body is a stream: it breaks off by itself when a fault says so.
#[derive(Clone, Copy, Debug)]
pub struct Streamed;

/// What gin's `c.JSON` sends.
pub const GIN_JSON: &str = "application/json; charset=utf-8";
/// JSON from anything else.
pub const BARE_JSON: &str = "application/json";

/// An answer with a body.
pub fn bytes(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Text.
pub fn text(status: u16, content_type: &'static str, body: &'static str) -> Response<Body> {
    bytes(status, content_type, Bytes::from_static(body.as_bytes()))
}

/// One JSON value as gin sends it: no newline.
pub fn json(status: u16, value: &impl Serialize) -> Response<Body> {
    bytes(status, GIN_JSON, to_json(value))
}

/// One JSON value as Go's encoder sends it: with a newline.
pub fn json_line(status: u16, value: &impl Serialize) -> Response<Body> {
    bytes(status, BARE_JSON, to_json_line(value))
}

/// Our own types always serialise; were one not to, the answer would be empty.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// With a newline after it.
pub fn to_json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = to_json(value);
    line.push(b'\n');
    line
}

/// A status and nothing else.
pub fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// What net/http answers to a path it cannot read; it ends the connection.
pub fn bad_request() -> Response<Body> {
    let mut response = text(400, "text/plain; charset=utf-8", "400 Bad Request");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Go's redirect: a line of HTML for GET, its type alone for HEAD, nothing for the rest.
pub fn redirect(method: &Method, status: u16, to: &str, query: Option<&str>) -> Response<Body> {
    let to = query.map_or_else(|| to.to_owned(), |query| format!("{to}?{query}"));
    let mut response = if method == Method::GET || method == Method::HEAD {
        let reason = if status == 301 { "Moved Permanently" } else { "Temporary Redirect" };
        let shown = to.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        bytes(status, "text/html; charset=utf-8", format!("<a href=\"{shown}\">{reason}</a>.\n\n"))
    } else {
        empty(status)
    };
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// 204: what a browser may ask.
pub fn preflight(origin: Option<String>) -> Response<Body> {
    let mut response = empty(204);
    if origin.is_some() {
        let methods = HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS");
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        let headers = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With";
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(headers));
    }
    allow_origin(&mut response, origin);
    response
}

/// Names the origin that may read the answer.
pub fn allow_origin(response: &mut Response<Body>, origin: Option<String>) {
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}
