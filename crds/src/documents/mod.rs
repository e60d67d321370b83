//! Reads manifests from text, as strictly as an API server with strict field validation.

mod located;
mod schema;

use crate::{OllamaNode, generate};
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use located::Located;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

const API_VERSION: &str = "aivonx.io/v1alpha1";
const KIND: &str = "OllamaNode";

/// One thing that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, counted from 1; 0 if it is not known.
    pub line: u64,
    /// Which field, such as `spec.models.allow[1]`; empty for the text as a whole.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.sentence)
    }
}

/// Everything that is wrong with a text; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct DocumentError {
    /// In the order of the text.
    pub problems: Vec<Problem>,
}

/// Reads the objects of a text: YAML, one or more documents; JSON is YAML too.
///
/// What the API server does to an object happens here as well: unknown kinds and fields are refused, the schema's bounds and
/// CEL rules hold, defaults are filled in. A namespace that is not given is `default`; a `status` is ignored.
pub fn parse_documents(text: &str) -> Result<Vec<OllamaNode>, DocumentError> {
    let documents = located::documents(text).map_err(|problem| DocumentError { problems: vec![problem] })?;
    let mut problems = Vec::new();
    let mut nodes: Vec<OllamaNode> = Vec::new();
    let mut names = BTreeSet::new();
    for document in &documents {
        match read(document) {
            Ok(node) => {
                let name = (node.metadata.namespace.clone(), node.metadata.name.clone());
                if names.insert(name) {
                    nodes.push(node);
                } else {
                    let sentence = "another document of this text has the same name and namespace";
                    problems.push(problem(document, "metadata.name", sentence));
                }
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(nodes) } else { Err(DocumentError { problems }) }
}

fn read(document: &Located) -> Result<OllamaNode, Vec<Problem>> {
    is_known_kind(document)?;
    let rules = rules().map_err(|sentence| vec![problem(document, "", &sentence)])?;
    schema::check(&rules.schema, document)?;
    let mut value = document.to_json();
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Err(errors) = Validator::new().validate_compiled(&rules.compiled, &value, None) {
        return Err(errors
            .into_iter()
            .map(|error| problem(document, &error.field_path, &error.message))
            .collect());
    }
    let mut node: OllamaNode = serde_json::from_value(value)
        .map_err(|error| vec![problem(document, "", &format!("not an {KIND}: {error}"))])?;
    node.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    Ok(node)
}

/// What an object breaks of the rules of its kind; empty for a valid one.
///
/// The API server has asked the same before it stored the object, unless the definition there is an older one.
pub fn violations(node: &OllamaNode) -> Vec<Problem> {
    let problem = |field: String, sentence: String| Problem { line: 0, field, sentence };
    let rules = match rules() {
        Ok(rules) => rules,
        Err(sentence) => return vec![problem(String::new(), sentence)],
    };
    let value = match serde_json::to_value(node) {
        Ok(value) => value,
        Err(error) => return vec![problem(String::new(), error.to_string())],
    };
    let judged = Validator::new().validate_compiled(&rules.compiled, &value, None);
    let errors = judged.err().into_iter().flatten();
    errors.map(|error| problem(error.field_path, error.message)).collect()
}

fn is_known_kind(document: &Located) -> Result<(), Vec<Problem>> {
    let text = |field: &str| document.at(field).and_then(Located::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version == API_VERSION && kind == KIND {
        return Ok(());
    }
    let sentence = if api_version.is_empty() || kind.is_empty() {
        format!("every document needs apiVersion and kind: this version reads {API_VERSION} {KIND}")
    } else {
        format!("{api_version} {kind} is not known: this version reads {API_VERSION} {KIND}")
    };
    Err(vec![problem(document, if api_version == API_VERSION { "kind" } else { "apiVersion" }, &sentence)])
}

/// The schema of the kind and its rules, compiled once.
struct Rules {
    schema: Value,
    compiled: CompiledSchema,
}

fn rules() -> Result<&'static Rules, String> {
    static RULES: OnceLock<Result<Rules, String>> = OnceLock::new();
    RULES
        .get_or_init(|| {
            let definitions = generate::definitions().map_err(|error| error.to_string())?;
            let schema = definitions
                .iter()
                .flat_map(|definition| &definition.spec.versions)
                .find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
                .ok_or_else(|| format!("{KIND} has no schema"))?;
            let schema = serde_json::to_value(schema).map_err(|error| error.to_string())?;
            let compiled = compile_schema(&schema);
            Ok(Rules { schema, compiled })
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// A problem at a field, with the line of the nearest ancestor that the text has.
fn problem(document: &Located, field: &str, sentence: &str) -> Problem {
    Problem { line: document.line_of(field), field: field.to_owned(), sentence: sentence.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiDuration;

    const GOOD: &str = "
apiVersion: aivonx.io/v1alpha1
kind: OllamaNode
metadata: {name: gpu-1}
spec: {url: http://10.0.0.7:11434}
";

    fn problems(text: &str) -> Vec<String> {
        parse_documents(text).unwrap_err().problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn defaults_are_filled_in() {
        let nodes = parse_documents(GOOD).unwrap();
        let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
        assert_eq!(node.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(node.spec.weight, 1);
        assert_eq!(node.spec.models.allow, ["*"]);
        assert_eq!(node.spec.timeouts.first_byte, ApiDuration::from_secs(600));
        assert_eq!(node.spec.health.path, "/api/version");
        assert!(node.status.is_none());
    }

    #[test]
    fn an_object_from_elsewhere_is_judged_by_the_same_rules() {
        let mut node = parse_documents(GOOD).unwrap().remove(0);
        assert_eq!(violations(&node), []);
        node.spec.url = Some("ftp://a".to_owned());
        let violations = violations(&node);
        assert!(violations.len() == 1 && violations[0].field == "spec.url", "{violations:?}");
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_passed_over() {
        let text = format!("---\n# a comment\n---{GOOD}---{}---\n", GOOD.replace("gpu-1", "gpu-2"));
        let names: Vec<_> =
            parse_documents(&text).unwrap().into_iter().map(|node| node.metadata.name.unwrap()).collect();
        assert_eq!(names, ["gpu-1", "gpu-2"]);
        assert_eq!(parse_documents("").unwrap(), []);
        assert_eq!(parse_documents("# nothing\n").unwrap(), []);
    }

    #[test]
    fn a_misspelt_field_is_named_with_its_line_and_the_known_ones() {
        let text =
            GOOD.replace("spec: {url: http://10.0.0.7:11434}", "spec:\n  url: http://a:1\n  wieght: 3");
        let problems = problems(&text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("line 7: spec.wieght: is not a known field"), "{problems:?}");
        assert!(problems[0].contains("weight"), "{problems:?}");
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let problems = problems(&GOOD.replace("OllamaNode", "OllamaPool"));
        assert_eq!(
            problems,
            [
                "line 3: kind: aivonx.io/v1alpha1 OllamaPool is not known: this version reads aivonx.io/v1alpha1 OllamaNode"
            ]
        );
        assert!(parse_documents("a: 1").unwrap_err().to_string().contains("needs apiVersion and kind"));
        assert!(parse_documents("just text").unwrap_err().to_string().contains("needs apiVersion and kind"));
    }

    #[test]
    fn types_and_bounds_of_the_schema_hold() {
        for (spec, expected) in [
            ("{url: http://a:1, weight: many}", "spec.weight: must be a whole number"),
            ("{url: http://a:1, weight: 99999999999}", "spec.weight: 99999999999 is too large"),
            ("{url: http://a:1, weight: 1.5}", "spec.weight: must be a whole number"),
            ("{url: 7}", "spec.url: must be a text"),
            ("{url: http://a:1, timeouts: {connect: 3}}", "spec.timeouts.connect: must be a text"),
            ("{url: http://a:1, models: {allow: llama}}", "spec.models.allow: must be a list"),
            ("{url: http://a:1, models: [llama]}", "spec.models: must hold fields"),
            ("{url: http://a:1, schedulingState: On}", "'On' is not one of Active, Cordoned, Draining"),
            ("{serviceRef: {port: 1}}", "spec.serviceRef.name: is missing"),
            ("{url: http://a:1, tls: {insecureSkipVerify: maybe}}", "must be true or false"),
            ("{url: http://a:1, auth: {type: Basic, secretRef: {name: '', key: k}}}", "must not be empty"),
            ("[]", "spec: must hold fields"),
        ] {
            let problems = problems(&GOOD.replace("{url: http://10.0.0.7:11434}", spec));
            assert!(problems.len() == 1 && problems[0].contains(expected), "{spec}: {problems:?}");
        }
        let long = format!("{{url: 'http://{}'}}", "a".repeat(400));
        assert!(problems(&GOOD.replace("{url: http://10.0.0.7:11434}", &long))[0].contains("at most 300"));
        let many = format!("{{url: http://a:1, models: {{allow: [{}]}}}}", "a,".repeat(65));
        assert!(problems(&GOOD.replace("{url: http://10.0.0.7:11434}", &many))[0].contains("at most 64"));
    }

    #[test]
    fn names_are_checked() {
        for (metadata, expected) in [
            ("{}", "metadata.name: is missing"),
            ("{name: GPU_1}", "metadata.name: must be lower-case letters"),
            ("{name: a, namespace: ../b}", "metadata.namespace: must be lower-case"),
            ("{name: a, lables: {}}", "metadata.lables: is not a known field"),
        ] {
            let problems = problems(&GOOD.replace("{name: gpu-1}", metadata));
            assert!(problems.len() == 1 && problems[0].contains(expected), "{metadata}: {problems:?}");
        }
    }

    #[test]
    fn two_objects_of_one_name_are_refused() {
        let problems = problems(&format!("{GOOD}---{GOOD}"));
        assert!(problems.len() == 1 && problems[0].contains("same name and namespace"), "{problems:?}");
    }

    #[test]
    fn all_problems_of_all_documents_are_told_at_once() {
        let bad = GOOD.replace("{url: http://10.0.0.7:11434}", "{url: 'ftp://a', weight: -1}");
        assert_eq!(problems(&format!("{bad}---{}", bad.replace("gpu-1", "gpu-2"))).len(), 4);
    }

    #[test]
    fn what_kubectl_shows_can_be_read_back() {
        let shown = GOOD.replace(
            "{name: gpu-1}",
            "{name: gpu-1, uid: 6b1f, generation: 3, creationTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '7'}",
        );
        let nodes = parse_documents(&format!("{shown}status: {{state: Ready, anything: 1}}\n")).unwrap();
        assert_eq!(nodes[0].metadata.generation, Some(3));
        assert!(nodes[0].status.is_none());
    }
}
