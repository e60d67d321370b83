//! The models of one node, from its two lists: what is on disk (`/api/tags`) and what is in memory (`/api/ps`).
//!
//! A failed read keeps what is known. A list that is suddenly empty must be seen twice before it is believed: a node whose
//! model directory is not mounted yet looks exactly like that, and believing it would take its models from everybody.

use crate::fleet::observation::{InventoryState, reason};
use crate::node::ModelFilter;
use crate::probe::{LoadedModel, MAX_MODELS, ModelList, ProbeFailure};
use aivonx_state::NodeModel;
use std::collections::HashMap;
use std::sync::Arc;

/// What one read changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InventoryChange {
    /// Nothing.
    None,
    /// Nothing that routing depends on: times of unloading, sizes in memory.
    Details,
    /// Which models are in memory.
    Loaded,
    /// Which models there are.
    Models,
}

/// Follows the models of one node.
#[derive(Clone, Debug)]
pub struct InventoryTracker {
    state: InventoryState,
    reason: &'static str,
    message: String,
    models: Arc<Vec<NodeModel>>,
    loaded: Vec<LoadedModel>,
    unconfirmed_empty: bool,
    failures: u32,
}

impl Default for InventoryTracker {
    fn default() -> Self {
        Self {
            state: InventoryState::Unknown,
            reason: reason::PENDING,
            message: "not read yet".to_owned(),
            models: Arc::default(),
            loaded: Vec::new(),
            unconfirmed_empty: false,
            failures: 0,
        }
    }
}

impl InventoryTracker {
    /// The models of a node as a stored table has them. They count as read, so that a change of leader is no change of
    /// status; the table holds them after the node's filter, which the next read corrects.
    pub fn restored(models: Vec<NodeModel>) -> Self {
        let loaded = models.iter().filter_map(|model| {
            let loaded = model.loaded.clone()?;
            Some(LoadedModel { name: model.name.clone(), digest: model.digest.clone(), loaded })
        });
        Self {
            state: InventoryState::Synced,
            reason: reason::SYNCED,
            message: synced_message(models.len()),
            loaded: loaded.collect(),
            models: Arc::new(models),
            ..Self::default()
        }
    }

    /// Takes in both lists of one round.
    pub fn record(
        &mut self,
        tags: Result<ModelList, ProbeFailure>,
        ps: Result<Vec<LoadedModel>, ProbeFailure>,
    ) -> InventoryChange {
        let list = match tags {
            Ok(list) => list,
            Err(failure) => {
                self.failed(failure);
                return InventoryChange::None;
            }
        };
        if list.models.is_empty() && !self.models.is_empty() && !self.unconfirmed_empty {
            self.unconfirmed_empty = true;
            self.reason = reason::EMPTY_LIST_UNCONFIRMED;
            self.message = "the node had models and now lists none; it is asked once more".to_owned();
            return InventoryChange::None;
        }
        self.unconfirmed_empty = false;
        self.failures = 0;
        let stale = match ps {
            Ok(loaded) => {
                self.loaded = loaded;
                None
            }
            Err(failure) => Some(failure),
        };
        self.state = InventoryState::Synced;
        (self.reason, self.message) = match stale {
            _ if list.truncated => (
                reason::TOO_MANY_MODELS,
                format!("the node lists more than {MAX_MODELS} models; the others are left out"),
            ),
            Some(failure) => (reason::LOADED_MODELS_STALE, failure.message),
            None => (reason::SYNCED, synced_message(list.models.len())),
        };
        self.replace(merge(list.models, &self.loaded))
    }

    fn failed(&mut self, failure: ProbeFailure) {
        self.failures = self.failures.saturating_add(1);
        self.state = InventoryState::Failed;
        self.reason = failure.reason.as_str();
        self.message = failure.message;
        // An empty list must be confirmed by the very next read.
        self.unconfirmed_empty = false;
    }

    fn replace(&mut self, models: Vec<NodeModel>) -> InventoryChange {
        let change = compare(&self.models, &models);
        if change != InventoryChange::None {
            self.models = Arc::new(models);
        }
        change
    }

    /// Whether the list is current.
    pub fn state(&self) -> InventoryState {
        self.state
    }

