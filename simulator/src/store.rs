//! The models on a node's disk.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;

use crate::config::{Model, digest_of};
use crate::name::Name;

/// A model under its parsed name.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The model as configured.
    pub model: Arc<Model>,
    /// Its name.
    pub name: Name,
    /// [`Name::key`]
    pub key: String,
    /// As lists show it.
    pub shown: String,
    /// 64 hex digits.
    pub digest: String,
    /// When it was pulled.
    pub modified_at: Timestamp,
}

/// All of them, newest first.
#[derive(Debug)]
pub struct Store {
    models: RwLock<Arc<Vec<Arc<Stored>>>>,
    pulled: Timestamp,
}

impl Store {
    /// `pulled`: when models without a time of their own came.
    pub fn new(models: Vec<Model>, pulled: Timestamp) -> Result<Self, String> {
        let store = Self { models: RwLock::default(), pulled };
        store.set(models)?;
        Ok(store)
    }

    /// Replaces all. An illegal name is an error and changes nothing.
    pub fn set(&self, models: Vec<Model>) -> Result<(), String> {
        let mut stored = Vec::with_capacity(models.len());
        for model in models {
            let name =
                Name::parse(&model.name).ok_or_else(|| format!("'{}' is no model name", model.name))?;
            stored.push(Arc::new(Stored {
                key: name.key(),
                shown: name.shortest(),
                digest: model.digest.clone().unwrap_or_else(|| digest_of(&name)),
                modified_at: model.modified_at.unwrap_or(self.pulled),
                name,
                model: Arc::new(model),
            }));
        }
        // Newest first, to the whole second as Ollama compares.
        stored.sort_by_key(|model| std::cmp::Reverse(model.modified_at.as_second()));
        *self.models.write() = Arc::new(stored);
        Ok(())
    }

    /// The list.
    pub fn all(&self) -> Arc<Vec<Arc<Stored>>> {
        Arc::clone(&self.models.read())
    }

    /// The model of a name, whatever its case.
    pub fn find(&self, name: &Name) -> Option<Arc<Stored>> {
        let key = name.key();
        self.models.read().iter().find(|stored| stored.key == key).cloned()
    }

    /// As [`Store::find`], but minding case, as `/api/embeddings` does.
    pub fn find_exact(&self, name: &Name) -> Option<Arc<Stored>> {
        self.models.read().iter().find(|stored| stored.name == *name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_and_sorts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let models = vec![
            Model::completion("old").modified_at(at(1)),
            Model::completion("New:1b").modified_at(at(9)),
            Model::completion("plain"),
        ];
        let store = Store::new(models, at(5)).unwrap();
        let shown: Vec<_> = store.all().iter().map(|stored| stored.shown.clone()).collect();
        assert_eq!(shown, ["New:1b", "plain:latest", "old:latest"]);
        let find = |text| store.find(&Name::parse(text).unwrap()).is_some();
        assert!(find("new:1B") && find("library/plain") && !find("new"));
        assert!(store.find_exact(&Name::parse("new:1b").unwrap()).is_none());
        assert!(store.set(vec![Model::completion("a/b/c/d")]).is_err());
        assert_eq!(store.all().len(), 3);
    }
}
