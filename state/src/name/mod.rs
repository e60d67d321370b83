//! Model names: one normaliser for what clients ask for and what nodes list.
//!
//! A node takes `llama3.2`, `library/Llama3.2:latest` and `registry.ollama.ai/library/llama3.2` for the same model.
//! [`ModelName`] reads a name the way a node does, so that the gateway routes by the name that the node will run;
//! [`ModelKey`] is what two such names have in common. Where a node's reading is lenient to the point of surprise
//! (`http:///a/b`), the name is refused here: a refused request cannot run another model than the one that was routed.

mod source;

pub use source::Source;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const DEFAULT_HOST: &str = "registry.ollama.ai";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// Longest host, in bytes.
const MAX_HOST: usize = 350;
/// Longest namespace, model or tag, in bytes.
const MAX_PART: usize = 80;

/// Why a text is not a model name, in the words that a node uses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but blanks.
    #[error("model is required")]
    Missing,
    /// A part is missing, too long, or has a character that it may not have.
    #[error("invalid model name")]
    Invalid,
    /// Such as `a:local:cloud`. Holds the name, cut short if it is long.
    #[error("use either :local or :cloud, not both: {0:?}")]
    TwoSources(String),
}

/// A valid model name with all its parts, in the case it was written in.
///
/// Two names are the same model if their [keys](ModelName::key) are equal; that is why this type itself has no equality.
#[derive(Clone, Debug)]
pub struct ModelName {
    /// `host/namespace/model:tag`, all four parts; ASCII only.
    full: Box<str>,
    /// Where the host, the namespace and the model end in `full`.
    host_end: usize,
    namespace_end: usize,
    model_end: usize,
    source: Source,
}

impl ModelName {
    /// Reads `[scheme://][[host/]namespace/]model[:tag]`, with an optional source suffix (`:cloud`, `:local` or a tag
    /// that ends in `-cloud`) and with blanks around it; absent parts get a node's defaults.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Missing);
        }
        let (base, source) = source::split(text)?;
        let parts = Parts::split(base);
        if !parts.are_valid() {
            return Err(NameError::Invalid);
        }
        let Parts { host, namespace, model, tag } = parts;
        let host_end = host.len();
        let namespace_end = host_end + 1 + namespace.len();
        let model_end = namespace_end + 1 + model.len();
        let full = format!("{host}/{namespace}/{model}:{tag}").into_boxed_str();
        Ok(Self { full, host_end, namespace_end, model_end, source })
    }

    /// The registry, such as `registry.ollama.ai` or `hf.co`.
    pub fn host(&self) -> &str {
        &self.full[..self.host_end]
    }

    /// The owner within the registry, such as `library`.
    pub fn namespace(&self) -> &str {
        &self.full[self.host_end + 1..self.namespace_end]
    }

    /// The model without owner and tag.
    pub fn model(&self) -> &str {
        &self.full[self.namespace_end + 1..self.model_end]
    }

    /// The tag; `latest` if none was written.
    pub fn tag(&self) -> &str {
        &self.full[self.model_end + 1..]
    }

    /// Where the name says that the model is to run.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether a node would send a request for this name away to ollama.com instead of running it.
    pub fn is_cloud(&self) -> bool {
        self.source == Source::Cloud
    }

    /// What this name has in common with every other name of the same model. The source is no part of it.
    pub fn key(&self) -> ModelKey {
        ModelKey(self.full.to_ascii_lowercase().into())
    }

    /// The name as a node lists it: always with the tag, without the default host and namespace.
    pub fn display_shortest(&self) -> &str {
        if !self.host().eq_ignore_ascii_case(DEFAULT_HOST) {
            &self.full
        } else if !self.namespace().eq_ignore_ascii_case(DEFAULT_NAMESPACE) {
            &self.full[self.host_end + 1..]
        } else {
            &self.full[self.namespace_end + 1..]
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.display_shortest())
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// The canonical form of a model name, lower case `host/namespace/model:tag`. Equal for equal models; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelKey(Arc<str>);

impl ModelKey {
    /// `host/namespace/model:tag`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets a map by key be asked with a text that is canonical already.
impl std::borrow::Borrow<str> for ModelKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The four parts, defaults filled in, not checked yet.
struct Parts<'a> {
    host: &'a str,
    namespace: &'a str,
    model: &'a str,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    /// Cuts from the right. A separator with nothing beside it leaves an empty part, which is invalid.
    fn split(text: &'a str) -> Self {
        // A colon before the last slash belongs to the host's port.
        let (rest, tag) = match text.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            _ => (text, DEFAULT_TAG),
        };
        let Some((rest, model)) = rest.rsplit_once('/') else {
            return Self { host: DEFAULT_HOST, namespace: DEFAULT_NAMESPACE, model: rest, tag };
        };
        let Some((host, namespace)) = rest.rsplit_once('/') else {
            return Self { host: DEFAULT_HOST, namespace: rest, model, tag };
        };
        let host = host.split_once("://").map_or(host, |(_, host)| host);
        Self { host, namespace, model, tag }
    }

    fn are_valid(&self) -> bool {
        is_part(self.host, MAX_HOST, b".:")
            && is_part(self.namespace, MAX_PART, b"")
            && is_part(self.model, MAX_PART, b".")
            && is_part(self.tag, MAX_PART, b".")
    }
}

/// Whether `part` begins with a letter, digit or underscore and goes on with those, hyphens and `extra` characters.
fn is_part(part: &str, max: usize, extra: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match part.as_bytes() {
        [first, rest @ ..] if part.len() <= max => {
            word(first) && rest.iter().all(|byte| word(byte) || *byte == b'-' || extra.contains(byte))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
