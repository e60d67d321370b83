//! Accept: a request's head as HTTP has it, before anything is decided.

use crate::error::ProxyError;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// Names a request in logs, in the response, and to the node.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client.
const MAX_ID: usize = 128;

/// The client's id if it is one that logs can bear, else one made here.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(&REQUEST_ID) {
        Some(id) if is_sane(id.as_bytes()) => id.clone(),
        _ => {
            let mut text = uuid::Uuid::encode_buffer();
            let text = uuid::Uuid::now_v7().as_hyphenated().encode_lower(&mut text);
            // Hexadecimal digits and hyphens always make a header value.
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
        }
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

/// Refuses a head that does not say which host it is for, or says so twice. The HTTP parser has refused or settled what
/// else two readers could read in two ways: lengths that contradict each other or are no numbers, unknown transfer
/// codings, blanks before a colon. Of a length beside `chunked` it keeps only the latter, and what goes to the node is
/// framed anew in any case.
pub(crate) fn check_head(parts: &Parts) -> Result<(), ProxyError> {
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Err(ProxyError::BadHead("exactly one Host header is required"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn id(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_another_is_replaced() {
        assert_eq!(id("Req-1_a.b:c"), "Req-1_a.b:c");
        for wrong in ["", "a b", "a\"b", "{}", &"x".repeat(129)] {
            let made = id(wrong);
            assert_eq!(made.len(), 36, "{wrong}");
            assert_ne!(made, id(wrong));
        }
        assert_eq!(id(&"x".repeat(128)).len(), 128);
    }

    #[test]
    fn exactly_one_host() {
        let check = |version, headers: &[(HeaderName, &str)]| {
            let mut request = Request::builder().version(version);
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            check_head(&request.body(()).unwrap().into_parts().0)
        };
        assert!(check(Version::HTTP_11, &[(HOST, "a")]).is_ok());
        assert!(check(Version::HTTP_10, &[]).is_ok());
        assert!(check(Version::HTTP_2, &[]).is_ok());
        assert!(check(Version::HTTP_11, &[]).is_err());
        assert!(check(Version::HTTP_11, &[(HOST, "a"), (HOST, "a")]).is_err());
    }
}
