//! Which headers travel on, in both directions.

use http::header::{self, HeaderMap, HeaderName};

/// Of one connection, never of the next one (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Between the client and the gateway alone. A node would refuse a foreign `Origin`, and builds redirects from
/// `X-Forwarded-Prefix`.
const NOT_FOR_NODES: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::ORIGIN,
    HeaderName::from_static("x-forwarded-prefix"),
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    HeaderName::from_static("access-control-request-private-network"),
];

/// Removes what a node must not see of a request, credentials apart: [`crate::request::authenticate`] removes those.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    for name in &NOT_FOR_NODES {
        headers.remove(name);
    }
}

/// Removes what belongs to the connection with the node.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What `Connection` names as belonging to the connection, without the words that are no headers.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !["close", "keep-alive", ""].iter().any(|word| name.eq_ignore_ascii_case(word)))
        .filter_map(|name| name.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn nothing_of_the_client_connection_reaches_a_node() {
        let mut request = headers(&[
            ("host", "gateway"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("origin", "https://evil.example"),
            ("x-forwarded-prefix", "/x"),
            ("access-control-request-method", "POST"),
            ("proxy-authorization", "Basic eA=="),
            ("content-type", "application/json"),
            ("traceparent", "00-1-2-01"),
            ("x-custom", "kept"),
        ]);
        strip_request(&mut request);
        assert_eq!(names(&request), ["content-type", "traceparent", "x-custom"]);
    }

    #[test]
    fn nothing_of_the_node_connection_reaches_the_client() {
        let mut response = headers(&[
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("content-type", "application/x-ndjson"),
            ("content-length", "7"),
        ]);
        strip_response(&mut response);
        assert_eq!(names(&response), ["content-length", "content-type"]);
    }
}
