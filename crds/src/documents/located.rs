//! A YAML document whose values know their lines.

use super::Problem;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and the line it starts at.
#[derive(Debug)]
pub(super) struct Located {
    pub line: u64,
    pub value: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Scalar(Value),
    List(Vec<Located>),
    Map(Vec<(String, Located)>),
}

/// The documents of a text that are not empty.
pub(super) fn documents(text: &str) -> Result<Vec<Located>, Problem> {
    // YAML 1.2: `on`, `yes` and `y` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    let read = serde_saphyr::from_multiple_with_options::<Spanned<Option<Node>>>(text, options);
    let documents = read.map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let sentence = error.without_snippet().to_string();
        Problem { line, field: String::new(), sentence: format!("not readable as YAML: {sentence}") }
    })?;
    Ok(documents
        .into_iter()
        .filter_map(|document| Some(Located { line: document.referenced.line(), value: document.value? }))
        .filter(|document| !matches!(document.value, Node::Scalar(Value::Null)))
        .collect())
}

impl Located {
    /// The value at a path such as `spec.models.allow[1]`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        steps(path).try_fold(self, Self::step)
    }

    /// The line of the value at a path, or of the nearest value above it.
    pub fn line_of(&self, path: &str) -> u64 {
        let mut here = self;
        for step in steps(path) {
            match here.step(step) {
                Some(next) => here = next,
                None => break,
            }
        }
        here.line
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub fn to_json(&self) -> Value {
        match &self.value {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => items.iter().map(Self::to_json).collect(),
            // A null stands for a field that is not there, as at the API server.
            Node::Map(fields) => fields
                .iter()
                .filter(|(_, value)| !matches!(value.value, Node::Scalar(Value::Null)))
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect(),
        }
    }

    fn step(&self, step: &str) -> Option<&Self> {
        match &self.value {
            Node::Map(fields) => fields.iter().find(|(key, _)| key == step).map(|(_, value)| value),
            Node::List(items) => items.get(step.parse::<usize>().ok()?),
            Node::Scalar(_) => None,
        }
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']']).filter(|step| !step.is_empty())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Node>>()? {
            list.push(Located { line: item.referenced.line(), value: item.value });
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = fields.next_key::<String>()? {
            let value = fields.next_value::<Spanned<Node>>()?;
            map.push((key, Located { line: value.referenced.line(), value: value.value }));
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_know_their_lines_over_several_documents() {
        let documents = documents("a: 1\nb:\n  - x\n  - y\n---\n# nothing\n---\nc:\n  d: true\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].line_of("b[1]"), 4);
        assert_eq!(documents[1].line_of("c.d"), 9);
        assert_eq!(documents[1].line_of("c.e"), documents[1].line_of("c"));
        assert_eq!(documents[0].to_json(), json!({"a": 1, "b": ["x", "y"]}));
    }

    #[test]
    fn a_text_that_is_no_yaml_is_refused_with_its_line() {
        let problem = documents("a: 1\nb: [1, 2\n").unwrap_err();
        assert!(problem.line > 0 && problem.sentence.starts_with("not readable as YAML"), "{problem}");
        assert!(documents("a: 1\na: 2\n").is_err(), "a key that stands twice");
    }
}
