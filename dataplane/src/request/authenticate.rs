//! Authenticate: the client's credentials end here.
//!
//! Every client that can reach the listener is served; nothing in a request can change that, since nothing in it is
//! believed. What this phase sees to is that what a client may use to show who it is never reaches a node, which belongs
//! to somebody else and has no business knowing it.

use http::header::{self, HeaderMap, HeaderName};

const CREDENTIALS: [HeaderName; 3] =
    [header::AUTHORIZATION, HeaderName::from_static("x-api-key"), header::COOKIE];

/// Takes the credentials out of what travels on.
pub(crate) fn keep_credentials(headers: &mut HeaderMap) {
    for name in &CREDENTIALS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn no_credential_travels_on() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-api-key", "cookie", "content-type"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("a"));
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("b"));
        }
        keep_credentials(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
    }
}
