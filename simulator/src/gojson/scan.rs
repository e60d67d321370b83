//! The scanner: finds the end of one value and checks its syntax, with Go's error texts.

use std::fmt;

use super::value::Raw;

/// Why the input holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Nothing but blanks: Go's `io.EOF`.
    Empty,
    /// Ends within a value.
    UnexpectedEof,
    /// A byte that cannot stand where it does.
    Invalid(u8, &'static str),
    /// More than 10000 levels.
    TooDeep,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("EOF"),
            Self::UnexpectedEof => f.write_str("unexpected EOF"),
            Self::Invalid(byte, context) => {
                write!(f, "invalid character {} {context}", quote_byte(*byte))
            }
            Self::TooDeep => f.write_str("exceeded max depth"),
        }
    }
}

/// Go's `quoteChar`: the byte as a rune, in single quotes.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0x07 => "'\\a'".to_owned(),
        0x08 => "'\\b'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x00..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{:04x}'", byte),
        _ => format!("'{}'", char::from(byte)),
    }
}

const MAX_DEPTH: usize = 10_000;

/// The first value of a body; what follows it is not looked at.
pub fn first_value(input: &[u8]) -> Result<Raw<'_>, ScanError> {
    let start = skip_blanks(input, 0);
    if start == input.len() {
        return Err(ScanError::Empty);
    }
    let end = end_of_value(input, start)?;
    Ok(Raw::new(&input[start..end], start))
}

pub(super) fn skip_blanks(input: &[u8], mut at: usize) -> usize {
    while matches!(input.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

#[derive(Clone, Copy)]
enum Level {
    Object,
    Array,
}

/// The index after the value that starts at `at` (blanks before it allowed).
pub(super) fn end_of_value(input: &[u8], mut at: usize) -> Result<usize, ScanError> {
    let mut levels: Vec<Level> = Vec::new();
    loop {
        at = skip_blanks(input, at);
        let opened = match byte(input, at)? {
            b'{' | b'[' if levels.len() == MAX_DEPTH => return Err(ScanError::TooDeep),
            b'{' => {
                at = skip_blanks(input, at + 1);
                if byte(input, at)? == b'}' {
                    at += 1;
                    None
                } else {
                    at = end_of_key(input, at)?;
                    Some(Level::Object)
                }
            }
            b'[' => {
                at = skip_blanks(input, at + 1);
                if byte(input, at)? == b']' {
                    at += 1;
                    None
                } else {
                    Some(Level::Array)
                }
            }
            b'"' => {
                at = end_of_string(input, at)?;
                None
            }
            b'-' | b'0'..=b'9' => {
                at = end_of_number(input, at)?;
                None
            }
            b't' => {
                at = end_of_literal(input, at, "true", &TRUE)?;
                None
            }
            b'f' => {
                at = end_of_literal(input, at, "false", &FALSE)?;
                None
            }
            b'n' => {
                at = end_of_literal(input, at, "null", &NULL)?;
                None
            }
            other => return Err(ScanError::Invalid(other, "looking for beginning of value")),
        };
        if let Some(level) = opened {
            levels.push(level);
            continue;
        }
        // A value is complete: close levels until one wants another value.
        loop {
            let Some(level) = levels.last() else { return Ok(at) };
            at = skip_blanks(input, at);
            match (level, byte(input, at)?) {
                (Level::Object, b',') => {
                    at = end_of_key(input, skip_blanks(input, at + 1))?;
                    break;
                }
                (Level::Array, b',') => {
                    at += 1;
                    break;
                }
                (Level::Object, b'}') | (Level::Array, b']') => {
                    at += 1;
                    levels.pop();
                }
                (Level::Object, other) => {
                    return Err(ScanError::Invalid(other, "after object key:value pair"));
                }
                (Level::Array, other) => return Err(ScanError::Invalid(other, "after array element")),
            }
        }
    }
}

fn byte(input: &[u8], at: usize) -> Result<u8, ScanError> {
    input.get(at).copied().ok_or(ScanError::UnexpectedEof)
}

/// Past `"key" :`, from its first byte.
fn end_of_key(input: &[u8], at: usize) -> Result<usize, ScanError> {
    match byte(input, at)? {
        b'"' => {}
        other => return Err(ScanError::Invalid(other, "looking for beginning of object key string")),
    }
    let at = skip_blanks(input, end_of_string(input, at)?);
    match byte(input, at)? {
        b':' => Ok(at + 1),
        other => Err(ScanError::Invalid(other, "after object key")),
    }
}

pub(super) fn end_of_string(input: &[u8], at: usize) -> Result<usize, ScanError> {
    let mut at = at + 1;
    loop {
        match byte(input, at)? {
            b'"' => return Ok(at + 1),
            b'\\' => {
                at += 1;
                match byte(input, at)? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => at += 1,
                    b'u' => {
                        at += 1;
                        for _ in 0..4 {
                            let digit = byte(input, at)?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(ScanError::Invalid(digit, "in \\u hexadecimal character escape"));
                            }
                            at += 1;
                        }
                    }
                    other => return Err(ScanError::Invalid(other, "in string escape code")),
                }
            }
            control @ 0x00..=0x1f => return Err(ScanError::Invalid(control, "in string literal")),
            _ => at += 1,
        }
    }
}

