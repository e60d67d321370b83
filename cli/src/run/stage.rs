//! How far the start has come, as far as a person cares.

use aivonx_controller::fleet::observation::reason;
use aivonx_controller::fleet::{InventoryState, NodeObservation, PublishReport};
use aivonx_controller::node::DesiredNode;
use aivonx_state::NodeModel;
use aivonx_state::table::{Health, SchedulingState};

/// A node with what is known of it by now.
pub type Seen<'a> = (&'a DesiredNode, Option<NodeObservation>);

/// How far the start has come, as far as a person cares.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Some node was not asked yet.
    Asking,
    /// No node is declared.
    NoNodes,
    /// No node answers.
    NoneAnswers,
    /// Nodes answer, and none has a model that can chat.
    NoModel,
    /// A chat will be answered.
    Ready {
        /// By this model.
        model: String,
        /// Different models over all nodes that answer.
        models: usize,
        /// Nodes that answer.
        answering: usize,
    },
}

/// Judges how far the start has come.
pub fn judge(nodes: &[Seen<'_>]) -> Stage {
    if nodes.is_empty() {
        return Stage::NoNodes;
    }
    let healthy = || {
        nodes.iter().filter_map(|(node, seen)| {
            let seen = seen.as_ref().filter(|seen| seen.health.state == Health::Healthy)?;
            Some((*node, seen))
        })
    };
    let usable = healthy()
        .filter(|(node, seen)| {
            node.scheduling_state == SchedulingState::Active
                && matches!(seen.published, PublishReport::Published(_))
        })
        .flat_map(|(_, seen)| seen.inventory.models.iter());
    if let Some(model) = model_to_try(usable) {
        let mut names: Vec<_> =
            healthy().flat_map(|(_, seen)| seen.inventory.models.iter()).map(|model| &model.name).collect();
        names.sort();
        names.dedup();
        return Stage::Ready { model, models: names.len(), answering: healthy().count() };
    }
    let asking = nodes.iter().any(|(_, seen)| match seen {
        None => true,
        Some(seen) => match seen.health.state {
            Health::Unknown => seen.health.reason == reason::PENDING,
            Health::Unhealthy => false,
            Health::Healthy => {
                seen.inventory.state == InventoryState::Unknown
                    || matches!(seen.published, PublishReport::Pending)
            }
        },
    });
    if asking {
        Stage::Asking
    } else if healthy().next().is_none() {
        Stage::NoneAnswers
    } else {
        Stage::NoModel
    }
}

/// The model for a first chat: one in memory if there is one, else the smallest.
fn model_to_try<'a>(models: impl Iterator<Item = &'a NodeModel>) -> Option<String> {
    models
        .filter(|model| chats(model) && is_plain(&model.name))
        .min_by_key(|model| (model.loaded.is_none(), model.size, &model.name))
        .map(|model| model.name.clone())
}

fn chats(model: &NodeModel) -> bool {
    if model.capabilities.is_empty() {
        // Older nodes do not say; the models that embed are of BERT's make.
        return !model.details.family.contains("bert");
    }
    model.capabilities.iter().any(|capability| capability == "completion")
}

