//! Decoding into the fields of a Go struct: names fold, the last value wins, `null` changes nothing that is
//! not a pointer, the first type error in the body is reported once everything was read.

use super::scan::ScanError;
use super::value::{Kind, Raw};

/// The fields of one object, and the errors met while they are taken out.
#[derive(Debug)]
pub struct Fields<'a> {
    go_type: &'static str,
    path: String,
    pairs: Vec<(String, Raw<'a>)>,
    errors: Errors,
}

#[derive(Debug, Default)]
struct Errors {
    /// A type error: decoding goes on.
    saved: Option<(usize, String)>,
    /// An error of a field's own decoder: decoding ends there.
    fatal: Option<(usize, String)>,
}

impl Errors {
    fn save(&mut self, at: usize, text: String) {
        keep_first(&mut self.saved, at, text);
    }

    fn fail(&mut self, at: usize, text: String) {
        keep_first(&mut self.fatal, at, text);
    }
}

fn keep_first(slot: &mut Option<(usize, String)>, at: usize, text: String) {
    if slot.as_ref().is_none_or(|(first, _)| at < *first) {
        *slot = Some((at, text));
    }
}

/// Go's types, as far as fields are only checked.
#[derive(Clone, Copy, Debug)]
pub enum GoType {
    /// `string`
    Text,
    /// `bool` or `*bool`
    Bool,
    /// `int` or `*int`
    Int,
    /// The float of this name.
    Float(&'static str),
    /// The slice of this name.
    List(&'static str),
}

/// What came out: the value, or the text of Go's error.
pub type Decoded<T> = Result<T, String>;

/// Decodes a body into a struct that Go calls `package.Name`. `Err(Ok(scan error))` separates the empty body,
/// which handlers answer with words of their own.
pub fn decode<'a, T>(
    body: &'a [u8],
    package: &str,
    go_type: &'static str,
    take: impl FnOnce(&mut Fields<'a>) -> T,
) -> Result<Decoded<T>, ScanError> {
    let raw = super::first_value(body)?;
    let pairs = match raw.kind() {
        Kind::Object => raw.pairs(),
        Kind::Null => Vec::new(),
        other => {
            let word = other.go_word();
            return Ok(Err(format!(
                "json: cannot unmarshal {word} into Go value of type {package}.{go_type}"
            )));
        }
    };
    let mut fields = Fields::new(go_type, String::new(), pairs);
    let value = take(&mut fields);
    Ok(fields.finish(value))
}

impl<'a> Fields<'a> {
    fn new(go_type: &'static str, path: String, pairs: Vec<(String, Raw<'a>)>) -> Self {
        let pairs = pairs.into_iter().map(|(key, raw)| (fold(&key), raw)).collect();
        Self { go_type, path, pairs, errors: Errors::default() }
    }

    fn finish<T>(self, value: T) -> Decoded<T> {
        match (self.errors.fatal, self.errors.saved) {
            (Some((_, text)), _) | (None, Some((_, text))) => Err(text),
            (None, None) => Ok(value),
        }
    }

    /// All values given for a field, in order.
    pub fn all(&self, name: &str) -> Vec<Raw<'a>> {
        self.pairs.iter().filter(|(key, _)| key == name).map(|(_, raw)| *raw).collect()
    }

