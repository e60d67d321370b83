//! What a body asks for: the fields that routing needs, scanned without building the document.
//!
//! The node reads the same bytes with Go's `encoding/json`: keys match whatever their case, the last of several wins, and
//! what follows the first value is ignored. A body in which two keys read as the same field is refused, so that the
//! model that is routed by is the model that runs.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The fields that routing needs. A field that is absent and one that is `null` are the same, as they are to the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// `model`.
    pub model: Option<Cow<'a, str>>,
    /// `name`: the older word for `model`.
    pub name: Option<Cow<'a, str>>,
    /// `stream`, if it is a truth value. Anything else is for the node to refuse, in its own words.
    pub stream: Option<bool>,
}

/// Why a body cannot be routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Nothing, or blanks alone.
    Empty,
    /// No JSON, or a model that is no string; what is wrong.
    Json(String),
    /// Several keys read as this field.
    Ambiguous(&'static str),
}

impl<'a> Asked<'a> {
    /// Scans a body.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Unreadable> {
        if body.trim_ascii().is_empty() {
            return Err(Unreadable::Empty);
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let found = Fields::deserialize(&mut json).map_err(|error| Unreadable::Json(told(&error)))?;
        match found.ambiguous {
            Some(field) => Err(Unreadable::Ambiguous(field)),
            None => Ok(found.asked),
        }
    }
}

/// The commonest error in a node's words, the others in the parser's.
fn told(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected EOF".to_owned() } else { error.to_string() }
}

#[derive(Default)]
struct Fields<'a> {
    asked: Asked<'a>,
    ambiguous: Option<&'static str>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Fields::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut seen = [false; 3];
        while let Some(key) = map.next_key::<Key>()? {
            let Key(Some(field)) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[field as usize], true) {
                fields.ambiguous = Some(field.name());
            }
            match field {
                Field::Model => fields.asked.model = map.next_value::<Text<'de>>()?.0,
                Field::Name => fields.asked.name = map.next_value::<Text<'de>>()?.0,
                Field::Stream => fields.asked.stream = map.next_value::<Flag>()?.0,
            }
        }
        Ok(fields)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Model,
    Name,
    Stream,
}

impl Field {
    const ALL: [Self; 3] = [Self::Model, Self::Name, Self::Stream];

    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Name => "name",
            Self::Stream => "stream",
        }
    }
}

struct Key(Option<Field>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key(Field::ALL.into_iter().find(|field| reads_as(key, field.name()))))
    }
}

/// Whether Go takes `key` for the field `name`: two letters outside ASCII fold to ones inside it.
fn reads_as(key: &str, name: &str) -> bool {
    let folded = key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(name.chars())
}

/// A string that is borrowed when it holds no escapes, or `null`.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }
}

/// A truth value, or anything.
struct Flag(Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

struct FlagVisitor;

impl<'de> Visitor<'de> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(Some(flag)))
    }

    fn visit_unit<E>(self) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Flag, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Flag(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flag, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Flag(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(body: &str) -> Result<Option<String>, Unreadable> {
        Asked::parse(body.as_bytes()).map(|asked| asked.model.map(Cow::into_owned))
    }

    #[test]
    fn the_model_is_borrowed_from_the_body() {
        let asked =
            Asked::parse(br#"{"messages":[{"role":"user"}],"model":"llama3.2","stream":false}"#).unwrap();
        assert!(matches!(asked.model, Some(Cow::Borrowed("llama3.2"))));
        assert_eq!(asked.stream, Some(false));
    }

    #[test]
    fn keys_are_read_as_go_reads_them() {
        assert_eq!(model(r#"{"MoDeL":"a"}"#), Ok(Some("a".into())));
        assert_eq!(model(r#"{"mod\u0065l":"a"}"#), Ok(Some("a".into())));
        assert_eq!(model(r#"{"options":{"model":"b"},"model":"a"}"#), Ok(Some("a".into())));
        let long_s = Asked::parse("{\"\u{17f}tream\":false}".as_bytes()).unwrap();
        assert_eq!(long_s.stream, Some(false));
        assert!(reads_as("\u{212a}eep", "keep"));
        assert!(!reads_as("models", "model"));
    }

    #[test]
    fn several_keys_for_one_field_are_refused() {
        for body in [
            r#"{"model":"a","MODEL":"b"}"#,
            r#"{"model":"a","model":"a"}"#,
            r#"{"mod\u0065l":1,"model":"b"}"#,
        ] {
            assert!(model(body).is_err(), "{body}");
        }
        assert_eq!(model(r#"{"model":"a","Model":"b"}"#), Err(Unreadable::Ambiguous("model")));
        assert_eq!(
            Asked::parse("{\"stream\":true,\"\u{17f}tream\":false}".as_bytes()),
            Err(Unreadable::Ambiguous("stream"))
        );
    }

    #[test]
    fn absent_null_and_a_null_body_are_the_same() {
        for body in ["{}", r#"{"model":null}"#, "null"] {
            assert_eq!(model(body), Ok(None), "{body}");
        }
    }

    #[test]
    fn what_a_node_accepts_is_accepted() {
        for body in [
            r#"{"model":"a"} trailing"#,
            r#"{"big":1e400,"surrogate":"\ud800","model":"a"}"#,
            &format!(r#"{{"deep":{}{},"model":"a"}}"#, "[".repeat(9_000), "]".repeat(9_000)),
        ] {
            assert_eq!(model(body), Ok(Some("a".into())), "{body}");
        }
        let mut not_text = br#"{"prompt":""#.to_vec();
        not_text.extend_from_slice(b"\xff\xfe\",\"model\":\"a\"}");
        assert!(Asked::parse(&not_text).is_ok());
    }

    #[test]
    fn a_stream_that_is_no_truth_value_is_left_to_the_node() {
        for stream in ["\"yes\"", "1", "-1", "1.5", "[true]", "{\"a\":[1]}", "null"] {
            let body = format!("{{\"stream\":{stream},\"model\":\"a\"}}");
            let asked = Asked::parse(body.as_bytes()).unwrap();
            assert_eq!((asked.model.as_deref(), asked.stream), (Some("a"), None), "{body}");
        }
    }

    #[test]
    fn what_a_node_refuses_is_refused() {
        assert_eq!(model(" \n"), Err(Unreadable::Empty));
        assert_eq!(model("{\"model\":"), Err(Unreadable::Json("unexpected EOF".into())));
        for body in ["{", "[]", "\"a\"", r#"{"model":1}"#, "\u{feff}{}", "{'a':1}"] {
            assert!(matches!(model(body), Err(Unreadable::Json(_))), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Asked::parse(&body);
        }

        #[test]
        fn the_model_is_found_wherever_it_stands(before in 0_usize..40, after in 0_usize..40, name in "[a-z]{1,8}") {
            let filler = |count: usize| (0..count).map(|i| format!("\"k{i}\":[{i}],")).collect::<String>();
            let body = format!("{{{}\"model\":\"{name}\",{}\"z\":0}}", filler(before), filler(after));
            prop_assert_eq!(model(&body), Ok(Some(name)));
        }
    }
}
