//! The canonical form of a request's path.
//!
//! A node decodes percent signs before it matches, so `/api%2fpull` runs a pull there. What the gateway decides on, and
//! what it forwards, is therefore the decoded path without empty, `.` and `..` segments.

use std::borrow::Cow;

/// The path cannot be decoded: a lone percent sign, bytes that are no text, or a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The decoded path, without empty segments, dot segments and a slash at its end.
pub(crate) fn canonical(raw: &str) -> Result<Cow<'_, str>, Malformed> {
    let decoded = decode(raw)?;
    if is_clean(&decoded) {
        return Ok(decoded);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    Ok(Cow::Owned(format!("/{}", segments.join("/"))))
}

fn is_clean(path: &str) -> bool {
    path == "/"
        || (path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains("//")
            && !path.split('/').any(|segment| segment == "." || segment == ".."))
}

/// Decodes once: a percent sign that comes out of it stays one, and matches no route.
fn decode(raw: &str) -> Result<Cow<'_, str>, Malformed> {
    let decoded =
        if raw.contains('%') { Cow::Owned(decode_percent(raw.as_bytes())?) } else { Cow::Borrowed(raw) };
    if decoded.contains('\0') { Err(Malformed) } else { Ok(decoded) }
}

fn decode_percent(raw: &[u8]) -> Result<String, Malformed> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16)).ok_or(Malformed);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).map_err(|_| Malformed)?);
    }
    String::from_utf8(decoded).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clean_path_is_not_copied() {
        for path in ["/", "/api/chat", "/v1/models/llama3.2:latest"] {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn tricks_come_out_as_what_a_node_would_run() {
        for (raw, expected) in [
            ("/api%2fpull", "/api/pull"),
            ("/api/%70ull", "/api/pull"),
            ("//api/chat", "/api/chat"),
            ("/api/%2e%2e/api/pull", "/api/pull"),
            ("/api/./chat/", "/api/chat"),
            ("/../../api/tags", "/api/tags"),
            ("/%2e%2e", "/"),
            ("/API/chat", "/API/chat"),
            ("/api%252fpull", "/api%2fpull"),
            ("/v1/models/hf.co%2Fu%2Fm:q", "/v1/models/hf.co/u/m:q"),
        ] {
            assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for raw in ["/%", "/%2", "/%zz", "/%+1", "/%ff", "/a%00b"] {
            assert_eq!(canonical(raw), Err(Malformed), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn the_result_is_clean(raw in "(/|%2f|%2e|\\.|a|%|b){0,12}") {
            if let Ok(path) = canonical(&format!("/{raw}")) {
                prop_assert!(is_clean(&path), "{path}");
            }
        }
    }
}
