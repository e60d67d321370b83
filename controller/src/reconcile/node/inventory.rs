//! The list of models in a status.

use aivonx_crds::OllamaNodeStatus;
use aivonx_crds::v1alpha1::{InventoryEntry, ModelCounts};
use aivonx_state::NodeModel;

/// The part of a status that tells of models.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Inventory {
    pub counts: Option<ModelCounts>,
    pub entries: Vec<InventoryEntry>,
    pub truncated: bool,
}

impl Inventory {
    /// What was read from the node, in the order of names.
    pub fn of(models: &[NodeModel]) -> Self {
        let counts = ModelCounts {
            total: signed(models.len() as u64),
            loaded: signed(models.iter().filter(|model| model.loaded.is_some()).count() as u64),
        };
        let mut sorted: Vec<&NodeModel> = models.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            counts: Some(counts),
            truncated: sorted.len() > OllamaNodeStatus::MAX_INVENTORY,
            entries: sorted.into_iter().take(OllamaNodeStatus::MAX_INVENTORY).map(entry).collect(),
        }
    }

    /// What a status already tells.
    pub fn kept(status: &OllamaNodeStatus) -> Self {
        Self {
            counts: status.models,
            entries: status.inventory.clone(),
            truncated: status.inventory_truncated,
        }
    }
}

fn entry(model: &NodeModel) -> InventoryEntry {
    let digest = if model.digest.is_empty() { String::new() } else { format!("sha256:{}", model.digest) };
    InventoryEntry {
        name: model.name.clone(),
        digest,
        size_bytes: signed(model.size),
        family: model.details.family.clone(),
        parameter_size: model.details.parameter_size.clone(),
        quantization: model.details.quantization_level.clone(),
        capabilities: model.capabilities.clone(),
        loaded: model.loaded.is_some(),
        vram_bytes: model.loaded.as_ref().map(|loaded| signed(loaded.size_vram)),
        context_length: model
            .loaded
            .as_ref()
            .filter(|loaded| loaded.context_length > 0)
            .map(|loaded| signed(loaded.context_length)),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aivonx_state::table::{Loaded, ModelDetails};

    fn model(name: &str) -> NodeModel {
        NodeModel {
            name: name.to_owned(),
            digest: "ab".repeat(32),
            size: 5,
            modified_at: String::new(),
            details: ModelDetails { family: "llama".to_owned(), ..ModelDetails::default() },
            capabilities: vec!["completion".to_owned()],
            loaded: None,
        }
    }

    #[test]
    fn models_are_told_by_name_with_their_residency() {
        let mut loaded = model("a");
        loaded.loaded =
            Some(Loaded { size: 9, size_vram: 7, context_length: 4096, expires_at: "x".to_owned() });
        let inventory = Inventory::of(&[model("b"), loaded]);
        assert_eq!(inventory.counts, Some(ModelCounts { total: 2, loaded: 1 }));
        assert_eq!(inventory.entries[0].name, "a");
        assert_eq!(inventory.entries[0].digest, format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(
            (inventory.entries[0].vram_bytes, inventory.entries[0].context_length),
            (Some(7), Some(4096))
        );
        assert_eq!((inventory.entries[1].loaded, inventory.entries[1].vram_bytes), (false, None));
        assert!(!inventory.truncated);
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let models: Vec<NodeModel> = (0..201).map(|n| model(&format!("m{n:03}"))).collect();
        let inventory = Inventory::of(&models);
        assert_eq!((inventory.entries.len(), inventory.truncated), (200, true));
        assert_eq!(inventory.counts.unwrap().total, 201);
    }
}