/// Whether a name can stand in a command line as it is. Names come from the nodes, and a person will paste what is printed.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._:/-".contains(letter))
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;
    use crate::args::NodeArgs;
    use crate::run::sources::Sources;
    use aivonx_controller::fleet::{HealthReport, InventoryReport};
    use aivonx_state::table::{ModelDetails, TableVersion};
    use jiff::Timestamp;

    pub fn node(url: &str) -> DesiredNode {
        let args = NodeArgs { files: Vec::new(), nodes: vec![url.to_owned()] };
        Sources::new(&args).unwrap().read().unwrap().into_values().next().unwrap()
    }

    pub fn model(name: &str, size: u64, capabilities: &[&str]) -> NodeModel {
        NodeModel {
            name: name.to_owned(),
            digest: String::new(),
            size,
            modified_at: String::new(),
            details: ModelDetails::default(),
            capabilities: capabilities.iter().map(|&text| text.to_owned()).collect(),
            loaded: None,
        }
    }

    pub fn seen(
        state: Health,
        reason: &'static str,
        message: &str,
        models: Vec<NodeModel>,
    ) -> NodeObservation {
        let inventory =
            if state == Health::Healthy { InventoryState::Synced } else { InventoryState::Unknown };
        NodeObservation {
            generation: 1,
            health: HealthReport { state, reason, message: message.to_owned(), since: Timestamp::UNIX_EPOCH },
            version: None,
            inventory: InventoryReport {
                state: inventory,
                reason: reason::SYNCED,
                message: String::new(),
                models: models.into(),
            },
            published: PublishReport::Published(TableVersion { epoch: 1, revision: 1 }),
            last_transition: None,
        }
    }

    pub fn healthy(models: Vec<NodeModel>) -> NodeObservation {
        seen(Health::Healthy, reason::REACHABLE, "answers", models)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{healthy, model, node, seen};
    use super::*;
    use aivonx_state::table::Loaded;

    #[test]
    fn the_start_is_ready_when_a_published_node_can_chat() {
        let (one, two) = (node("http://10.0.0.1:1"), node("http://10.0.0.2:1"));
        let chat = || {
            vec![model("llama3.2:latest", 2, &["completion"]), model("all-minilm:latest", 1, &["embedding"])]
        };
        let down = || seen(Health::Unknown, "ConnectionRefused", "nobody listens at the address", Vec::new());
        let ready = judge(&[(&one, Some(healthy(chat()))), (&two, Some(down()))]);
        assert_eq!(ready, Stage::Ready { model: "llama3.2:latest".into(), models: 2, answering: 1 });

        let mut pending = healthy(chat());
        pending.published = PublishReport::Pending;
        assert_eq!(judge(&[(&one, Some(pending))]), Stage::Asking);

        let mut cordoned = node("http://10.0.0.1:1");
        cordoned.scheduling_state = SchedulingState::Cordoned;
        assert_eq!(judge(&[(&cordoned, Some(healthy(chat())))]), Stage::NoModel);
    }

    #[test]
    fn nothing_is_said_of_nodes_that_were_not_asked_yet() {
        let (one, two) = (node("http://10.0.0.1:1"), node("http://10.0.0.2:1"));
        let down = || seen(Health::Unknown, "ConnectionRefused", "nobody listens at the address", Vec::new());
        let unknown = || seen(Health::Unknown, reason::PENDING, "not probed yet", Vec::new());
        assert_eq!(judge(&[(&one, None)]), Stage::Asking);
        assert_eq!(judge(&[(&one, Some(unknown())), (&two, Some(down()))]), Stage::Asking);
        assert_eq!(judge(&[(&one, Some(down())), (&two, Some(down()))]), Stage::NoneAnswers);
        assert_eq!(judge(&[(&one, Some(healthy(Vec::new()))), (&two, Some(down()))]), Stage::NoModel);
        assert_eq!(judge(&[]), Stage::NoNodes);
    }

    #[test]
    fn a_first_chat_goes_to_a_loaded_model_or_else_the_smallest() {
        let mut old_embedding = model("nomic-embed-text:latest", 1, &[]);
        old_embedding.details.family = "nomic-bert".to_owned();
        let mut models = [
            model("large:70b", 70, &["completion"]),
            model("small:1b", 3, &[]),
            model("embed:latest", 2, &["embedding"]),
            old_embedding,
        ];
        assert_eq!(model_to_try(models.iter()).as_deref(), Some("small:1b"));
        models[0].loaded =
            Some(Loaded { size: 70, size_vram: 70, context_length: 4096, expires_at: String::new() });
        assert_eq!(model_to_try(models.iter()).as_deref(), Some("large:70b"));
    }

    #[test]
    fn a_name_that_a_shell_would_run_is_never_printed() {
        for name in ["x'; rm -rf ~; '", "$(reboot)", "a b", "", "x\n"] {
            assert_eq!(model_to_try([model(name, 1, &["completion"])].iter()), None, "{name:?}");
        }
        assert!(is_plain("registry.example/team/llama3.2:1b-q4_K_M"));
    }
}
