//! The resource definitions as the API server takes them.

use crate::{conditions, reasons, v1alpha1::OllamaNode};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

const HEADER: &str = "# Written by `make gen` from crds/src. Do not edit.\n";

/// Why a definition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The definition does not survive the way to JSON and back.
    #[error("the definition of {kind} is not valid: {source}")]
    Json {
        /// Which kind.
        kind: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The definition cannot be written as YAML.
    #[error("the definition of {kind} cannot be written as YAML: {reason}")]
    Yaml {
        /// Which kind.
        kind: String,
        /// What the writer said.
        reason: String,
    },
}

/// A generated file.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedFile {
    /// Its name, without a folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All definitions of this version.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, GenerateError> {
    Ok(vec![finish(OllamaNode::crd())?])
}

/// All definitions as files.
pub fn files() -> Result<Vec<GeneratedFile>, GenerateError> {
    definitions()?
        .into_iter()
        .map(|definition| {
            let yaml = serde_saphyr::to_string(&definition).map_err(|error| GenerateError::Yaml {
                kind: definition.spec.names.kind.clone(),
                reason: error.to_string(),
            })?;
            let name = format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural);
            Ok(GeneratedFile { name, text: format!("{HEADER}{yaml}") })
        })
        .collect()
}

/// What the derive cannot say.
fn finish(definition: CustomResourceDefinition) -> Result<CustomResourceDefinition, GenerateError> {
    let kind = definition.spec.names.kind.clone();
    let json = |source| GenerateError::Json { kind: kind.clone(), source };
    let mut value = serde_json::to_value(definition).map_err(json)?;
    drop_nullable(&mut value);
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(Value::Object(status)) =
                version.pointer_mut("/schema/openAPIV3Schema/properties/status")
            {
                status.insert("default".to_owned(), initial_status());
            }
        }
    }
    serde_json::from_value(value).map_err(json)
}

/// Without `nullable` the API server drops a null, so that an empty YAML value means the default.
fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}

/// What `kubectl get` shows while no controller has looked at an object.
fn initial_status() -> Value {
    json!({
        "conditions": [{
            "type": conditions::READY,
            "status": conditions::UNKNOWN,
            "reason": reasons::PENDING,
            "message": "Waiting for the controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}