fn end_of_number(input: &[u8], mut at: usize) -> Result<usize, ScanError> {
    if byte(input, at)? == b'-' {
        at += 1;
    }
    match byte(input, at)? {
        b'0' => at += 1,
        b'1'..=b'9' => at = skip_digits(input, at),
        other => return Err(ScanError::Invalid(other, "in numeric literal")),
    }
    if input.get(at) == Some(&b'.') {
        at = digits(input, at + 1, "after decimal point in numeric literal")?;
    }
    if matches!(input.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(input.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(input, at, "in exponent of numeric literal")?;
    }
    Ok(at)
}

fn digits(input: &[u8], at: usize, context: &'static str) -> Result<usize, ScanError> {
    match byte(input, at)? {
        b'0'..=b'9' => Ok(skip_digits(input, at)),
        other => Err(ScanError::Invalid(other, context)),
    }
}

fn skip_digits(input: &[u8], mut at: usize) -> usize {
    while matches!(input.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

const TRUE: [&str; 4] = [
    "",
    "in literal true (expecting 'r')",
    "in literal true (expecting 'u')",
    "in literal true (expecting 'e')",
];
const FALSE: [&str; 5] = [
    "",
    "in literal false (expecting 'a')",
    "in literal false (expecting 'l')",
    "in literal false (expecting 's')",
    "in literal false (expecting 'e')",
];
const NULL: [&str; 4] = [
    "",
    "in literal null (expecting 'u')",
    "in literal null (expecting 'l')",
    "in literal null (expecting 'l')",
];

fn end_of_literal(
    input: &[u8],
    start: usize,
    word: &str,
    contexts: &[&'static str],
) -> Result<usize, ScanError> {
    for (offset, (want, context)) in word.bytes().zip(contexts).enumerate() {
        let got = byte(input, start + offset)?;
        if got != want {
            return Err(ScanError::Invalid(got, context));
        }
    }
    Ok(start + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: &[u8]) -> String {
        first_value(input).map(|raw| format!("ok {raw:?}")).unwrap_or_else(|e| e.to_string())
    }

    /// Recorded from Go 1.26, `json.NewDecoder(..).Decode(..)`.
    #[test]
    fn errors_are_gos() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "EOF"),
            (b" \n", "EOF"),
            (b"{", "unexpected EOF"),
            (b"{\"model\"", "unexpected EOF"),
            (b"{\"model\":", "unexpected EOF"),
            (b"nul", "unexpected EOF"),
            (b"-", "unexpected EOF"),
            (b"{\"a\":\"abc", "unexpected EOF"),
            (b"\xef\xbb\xbf{}", "invalid character '\u{ef}' looking for beginning of value"),
            (b"\x1f\x8b", "invalid character '\\x1f' looking for beginning of value"),
            (b"'", "invalid character '\\'' looking for beginning of value"),
            (b"<", "invalid character '<' looking for beginning of value"),
            (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
            (b"{,}", "invalid character ',' looking for beginning of object key string"),
            (b"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            (b"{\"a\" 1}", "invalid character '1' after object key"),
            (b"{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            (b"{\"a\":01}", "invalid character '1' after object key:value pair"),
            (b"{\"a\":[1 2]}", "invalid character '2' after array element"),
            (b"[1,]", "invalid character ']' looking for beginning of value"),
            (b"{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
            (b"{\"a\":nulx}", "invalid character 'x' in literal null (expecting 'l')"),
            (b"{\"a\":-x}", "invalid character 'x' in numeric literal"),
            (b"{\"a\":1.x}", "invalid character 'x' after decimal point in numeric literal"),
            (b"{\"a\":1ex}", "invalid character 'x' in exponent of numeric literal"),
            (b"{\"a\":\"\\x\"}", "invalid character 'x' in string escape code"),
            (b"{\"a\":\"\\u12g4\"}", "invalid character 'g' in \\u hexadecimal character escape"),
            (b"{\"a\":\"\n\"}", "invalid character '\\n' in string literal"),
        ];
        for (input, want) in cases {
            assert_eq!(error(input), *want, "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn the_first_value_ends_where_it_ends() {
        for (input, end) in [
            ("{\"a\":[1,{\"b\":null}]} trailing {", 20),
            ("  5", 3),
            ("\"x\\\"y\"z", 6),
            ("[]]", 2),
            ("true,", 4),
            ("-1.5e+3x", 7),
            ("{\"a\":1e400,\"b\":\"\\ud800\"}", 24),
        ] {
            assert_eq!(end_of_value(input.as_bytes(), 0), Ok(end), "{input}");
        }
    }

    #[test]
    fn depth_is_bounded_and_costs_no_stack() {
        let nested = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
        assert!(first_value(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(first_value(&nested(MAX_DEPTH + 1)), Err(ScanError::TooDeep));
        assert_eq!(first_value(&vec![b'['; 5_000_000]), Err(ScanError::TooDeep));
    }
}
