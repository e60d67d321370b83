//! What a node answers, read with bounds: a node is untrusted, and a small body can name very many small things.

use aivonx_state::NodeModel;
use aivonx_state::table::{Loaded, ModelDetails};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// Models kept of one node.
pub const MAX_MODELS: usize = 2_000;
/// The longest model name that Ollama allows is shorter.
const MAX_NAME: usize = 640;
/// Bytes of any other text.
const MAX_TEXT: usize = 128;
/// Families or capabilities of one model.
const MAX_WORDS: usize = 16;

/// `/api/tags` as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelList {
    /// Models on the node's own disk, in the node's order, none twice. Stubs of cloud models are left out.
    pub models: Vec<NodeModel>,
    /// Whether the node lists more than [`MAX_MODELS`].
    pub truncated: bool,
}

/// An entry of `/api/ps`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedModel {
    /// The name that caused the load.
    pub name: String,
    /// 64 hexadecimal digits, or empty.
    pub digest: String,
    /// Its memory.
    pub loaded: Loaded,
}

/// Reads `{"version": "0.12.3"}`. `None` means that it was not Ollama that answered.
pub fn version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        version: String,
    }
    let Answer { version } = serde_json::from_slice(body).ok()?;
    let plausible =
        !version.is_empty() && version.len() <= 64 && version.chars().all(|c| c.is_ascii_graphic());
    plausible.then_some(version)
}

/// Reads the answer of `/api/tags`.
pub fn tags(body: &[u8]) -> Result<ModelList, serde_json::Error> {
    let answer: Answer<TagsModel> = serde_json::from_slice(body)?;
    let listed = answer.models.unwrap_or_default();
    let mut seen = std::collections::HashSet::new();
    let models = listed.items.into_iter().filter_map(TagsModel::into_model);
    let models = models.filter(|model| seen.insert(model.name.clone())).collect();
    Ok(ModelList { models, truncated: listed.truncated })
}