    /// Why it is or is not.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The same for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// All models of the node, in the order of their names.
    pub fn models(&self) -> &Arc<Vec<NodeModel>> {
        &self.models
    }

    /// Whether the lists should be read again soon rather than at the next interval.
    pub fn wants_another_look(&self) -> bool {
        self.unconfirmed_empty || self.failures > 0
    }
}

fn synced_message(models: usize) -> String {
    match models {
        0 => "the node has no models".to_owned(),
        1 => "the node has 1 model".to_owned(),
        many => format!("the node has {many} models"),
    }
}

/// Marks the models that are in memory, and sorts by name, so that equal lists are equal tables.
///
/// `/api/ps` names only the model that caused a load. Another name with the same digest is the same weights, template and
/// parameters, and so is in memory too.
fn merge(mut models: Vec<NodeModel>, loaded: &[LoadedModel]) -> Vec<NodeModel> {
    let by_name: HashMap<_, _> = loaded.iter().map(|entry| (entry.name.to_lowercase(), entry)).collect();
    let with_digest = loaded.iter().filter(|entry| !entry.digest.is_empty());
    let by_digest: HashMap<_, _> = with_digest.map(|entry| (entry.digest.as_str(), entry)).collect();
    for model in &mut models {
        let named = by_name.get(&model.name.to_lowercase());
        let entry = named.or_else(|| by_digest.get(model.digest.as_str()));
        model.loaded = entry.map(|entry| entry.loaded.clone());
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models
}

fn compare(before: &[NodeModel], after: &[NodeModel]) -> InventoryChange {
    if before == after {
        return InventoryChange::None;
    }
    let same_models = before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| {
            NodeModel { loaded: None, ..before.clone() } == NodeModel { loaded: None, ..after.clone() }
        });
    if !same_models {
        return InventoryChange::Models;
    }
    let context = |model: &NodeModel| model.loaded.as_ref().map(|loaded| loaded.context_length);
    let same_loaded = before.iter().zip(after).all(|(before, after)| context(before) == context(after));
    if same_loaded { InventoryChange::Details } else { InventoryChange::Loaded }
}

/// The models that a filter lets through. A filter without entries shares the list.
pub fn filtered(models: &Arc<Vec<NodeModel>>, filter: &ModelFilter) -> Arc<Vec<NodeModel>> {
    if models.iter().all(|model| admits(filter, &model.name)) {
        return Arc::clone(models);
    }
    Arc::new(models.iter().filter(|model| admits(filter, &model.name)).cloned().collect())
}

/// Whether a filter lets a model through. `deny` wins over `allow`.
pub fn admits(filter: &ModelFilter, name: &str) -> bool {
    let name = name.to_lowercase();
    let matches = |pattern: &String| matches(&pattern.to_lowercase(), &name);
    (filter.allow.is_empty() || filter.allow.iter().any(matches)) && !filter.deny.iter().any(matches)
}

/// A pattern without a tag means what a name without a tag means: `:latest`; but `llama3*` means all tags, since the star
/// runs on over the colon.
fn matches(pattern: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), name.as_bytes())
        || name.strip_suffix(":latest").is_some_and(|name| glob(pattern.as_bytes(), name.as_bytes()))
}

