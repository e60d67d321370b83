//! What is answered about the fleet as a whole, rendered once for each table.

use aivonx_state::ModelKey;
use aivonx_state::ModelName;
use aivonx_state::table::{Health, ModelDetails, NodeEntry, NodeModel, RoutingTable};
use bytes::Bytes;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Bodies that are ready to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetAnswers {
    /// `/api/tags`.
    pub tags: Bytes,
    /// `/api/ps`.
    pub loaded: Bytes,
    /// `/api/version`.
    pub version: Bytes,
    /// `/v1/models`.
    pub models: Bytes,
}

/// A model in OpenAI's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OpenAiModel<'a> {
    /// The name.
    pub id: &'a str,
    /// `model`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    /// The namespace.
    pub owned_by: &'a str,
}

impl<'a> OpenAiModel<'a> {
    /// `id` is what the client calls the model.
    pub(crate) fn new(id: &'a str, created: i64, owned_by: &'a str) -> Self {
        Self { id, object: "model", created, owned_by }
    }
}

/// A model that can be asked for, as the fleet shows it.
#[derive(Clone, Debug)]
pub(super) struct Shown<'a> {
    /// The normalised name.
    pub name: ModelName,
    /// As a node that has the winning digest lists it.
    pub model: &'a NodeModel,
    /// When it was changed last, in seconds since 1970.
    pub modified: jiff::Timestamp,
}

#[derive(Serialize)]
struct List<T> {
    models: Vec<T>,
}

#[derive(Serialize)]
struct Tag<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: &'a str,
    size: u64,
    digest: &'a str,
    details: &'a ModelDetails,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    capabilities: &'a [String],
}

#[derive(Serialize)]
struct LoadedModel<'a> {
    name: &'a str,
    model: &'a str,
    size: u64,
    digest: &'a str,
    details: &'a ModelDetails,
    expires_at: &'a str,
    size_vram: u64,
    context_length: u64,
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

impl FleetAnswers {
    /// Renders the answers. `shown` is one entry for each name that can be asked for.
    pub(super) fn render(table: &RoutingTable, mut shown: Vec<Shown<'_>>) -> Self {
        shown.sort_by_key(|shown| (Reverse(shown.modified), shown.name.key()));
        let tags = shown.iter().map(|shown| tag(shown.model)).collect();
        let models = shown
            .iter()
            .map(|shown| {
                OpenAiModel::new(&shown.model.name, shown.modified.as_second(), shown.name.namespace())
            })
            .collect();
        let versions = healthy(table).filter_map(|node| node.version.as_deref());
        Self {
            tags: json(&List { models: tags }),
            loaded: json(&List { models: loaded(table) }),
            version: json(&Version { version: super::version::lowest(versions) }),
            models: json_line(&OpenAiList { object: "list", data: models }),
        }
    }
}

fn healthy(table: &RoutingTable) -> impl Iterator<Item = &NodeEntry> {
    table.nodes.values().filter(|node| node.health == Health::Healthy)
}

fn tag(model: &NodeModel) -> Tag<'_> {
    Tag {
        name: &model.name,
        model: &model.name,
        modified_at: &model.modified_at,
        size: model.size,
        digest: &model.digest,
        details: &model.details,
        capabilities: &model.capabilities,
    }
}

/// One entry for each name and digest in memory anywhere, the one that stays longest first. A cordoned node's models
/// are in memory too.
fn loaded(table: &RoutingTable) -> Vec<LoadedModel<'_>> {
    let mut found: BTreeMap<(ModelKey, &str), (jiff::Timestamp, LoadedModel<'_>)> = BTreeMap::new();
    for model in healthy(table).flat_map(|node| &node.models) {
        let (Some(loaded), Ok(name)) = (&model.loaded, ModelName::parse(&model.name)) else { continue };
        let expires = timestamp(&loaded.expires_at);
        let entry = LoadedModel {
            name: &model.name,
            model: &model.name,
            size: loaded.size,
            digest: &model.digest,
            details: &model.details,
            expires_at: &loaded.expires_at,
            size_vram: loaded.size_vram,
            context_length: loaded.context_length,
        };
        match found.entry((name.key(), &model.digest)) {
            Entry::Vacant(vacant) => drop(vacant.insert((expires, entry))),
            Entry::Occupied(mut held) if held.get().0 < expires => drop(held.insert((expires, entry))),
            Entry::Occupied(_) => {}
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|(expires, _)| Reverse(*expires));
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// A time as a node wrote it; the beginning of time if it is none.
pub(super) fn timestamp(text: &str) -> jiff::Timestamp {
    text.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// JSON as the OpenAI API writes it: with a newline at its end.
pub(crate) fn json_line(value: &impl Serialize) -> Bytes {
    [&json(value)[..], b"\n"].concat().into()
}

/// Serialises what always serialises.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from)
}