/// Reads the answer of `/api/ps`.
pub fn ps(body: &[u8]) -> Result<Vec<LoadedModel>, serde_json::Error> {
    let answer: Answer<PsModel> = serde_json::from_slice(body)?;
    Ok(answer.models.unwrap_or_default().items.into_iter().filter_map(PsModel::into_loaded).collect())
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Answer<T> {
    // Go writes `null` for a list that was never filled. A body without the key is not the answer that was asked for.
    #[serde(deserialize_with = "Option::deserialize")]
    models: Option<Bounded<T, MAX_MODELS>>,
}

#[derive(Deserialize)]
struct TagsModel {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    remote_model: Option<String>,
    #[serde(default)]
    remote_host: Option<String>,
    #[serde(default)]
    modified_at: Option<String>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    details: Option<Details>,
    #[serde(default)]
    capabilities: Option<Bounded<String, MAX_WORDS>>,
}

impl TagsModel {
    fn into_model(self) -> Option<NodeModel> {
        let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if is_set(&self.remote_model) || is_set(&self.remote_host) {
            return None;
        }
        Some(NodeModel {
            name: model_name(self.name, self.model)?,
            digest: digest(self.digest),
            size: unsigned(self.size),
            modified_at: text(self.modified_at),
            details: self.details.map(Details::into_details).unwrap_or_default(),
            capabilities: words(self.capabilities),
            loaded: None,
        })
    }
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    parent_model: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    family: Option<String>,
    #[serde(default)]
    families: Option<Bounded<String, MAX_WORDS>>,
    #[serde(default)]
    parameter_size: Option<String>,
    #[serde(default)]
    quantization_level: Option<String>,
    #[serde(default)]
    context_length: Option<i64>,
    #[serde(default)]
    embedding_length: Option<i64>,
}

impl Details {
    fn into_details(self) -> ModelDetails {
        ModelDetails {
            parent_model: text(self.parent_model),
            format: text(self.format),
            family: text(self.family),
            families: self.families.map(|families| words(Some(families))),
            parameter_size: text(self.parameter_size),
            quantization_level: text(self.quantization_level),
            context_length: self.context_length.map(|length| unsigned(Some(length))),
            embedding_length: self.embedding_length.map(|length| unsigned(Some(length))),
        }
    }
}

#[derive(Deserialize)]
struct PsModel {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    size_vram: Option<i64>,
    #[serde(default)]
    context_length: Option<i64>,
}

impl PsModel {
    fn into_loaded(self) -> Option<LoadedModel> {
        let loaded = Loaded {
            size: unsigned(self.size),
            size_vram: unsigned(self.size_vram),
            context_length: unsigned(self.context_length),
            expires_at: text(self.expires_at),
        };
        Some(LoadedModel { name: model_name(self.name, self.model)?, digest: digest(self.digest), loaded })
    }
}

/// `model` and `name` are equal in every version; older ones have only `name`.
fn model_name(name: Option<String>, model: Option<String>) -> Option<String> {
    let name = model.filter(|model| !model.is_empty()).or(name)?;
    let usable = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(|c| c.is_ascii_graphic());
    usable.then_some(name)
}

/// A digest that is none is as good as not told: two of those are not equal weights.
fn digest(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    let digits = text.strip_prefix("sha256:").unwrap_or(&text);
    let whole = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if whole { digits.to_ascii_lowercase() } else { String::new() }
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

/// A text cut at a character boundary, without control characters.
fn text(text: Option<String>) -> String {
    let mut text = text.unwrap_or_default();
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.shrink_to_fit();
    }
    text.retain(|c| !c.is_control());
    text
}

fn words(words: Option<Bounded<String, MAX_WORDS>>) -> Vec<String> {
    words.unwrap_or_default().items.into_iter().map(|word| text(Some(word))).collect()
}

/// The first `N` elements of a list. The others are read over and never held.
#[derive(Debug)]
struct Bounded<T, const N: usize> {
    items: Vec<T>,
    truncated: bool,
}

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self { items: Vec::new(), truncated: false }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Elements<T, N> {
            type Value = Bounded<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut bounded = Bounded::default();
                while bounded.items.len() < N {
                    match elements.next_element()? {
                        Some(item) => bounded.items.push(item),
                        None => return Ok(bounded),
                    }
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    bounded.truncated = true;
                }
                Ok(bounded)
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72";

    #[test]
    fn a_version_is_the_mark_of_ollama() {
        assert_eq!(version(br#"{"version":"0.12.3","later":[1]}"#).as_deref(), Some("0.12.3"));
        for other in
            ["", "Ollama is running", "{}", r#"{"version":1}"#, r#"{"version":""}"#, r#"{"version":"a b"}"#]
        {
            assert_eq!(version(other.as_bytes()), None, "{other}");
        }
        let long = format!(r#"{{"version":"{}"}}"#, "1".repeat(65));
        assert_eq!(version(long.as_bytes()), None);
    }

    #[test]
    fn a_model_is_read_with_all_its_fields() {
        let body = format!(
            r#"{{"models":[{{"name":"llama3.2:latest","model":"llama3.2:latest","modified_at":"2026-08-19T10:00:00Z",
            "size":2019393189,"digest":"{DIGEST}","details":{{"parent_model":"","format":"gguf","family":"llama",
            "families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M","context_length":131072}},
            "capabilities":["completion","tools"],"unknown":{{"a":[]}}}}]}}"#
        );
        let list = tags(body.as_bytes()).unwrap();
        let model = &list.models[0];
        assert_eq!(
            (model.name.as_str(), model.digest.as_str(), model.size),
            ("llama3.2:latest", DIGEST, 2_019_393_189)
        );
        assert_eq!(model.details.families, Some(vec!["llama".to_owned()]));
        assert_eq!(model.details.context_length, Some(131_072));
        assert_eq!(model.capabilities, ["completion", "tools"]);
        assert!(!list.truncated);
    }

    #[test]
    fn nulls_and_missing_fields_are_defaults() {
        let list = tags(
            br#"{"models":[{"name":"m:1","digest":null,"details":null,"capabilities":null,"size":-1}]}"#,
        );
        let model = list.unwrap().models.remove(0);
        assert_eq!((model.name.as_str(), model.digest.as_str(), model.size), ("m:1", "", 0));
        assert_eq!(tags(br#"{"models":null}"#).unwrap(), ModelList::default());
        assert_eq!(ps(br#"{"models":null}"#).unwrap(), []);
    }

    #[test]
    fn an_answer_without_a_list_is_an_error() {
        for body in
            ["{}", "[]", "null", r#"{"models":{}}"#, r#"{"models":[3]}"#, "<html>", r#"{"error":"no"}"#]
        {
            assert!(tags(body.as_bytes()).is_err(), "{body}");
            assert!(ps(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn stubs_of_cloud_models_unusable_names_and_repetitions_are_left_out() {
        let body = br#"{"models":[{"name":"a:1","remote_host":"https://ollama.com:443","remote_model":"a"},
            {"name":"b:1","remote_host":"","remote_model":""},{"name":"b:1"},{"name":""},{"name":"c\nd:1"},{}]}"#;
        let names: Vec<_> = tags(body).unwrap().models.into_iter().map(|model| model.name).collect();
        assert_eq!(names, ["b:1"]);
    }

    #[test]
    fn a_digest_is_64_digits_or_nothing() {
        assert_eq!(digest(Some(format!("sha256:{}", DIGEST.to_uppercase()))), DIGEST);
        for other in ["", "sha256:", "abc", &"g".repeat(64)] {
            assert_eq!(digest(Some(other.to_owned())), "", "{other}");
        }
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let models: Vec<_> = (0..MAX_MODELS + 7).map(|n| format!(r#"{{"name":"m{n}:1"}}"#)).collect();
        let list = tags(format!(r#"{{"models":[{}]}}"#, models.join(",")).as_bytes()).unwrap();
        assert_eq!((list.models.len(), list.truncated), (MAX_MODELS, true));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let body = format!(r#"{{"models":[{{"name":"m:1","details":{{"family":"{}"}}}}]}}"#, "é".repeat(500));
        let family = &tags(body.as_bytes()).unwrap().models[0].details.family;
        assert_eq!(family.len(), MAX_TEXT);
        let many =
            format!(r#"{{"models":[{{"name":"m:1","capabilities":[{}"x"]}}]}}"#, r#""x","#.repeat(500));
        assert_eq!(tags(many.as_bytes()).unwrap().models[0].capabilities.len(), MAX_WORDS);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (version(&body).is_some(), tags(&body).is_ok(), ps(&body).is_ok());
        }
    }
}