/// `*` stands for any run, `?` for one byte. Linear in memory and at worst the product of the lengths in time: on a mismatch
/// only the last star is taken up again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::FailureReason;
    use aivonx_state::table::{Loaded, ModelDetails};
    use proptest::prelude::*;

    fn model(name: &str, digest: &str) -> NodeModel {
        NodeModel {
            name: name.to_owned(),
            digest: digest.to_owned(),
            size: 1,
            modified_at: String::new(),
            details: ModelDetails::default(),
            capabilities: Vec::new(),
            loaded: None,
        }
    }

    fn in_memory(name: &str, digest: &str, context_length: u64, expires_at: &str) -> LoadedModel {
        let loaded = Loaded { size: 5, size_vram: 5, context_length, expires_at: expires_at.to_owned() };
        LoadedModel { name: name.to_owned(), digest: digest.to_owned(), loaded }
    }

    fn list(names: &[&str]) -> ModelList {
        ModelList { models: names.iter().map(|name| model(name, name)).collect(), truncated: false }
    }

    fn failure() -> ProbeFailure {
        ProbeFailure::new(FailureReason::Timeout, "/api/tags did not answer within 10s")
    }

    fn names(tracker: &InventoryTracker) -> Vec<&str> {
        tracker.models().iter().map(|model| model.name.as_str()).collect()
    }

    #[test]
    fn models_in_memory_are_found_by_name_and_by_digest() {
        let models = vec![model("copy:1", "d1"), model("a:1", "d1"), model("b:1", "d2"), model("none:1", "")];
        let merged = merge(models, &[in_memory("a:1", "d1", 4096, ""), in_memory("x:1", "", 1, "")]);
        let loaded: Vec<_> =
            merged.iter().map(|model| (model.name.as_str(), model.loaded.is_some())).collect();
        assert_eq!(loaded, [("a:1", true), ("b:1", false), ("copy:1", true), ("none:1", false)]);
    }

    #[test]
    fn the_own_entry_wins_over_that_of_a_copy() {
        let entries = [in_memory("a:1", "d1", 1, ""), in_memory("b:1", "d1", 2, "")];
        let merged = merge(vec![model("a:1", "d1"), model("B:1", "d1")], &entries);
        let contexts: Vec<_> =
            merged.iter().map(|model| model.loaded.as_ref().unwrap().context_length).collect();
        assert_eq!(contexts, [2, 1], "B:1 sorts first");
    }

    #[test]
    fn a_failed_read_keeps_the_models() {
        let mut tracker = InventoryTracker::default();
        assert_eq!(tracker.record(Ok(list(&["a:1"])), Ok(Vec::new())), InventoryChange::Models);
        assert_eq!(tracker.record(Err(failure()), Ok(Vec::new())), InventoryChange::None);
        assert_eq!((tracker.state(), tracker.reason()), (InventoryState::Failed, "Timeout"));
        assert_eq!(names(&tracker), ["a:1"]);
        assert!(tracker.wants_another_look());
        tracker.record(Ok(list(&["a:1"])), Ok(Vec::new()));
        assert_eq!((tracker.state(), tracker.wants_another_look()), (InventoryState::Synced, false));
    }

    #[test]
    fn an_empty_list_is_believed_the_second_time() {
        let mut tracker = InventoryTracker::default();
        tracker.record(Ok(list(&["a:1"])), Ok(Vec::new()));
        assert_eq!(tracker.record(Ok(list(&[])), Ok(Vec::new())), InventoryChange::None);
        assert_eq!((tracker.reason(), names(&tracker)), (reason::EMPTY_LIST_UNCONFIRMED, vec!["a:1"]));
        assert!(tracker.wants_another_look());
        assert_eq!(tracker.record(Ok(list(&[])), Ok(Vec::new())), InventoryChange::Models);
        assert!(tracker.models().is_empty());
        assert_eq!(tracker.state(), InventoryState::Synced);
    }

    #[test]
    fn the_two_empty_lists_must_follow_each_other() {
        let mut tracker = InventoryTracker::default();
        for between in [Ok(list(&["a:1"])), Err(failure())] {
            tracker.record(Ok(list(&["a:1"])), Ok(Vec::new()));
            tracker.record(Ok(list(&[])), Ok(Vec::new()));
            tracker.record(between, Ok(Vec::new()));
            tracker.record(Ok(list(&[])), Ok(Vec::new()));
            assert_eq!(names(&tracker), ["a:1"]);
        }
    }

    #[test]
    fn a_fresh_node_may_have_no_models() {
        let mut tracker = InventoryTracker::default();
        tracker.record(Ok(list(&[])), Ok(Vec::new()));
        assert_eq!((tracker.state(), tracker.message()), (InventoryState::Synced, "the node has no models"));
    }

    #[test]
    fn what_is_in_memory_stays_known_when_ps_stalls() {
        let mut tracker = InventoryTracker::default();
        tracker.record(Ok(list(&["a:1"])), Ok(vec![in_memory("a:1", "", 1, "")]));
        assert_eq!(tracker.record(Ok(list(&["a:1"])), Err(failure())), InventoryChange::None);
        assert!(tracker.models()[0].loaded.is_some());
        assert_eq!(
            (tracker.state(), tracker.reason()),
            (InventoryState::Synced, reason::LOADED_MODELS_STALE)
        );
        assert_eq!(tracker.record(Ok(list(&["a:1"])), Ok(Vec::new())), InventoryChange::Loaded);
    }

    #[test]
    fn changes_are_told_apart_by_what_routing_needs() {
        let mut tracker = InventoryTracker::default();
        let mut record = |ps: Vec<LoadedModel>| tracker.record(Ok(list(&["a:1"])), Ok(ps));
        assert_eq!(record(vec![in_memory("a:1", "", 1, "10:00")]), InventoryChange::Models);
        assert_eq!(record(vec![in_memory("a:1", "", 1, "10:05")]), InventoryChange::Details);
        assert_eq!(record(vec![in_memory("a:1", "", 2, "10:05")]), InventoryChange::Loaded);
        assert_eq!(record(vec![in_memory("a:1", "", 2, "10:05")]), InventoryChange::None);
    }

    #[test]
    fn a_restored_inventory_needs_two_empty_lists_too() {
        let mut tracker = InventoryTracker::restored(vec![model("a:1", "d")]);
        assert_eq!(tracker.state(), InventoryState::Synced);
        tracker.record(Ok(list(&[])), Ok(Vec::new()));
        assert_eq!(names(&tracker), ["a:1"]);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let mut tracker = InventoryTracker::default();
        tracker.record(Ok(list(&["a:1", "b:1"])), Ok(Vec::new()));
        assert_eq!(tracker.record(Ok(list(&["b:1", "a:1"])), Ok(Vec::new())), InventoryChange::None);
    }

    #[test]
    fn filters_read_names_as_ollama_does() {
        let filter = |allow: &[&str], deny: &[&str]| ModelFilter {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
        };
        for (allow, deny, name, expected) in [
            (&[][..], &[][..], "a:1", true),
            (&["*"], &[], "hf.co/u/m-GGUF:Q4_K_M", true),
            (&["llama3.2"], &[], "llama3.2:latest", true),
            (&["llama3.2"], &[], "llama3.2:1b", false),
            (&["LLAMA3*"], &[], "llama3.2:1b", true),
            (&["qwen?:7b"], &[], "qwen3:7b", true),
            (&["*"], &["*:70b"], "llama3:70b", false),
            (&["llama3:70b"], &["llama*"], "llama3:70b", false),
            (&[], &["*embed*"], "nomic-embed-text:latest", false),
        ] {
            assert_eq!(admits(&filter(allow, deny), name), expected, "{allow:?} {deny:?} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = "*a".repeat(100);
        assert!(!glob(pattern.as_bytes(), &[b'b'; 600]));
        assert!(!glob(pattern.as_bytes(), &b"ab".repeat(49)));
    }

    proptest! {
        /// Against the definition by recursion.
        #[test]
        fn globs_match_as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            fn defined(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], text) => text.is_empty(),
                    ([b'*', rest @ ..], text) => {
                        defined(rest, text) || text.split_first().is_some_and(|(_, tail)| defined(pattern, tail))
                    }
                    ([c, rest @ ..], [t, tail @ ..]) => (*c == b'?' || c == t) && defined(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), defined(pattern.as_bytes(), text.as_bytes()));
        }

        /// Whatever a node answers, a model disappears only by a successful list, and an emptiness only by two.
        #[test]
        fn only_lists_take_models_away(
            reads in proptest::collection::vec(prop_oneof![Just(None), (0_usize..3).prop_map(Some)], 0..40),
        ) {
            let mut tracker = InventoryTracker::default();
            let mut last = None;
            for read in reads {
                let before = tracker.models().len();
                let all = ["a:1", "b:1"];
                tracker.record(read.map(|n| list(&all[..n])).ok_or_else(failure), Ok(Vec::new()));
                let after = tracker.models().len();
                match read {
                    None => prop_assert_eq!(after, before),
                    Some(0) if before > 0 && last != Some(0) => prop_assert_eq!(after, before),
                    Some(n) => prop_assert_eq!(after, n),
                }
                last = read;
            }
        }
    }
}
