//! One value as a checked slice of the body, opened only where somebody looks.

use super::scan::{end_of_string, end_of_value, skip_blanks};

/// A syntactically correct JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    text: &'a [u8],
    at: usize,
}

/// What kind of value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

impl Kind {
    /// Go's word for it in a type error.
    pub fn go_word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl<'a> Raw<'a> {
    pub(super) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// Where it starts in the body: the first error in the body is the one reported.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where it ends in the body.
    pub fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// Its kind, told by the first byte.
    pub fn kind(&self) -> Kind {
        match self.text.first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The value of a boolean.
    pub fn boolean(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.text.first() == Some(&b't'))
    }

    /// The digits of a number as they stand.
    pub fn number_text(&self) -> Option<&'a str> {
        if self.kind() != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.text).ok()
    }

    /// A number as Go's float64.
    pub fn number(&self) -> Option<f64> {
        self.number_text()?.parse().ok()
    }

    /// A string, unquoted as Go does it: what is no text becomes U+FFFD.
    pub fn string(&self) -> Option<String> {
        if self.kind() != Kind::String {
            return None;
        }
        Some(unquote(self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default()))
    }

    /// The elements of an array; nothing for other kinds.
    pub fn elements(&self) -> Vec<Raw<'a>> {
        let mut found = Vec::new();
        if self.kind() != Kind::Array {
            return found;
        }
        let mut at = skip_blanks(self.text, 1);
        while at < self.text.len() && self.text[at] != b']' {
            let Ok(end) = end_of_value(self.text, at) else { break };
            found.push(Raw::new(&self.text[at..end], self.at + at));
            at = skip_blanks(self.text, end);
            if self.text.get(at) == Some(&b',') {
                at = skip_blanks(self.text, at + 1);
            }
        }
        found
    }

    /// The last value of an object's exact key, as a Go map has it.
    pub fn last(&self, key: &str) -> Option<Raw<'a>> {
        self.pairs().into_iter().rfind(|(name, _)| name == key).map(|(_, raw)| raw)
    }

    /// The pairs of an object in their order, repeated keys too; nothing for other kinds.
    pub fn pairs(&self) -> Vec<(String, Raw<'a>)> {
        let mut found = Vec::new();
        if self.kind() != Kind::Object {
            return found;
        }
        let mut at = skip_blanks(self.text, 1);
        while self.text.get(at) == Some(&b'"') {
            let Ok(key_end) = end_of_string(self.text, at) else { break };
            let key = unquote(&self.text[at + 1..key_end - 1]);
            let value = skip_blanks(self.text, skip_blanks(self.text, key_end) + 1);
            let Ok(end) = end_of_value(self.text, value) else { break };
            found.push((key, Raw::new(&self.text[value..end], self.at + value)));
            at = skip_blanks(self.text, end);
            if self.text.get(at) == Some(&b',') {
                at = skip_blanks(self.text, at + 1);
            }
        }
        found
    }
}

/// The text between two quotes.
fn unquote(inner: &[u8]) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut at = 0;
    while at < inner.len() {
        let plain = inner[at..].iter().position(|&b| b == b'\\').unwrap_or(inner.len() - at);
        out.push_str(&String::from_utf8_lossy(&inner[at..at + plain]));
        at += plain;
        let Some(&escape) = inner.get(at + 1) else { break };
        at += 2;
        match escape {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let first = hex4(inner, at);
                at += 4;
                let mut decoded = char::from_u32(first);
                if (0xd800..0xdc00).contains(&first) && inner.get(at..at + 2) == Some(b"\\u") {
                    let second = hex4(inner, at + 2);
                    if (0xdc00..0xe000).contains(&second) {
                        at += 6;
                        decoded = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                    }
                }
                out.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.push(char::from(other)),
        }
    }
    out
}

fn hex4(inner: &[u8], at: usize) -> u32 {
    inner
        .get(at..at + 4)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0xfffd)
}

#[cfg(test)]
mod tests {
    use super::super::first_value;
    use super::*;

    fn raw(text: &[u8]) -> Raw<'_> {
        first_value(text).unwrap()
    }

    #[test]
    fn opens_objects_and_arrays() {
        let body = b" {\"a\" : 1 , \"b\":[ true,null, {\"c\":\"d\"} ],\"a\":\"x\"} ";
        let pairs = raw(body).pairs();
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "a"]);
        assert_eq!(pairs[0].1.number(), Some(1.0));
        let elements = pairs[1].1.elements();
        assert_eq!(elements.len(), 3);
        assert_eq!(elements[0].boolean(), Some(true));
        assert_eq!(elements[1].kind(), Kind::Null);
        assert_eq!(elements[2].pairs()[0].1.string().unwrap(), "d");
        assert_eq!(body[pairs[2].1.at()], b'"');
        assert!(raw(b"{}").pairs().is_empty() && raw(b"[ ]").elements().is_empty());
        assert!(raw(b"5").pairs().is_empty() && raw(b"{}").elements().is_empty());
    }

    #[test]
    fn unquotes_as_go_does() {
        for (text, want) in [
            (&b"\"a\\n\\\"\\/\\u0041\""[..], "a\n\"/A"),
            (b"\"\xc3\xa9\\ud83d\\ude00\\ud800x\"", "\u{e9}\u{1f600}\u{fffd}x"),
            (b"\"\\udc00\\ud800\\u0041\"", "\u{fffd}\u{fffd}A"),
            (b"\"a\xffb\"", "a\u{fffd}b"),
            (b"\"\"", ""),
        ] {
            assert_eq!(raw(text).string().unwrap(), want);
        }
    }
}