    /// The last value given, when it is not `null`: a pointer or an interface.
    pub fn pointer(&self, name: &str) -> Option<Raw<'a>> {
        self.all(name).last().copied().filter(|raw| raw.kind() != Kind::Null)
    }

    /// A `string`.
    pub fn string(&mut self, name: &str) -> String {
        let mut value = String::new();
        for raw in self.all(name) {
            match raw.string() {
                Some(text) => value = text,
                None => self.mismatch(name, &raw, "string"),
            }
        }
        value
    }

    /// A `bool`.
    pub fn boolean(&mut self, name: &str) -> bool {
        let mut value = false;
        for raw in self.all(name) {
            match raw.boolean() {
                Some(it) => value = it,
                None => self.mismatch(name, &raw, "bool"),
            }
        }
        value
    }

    /// A `*bool`.
    pub fn boolean_pointer(&mut self, name: &str) -> Option<bool> {
        let mut value = None;
        for raw in self.all(name) {
            match raw.boolean() {
                None if raw.kind() == Kind::Null => value = None,
                None => self.mismatch(name, &raw, "bool"),
                some => value = some,
            }
        }
        value
    }

    /// An `int` or, where `null` means unset, an `*int`.
    pub fn int_pointer(&mut self, name: &str) -> Option<i64> {
        let mut value = None;
        for raw in self.all(name) {
            match raw.number_text().map(|text| (text, text.parse::<i64>())) {
                Some((_, Ok(number))) => value = Some(number),
                Some((text, Err(_))) => {
                    let word = format!("number {text}");
                    self.mismatch_word(name, raw.at(), &word, "int");
                }
                None if raw.kind() == Kind::Null => value = None,
                None => self.mismatch(name, &raw, "int"),
            }
        }
        value
    }

    /// A slice; `null` empties it. `element` is Go's name of the whole type.
    pub fn array(&mut self, name: &str, go_type: &str) -> Vec<Raw<'a>> {
        let mut value = Vec::new();
        for raw in self.all(name) {
            match raw.kind() {
                Kind::Array => value = raw.elements(),
                Kind::Null => value.clear(),
                _ => self.mismatch(name, &raw, go_type),
            }
        }
        value
    }

    /// Checks the types of fields nobody looks at.
    pub fn check(&mut self, fields: &[(&str, GoType)]) {
        for (name, go_type) in fields {
            match go_type {
                GoType::Text => drop(self.string(name)),
                GoType::Bool => drop(self.boolean_pointer(name)),
                GoType::Int => drop(self.int_pointer(name)),
                GoType::Float(want) => {
                    for raw in self.all(name) {
                        if raw.kind() != Kind::Number {
                            self.mismatch(name, &raw, want);
                        }
                    }
                }
                GoType::List(want) => drop(self.array(name, want)),
            }
        }
    }

    /// A `map[string]any`: repeated objects are merged, keys are exact.
    pub fn map(&mut self, name: &str) -> Vec<(String, Raw<'a>)> {
        let mut value: Vec<(String, Raw<'a>)> = Vec::new();
        for raw in self.all(name) {
            match raw.kind() {
                Kind::Object => value.extend(raw.pairs()),
                Kind::Null => value.clear(),
                _ => self.mismatch(name, &raw, "map[string]interface {}"),
            }
        }
        value
    }

    /// A pointer to a struct; `None` when absent or `null`.
    pub fn object<T>(
        &mut self,
        name: &str,
        full_type: &str,
        go_type: &'static str,
        take: impl FnOnce(&mut Fields<'a>) -> T,
    ) -> Option<T> {
        let mut pairs: Option<Vec<_>> = None;
        for raw in self.all(name) {
            match raw.kind() {
                Kind::Object => pairs.get_or_insert_with(Vec::new).extend(raw.pairs()),
                Kind::Null => pairs = None,
                _ => self.mismatch(name, &raw, full_type),
            }
        }
        Some(self.nested(name, go_type, pairs?, take))
    }

    /// The elements of a slice of structs. `own_decoder`: the struct has an `UnmarshalJSON`.
    pub fn objects<T>(
        &mut self,
        name: &str,
        slice_type: &str,
        (full_type, go_type): (&str, &'static str),
        own_decoder: bool,
        take: impl Fn(&mut Fields<'a>) -> T,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for raw in self.array(name, slice_type) {
            let pairs = match raw.kind() {
                Kind::Object => raw.pairs(),
                Kind::Null => Vec::new(),
                other => {
                    let text = self.mismatch_text(name, other.go_word(), full_type);
                    if own_decoder {
                        self.errors.fail(raw.at(), text);
                    } else {
                        self.errors.save(raw.at(), text);
                    }
                    continue;
                }
            };
            if own_decoder {
                // Errors from there name the outer struct, and end decoding.
                let mut fields = Fields::new(self.go_type, format!("{}{name}.", self.path), pairs);
                let value = take(&mut fields);
                match fields.finish(value) {
                    Ok(value) => found.push(value),
                    Err(text) => self.errors.fail(raw.at(), text),
                }
            } else {
                found.push(self.nested(name, go_type, pairs, &take));
            }
        }
        found
    }

    /// A field with a decoder of its own, whose error ends decoding.
    pub fn own<T>(&mut self, name: &str, decode: impl Fn(Raw<'a>) -> Result<T, String>) -> Option<T> {
        let mut value = None;
        for raw in self.all(name) {
            if raw.kind() == Kind::Null {
                value = None;
                continue;
            }
            match decode(raw) {
                Ok(it) => value = Some(it),
                Err(text) => self.errors.fail(raw.at(), text),
            }
        }
        value
    }

    /// Reports an element of another type than the slice has.
    pub fn wrong_element(&mut self, name: &str, raw: &Raw<'_>, want: &str) {
        self.mismatch(name, raw, want);
    }

    /// Reports an error of no type: decoding goes on, the body is refused.
    pub fn refuse(&mut self, at: usize, text: String) {
        self.errors.save(at, text);
    }

    fn nested<T>(
        &mut self,
        name: &str,
        go_type: &'static str,
        pairs: Vec<(String, Raw<'a>)>,
        take: impl FnOnce(&mut Fields<'a>) -> T,
    ) -> T {
        let mut fields = Fields::new(go_type, format!("{}{name}.", self.path), pairs);
        let value = take(&mut fields);
        if let Some((at, text)) = fields.errors.saved {
            self.errors.save(at, text);
        }
        if let Some((at, text)) = fields.errors.fatal {
            self.errors.fail(at, text);
        }
        value
    }

    fn mismatch(&mut self, name: &str, raw: &Raw<'_>, want: &str) {
        if raw.kind() != Kind::Null {
            self.mismatch_word(name, raw.at(), raw.kind().go_word(), want);
        }
    }

    fn mismatch_word(&mut self, name: &str, at: usize, word: &str, want: &str) {
        let text = self.mismatch_text(name, word, want);
        self.errors.save(at, text);
    }

    fn mismatch_text(&self, name: &str, word: &str, want: &str) -> String {
        let (go_type, path) = (self.go_type, &self.path);
        format!("json: cannot unmarshal {word} into Go struct field {go_type}.{path}{name} of type {want}")
    }
}

/// Go's folding, as far as it can meet a field name: ASCII, the long s and the Kelvin sign.
fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct R {
        model: String,
        stream: Option<bool>,
        n: Option<i64>,
        options: usize,
        usage: Option<bool>,
        list: usize,
    }

    fn read(body: &str) -> Decoded<R> {
        decode(body.as_bytes(), "main", "R", |f| R {
            model: f.string("model"),
            stream: f.boolean_pointer("stream"),
            n: f.int_pointer("n"),
            options: f.map("options").len(),
            usage: f.object("so", "main.So", "So", |f| f.boolean("include_usage")),
            list: f.array("l", "[]int").len(),
        })
        .unwrap()
    }

    /// Recorded from Go 1.26.
    #[test]
    fn type_errors_are_gos() {
        for (body, want) in [
            (
                "{\"stream\":\"x\",\"model\":1}",
                "json: cannot unmarshal string into Go struct field R.stream of type bool",
            ),
            (
                "{\"model\":1,\"stream\":\"x\"}",
                "json: cannot unmarshal number into Go struct field R.model of type string",
            ),
            ("{\"n\":1.5}", "json: cannot unmarshal number 1.5 into Go struct field R.n of type int"),
            ("{\"n\":1e3}", "json: cannot unmarshal number 1e3 into Go struct field R.n of type int"),
            ("{\"n\":\"x\"}", "json: cannot unmarshal string into Go struct field R.n of type int"),
            (
                "{\"options\":[]}",
                "json: cannot unmarshal array into Go struct field R.options of type map[string]interface {}",
            ),
            (
                "{\"so\":{\"include_usage\":\"x\"}}",
                "json: cannot unmarshal string into Go struct field So.so.include_usage of type bool",
            ),
            ("{\"so\":5}", "json: cannot unmarshal number into Go struct field R.so of type main.So"),
            ("{\"l\":{}}", "json: cannot unmarshal object into Go struct field R.l of type []int"),
            ("[]", "json: cannot unmarshal array into Go value of type main.R"),
            ("true", "json: cannot unmarshal bool into Go value of type main.R"),
        ] {
            assert_eq!(read(body), Err(want.to_owned()), "{body}");
        }
    }

    #[test]
    fn keys_fold_and_the_last_wins() {
        let model = |body: &str| read(body).unwrap().model;
        assert_eq!(model("{\"model\":\"a\",\"MODEL\":\"b\"}"), "b");
        assert_eq!(model("{\"Model\":\"a\",\"model\":\"b\"}"), "b");
        assert_eq!(model("{\"model\":\"a\",\"model\":null}"), "a");
        assert_eq!(read("{\"\u{17f}tream\":false}").unwrap().stream, Some(false));
        assert_eq!(read("{\"stream\":true,\"STREAM\":null}").unwrap().stream, None);
        assert_eq!(read("{\"options\":{\"a\":1},\"options\":{\"b\":2}}").unwrap().options, 2);
        assert_eq!(read("{\"so\":{\"INCLUDE_USAGE\":true}}").unwrap().usage, Some(true));
        assert_eq!(read("null").unwrap(), R::default());
        assert_eq!(read("{\"unknown\":1e400} more").unwrap(), R::default());
    }

    #[test]
    fn own_decoders_end_decoding() {
        let read = |body: &str| {
            decode(body.as_bytes(), "api", "R", |f| {
                f.string("model");
                f.own("keep_alive", |raw| raw.number().ok_or_else(|| "not a number".to_owned()))
            })
            .unwrap()
        };
        assert_eq!(read("{\"model\":1,\"keep_alive\":\"x\"}"), Err("not a number".to_owned()));
        assert_eq!(read("{\"keep_alive\":5,\"\u{212a}eep_alive\":6}"), Ok(Some(6.0)));
        assert_eq!(read("{\"keep_alive\":5,\"keep_alive\":null}"), Ok(None));
    }
}
