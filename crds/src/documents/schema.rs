//! The part of an OpenAPI schema that our kinds use: types, required and unknown fields, enums, lengths.

use super::Problem;
use super::located::{Located, Node};
use serde_json::Value;

/// The fields of `metadata` that a person writes, and those that `kubectl get -o yaml` shows besides.
const METADATA: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Checks a whole object against the schema of its kind.
pub(super) fn check(schema: &Value, document: &Located) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    if let Node::Map(fields) = &document.value {
        for (key, value) in fields {
            match key.as_str() {
                "apiVersion" | "kind" | "status" => {}
                "metadata" => metadata(value, &mut problems),
                _ => match schema.pointer(&format!("/properties/{key}")) {
                    Some(schema) => walk(schema, value, key, &mut problems),
                    None => unknown(value.line, key, property_names(schema), &mut problems),
                },
            }
        }
    }
    for required in ["metadata", "spec"] {
        if document.at(required).is_none() {
            problems.push(Problem {
                line: document.line,
                field: required.to_owned(),
                sentence: "is missing".to_owned(),
            });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn metadata(value: &Located, problems: &mut Vec<Problem>) {
    let Node::Map(fields) = &value.value else {
        return wrong_type(value, "metadata", "object", problems);
    };
    for (key, value) in fields {
        if !METADATA.contains(&key.as_str()) {
            unknown(value.line, &format!("metadata.{key}"), METADATA.into_iter(), problems);
        }
    }
    for key in ["name", "namespace"] {
        let Some(named) = value.at(key) else { continue };
        if !named.as_str().is_some_and(is_name) {
            problems.push(Problem {
                line: named.line,
                field: format!("metadata.{key}"),
                sentence: "must be lower-case letters, digits, dashes and dots, for example gpu-1".to_owned(),
            });
        }
    }
    if value.at("name").is_none() {
        problems.push(Problem {
            line: value.line,
            field: "metadata.name".to_owned(),
            sentence: "is missing: give every node a name, for example gpu-1".to_owned(),
        });
    }
}

fn walk(schema: &Value, value: &Located, path: &str, problems: &mut Vec<Problem>) {
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    match (&value.value, wanted) {
        // As at the API server, a null stands for a field that is not there.
        (Node::Scalar(Value::Null), _) => {}
        (Node::Map(fields), "object") => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                match properties.get(key) {
                    Some(schema) => walk(schema, value, &path, problems),
                    None => unknown(value.line, &path, property_names(schema), problems),
                }
            }
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            for key in required.filter_map(Value::as_str) {
                if value.at(key).is_none_or(|value| matches!(value.value, Node::Scalar(Value::Null))) {
                    let field = format!("{path}.{key}");
                    problems.push(Problem { line: value.line, field, sentence: "is missing".to_owned() });
                }
            }
        }
        (Node::List(items), "array") => {
            bounded(schema, "maxItems", items.len(), "entries", value, path, problems);
            for (at, item) in items.iter().enumerate() {
                if let Some(schema) = schema.get("items") {
                    walk(schema, item, &format!("{path}[{at}]"), problems);
                }
            }
        }
        (Node::Scalar(Value::String(text)), "string") => {
            bounded(schema, "maxLength", text.chars().count(), "characters", value, path, problems);
            let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            if least > 0 && text.is_empty() {
                problems.push(Problem {
                    line: value.line,
                    field: path.to_owned(),
                    sentence: "must not be empty".to_owned(),
                });
            }
            if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
                let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
                if !allowed.contains(&text.as_str()) {
                    problems.push(Problem {
                        line: value.line,
                        field: path.to_owned(),
                        sentence: format!("'{text}' is not one of {}", allowed.join(", ")),
                    });
                }
            }
        }
        (Node::Scalar(Value::Number(number)), "integer") if number.is_i64() || number.is_u64() => {
            let fits = |number: i64| {
                schema.get("format").and_then(Value::as_str) != Some("int32") || i32::try_from(number).is_ok()
            };
            if !number.as_i64().is_some_and(fits) {
                problems.push(Problem {
                    line: value.line,
                    field: path.to_owned(),
                    sentence: format!("{number} is too large"),
                });
            }
        }
        (Node::Scalar(Value::Bool(_)), "boolean") => {}
        (_, wanted) => wrong_type(value, path, wanted, problems),
    }
}

fn wrong_type(value: &Located, path: &str, wanted: &str, problems: &mut Vec<Problem>) {
    let sentence = match wanted {
        "object" => "must hold fields".to_owned(),
        "array" => "must be a list".to_owned(),
        "string" => "must be a text: put it in quotes if it looks like a number".to_owned(),
        "integer" => "must be a whole number".to_owned(),
        "boolean" => "must be true or false".to_owned(),
        other => format!("must be of type {other}"),
    };
    problems.push(Problem { line: value.line, field: path.to_owned(), sentence });
}

fn bounded(
    schema: &Value,
    bound: &str,
    size: usize,
    unit: &str,
    value: &Located,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let max = schema.get(bound).and_then(Value::as_u64).unwrap_or(u64::MAX);
    if u64::try_from(size).unwrap_or(u64::MAX) > max {
        problems.push(Problem {
            line: value.line,
            field: path.to_owned(),
            sentence: format!("has {size} {unit}; at most {max} are allowed"),
        });
    }
}

fn unknown<'a>(line: u64, path: &str, known: impl Iterator<Item = &'a str>, problems: &mut Vec<Problem>) {
    let known: Vec<&str> = known.collect();
    problems.push(Problem {
        line,
        field: path.to_owned(),
        sentence: format!("is not a known field; known here: {}", known.join(", ")),
    });
}

fn property_names(schema: &Value) -> impl Iterator<Item = &str> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.keys().map(String::as_str))
}

/// A DNS subdomain name (RFC 1123), which object names are.
fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().is_some_and(|byte| alphanumeric(*byte))
                && bytes.last().is_some_and(|byte| alphanumeric(*byte))
                && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
        })
}
