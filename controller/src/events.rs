//! Kubernetes events: what a person should hear of, told once for each change of status.

use aivonx_crds::conditions::{ACCEPTED, FALSE, REACHABLE, READY, TRUE};
use aivonx_crds::{OllamaNode, OllamaNodeStatus, reasons};
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// The reporter of the events and the owner of status fields.
pub const CONTROLLER: &str = "aivonx-controller";

/// For writing one event.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Model names that an event spells out.
const MAX_NAMES: usize = 5;
/// The API server refuses longer notes.
const MAX_NOTE: usize = 1_000;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notable {
    /// Whether something is wrong.
    pub warning: bool,
    /// One of [`aivonx_crds::reasons`].
    pub reason: &'static str,
    /// What was being done, in one word.
    pub action: &'static str,
    /// One sentence.
    pub note: String,
}

/// What is worth telling about a change of status.
pub fn notable(previous: Option<&OllamaNodeStatus>, next: &OllamaNodeStatus) -> Vec<Notable> {
    let mut notables = Vec::new();
    let message =
        |type_| next.condition(type_).map_or_else(String::new, |condition| condition.message.clone());
    if became(previous, next, ACCEPTED, FALSE) || rejected_anew(previous, next) {
        notables.push(warning(reasons::CONFIG_REJECTED, "Validate", message(ACCEPTED)));
    }
    if became(previous, next, REACHABLE, FALSE) {
        notables.push(warning(reasons::NODE_UNREACHABLE, "Probe", message(REACHABLE)));
    }
    if became(previous, next, REACHABLE, TRUE) && is(previous, REACHABLE, FALSE) {
        let note = format!("The node at {} answers again.", endpoint(next));
        notables.push(normal(reasons::NODE_RECOVERED, "Probe", note));
    } else if became(previous, next, READY, TRUE) {
        let models = next.models.unwrap_or_default().total;
        let note = format!("The node at {} takes requests; it has {models} models.", endpoint(next));
        notables.push(normal(reasons::NODE_READY, "Publish", note));
    }
    if let Some(note) = models_changed(previous, next) {
        notables.push(normal(reasons::MODELS_CHANGED, "Probe", note));
    }
    notables
}

fn warning(reason: &'static str, action: &'static str, note: String) -> Notable {
    Notable { warning: true, reason, action, note }
}

fn normal(reason: &'static str, action: &'static str, note: String) -> Notable {
    Notable { warning: false, reason, action, note }
}

fn is(status: Option<&OllamaNodeStatus>, type_: &str, wanted: &str) -> bool {
    status.and_then(|status| status.condition(type_)).is_some_and(|condition| condition.status == wanted)
}

fn became(previous: Option<&OllamaNodeStatus>, next: &OllamaNodeStatus, type_: &str, wanted: &str) -> bool {
    is(Some(next), type_, wanted) && !is(previous, type_, wanted)
}

/// A spec that was rejected and changed, and is rejected for something else now.
fn rejected_anew(previous: Option<&OllamaNodeStatus>, next: &OllamaNodeStatus) -> bool {
    let said = |status: &OllamaNodeStatus| {
        status.condition(ACCEPTED).map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    is(previous, ACCEPTED, FALSE) && is(Some(next), ACCEPTED, FALSE) && previous.map(said) != Some(said(next))
}

fn endpoint(status: &OllamaNodeStatus) -> &str {
    status.endpoint.as_deref().unwrap_or("an unknown address")
}

/// Says which models came and went, if the list was known before and is now.
fn models_changed(previous: Option<&OllamaNodeStatus>, next: &OllamaNodeStatus) -> Option<String> {
    let previous =
        previous.filter(|previous| previous.models.is_some() && previous.endpoint == next.endpoint)?;
    next.models?;
    if previous.inventory_truncated || next.inventory_truncated {
        return None;
    }
    let names = |status: &OllamaNodeStatus| -> BTreeSet<String> {
        status.inventory.iter().map(|model| model.name.clone()).collect()
    };
    let (before, after) = (names(previous), names(next));
    let added: Vec<&String> = after.difference(&before).collect();
    let removed: Vec<&String> = before.difference(&after).collect();
    let parts: Vec<String> = [("added", added), ("removed", removed)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{} {what}: {}", names.len(), listed(&names)))
        .collect();
    (!parts.is_empty()).then(|| format!("Models changed. {}.", parts.join("; ")))
}

fn listed(names: &[&String]) -> String {
    let mut text = names.iter().take(MAX_NAMES).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES {
        text.push_str(", …");
    }
    text
}

/// Writes events. One for the whole process: repeats are counted in one event instead of making many.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events of this controller, told apart from those of its replicas by `identity`.
    pub fn new(client: kube::Client, identity: &str) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Writes events about a node. One that cannot be written is logged and lost: status tells the same.
    pub async fn tell(&self, node: &OllamaNode, notables: Vec<Notable>) {
        let reference = node.object_ref(&());
        for Notable { warning, reason, action, note } in notables {
            let end = note.floor_char_boundary(MAX_NOTE);
            let event = Event {
                type_: if warning { EventType::Warning } else { EventType::Normal },
                reason: reason.to_owned(),
                note: Some(note[..end].to_owned()),
                action: action.to_owned(),
                secondary: None,
            };
            match timeout(TIMEOUT, self.recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    warn!(node = ?reference.name, reason, %error, "an event could not be written")
                }
                Err(_) => {
                    warn!(node = ?reference.name, reason, "an event could not be written: no answer in time")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Finding, set_condition};
    use aivonx_crds::v1alpha1::{InventoryEntry, ModelCounts};
    use jiff::Timestamp;

    fn status(conditions: &[(&str, Finding)], models: Option<&[&str]>) -> OllamaNodeStatus {
        OllamaNodeStatus {
            endpoint: Some("http://10.0.0.7:11434".to_owned()),
            models: models.map(|names| ModelCounts { total: i64::try_from(names.len()).unwrap(), loaded: 0 }),
            inventory: models
                .unwrap_or_default()
                .iter()
                .map(|name| InventoryEntry { name: (*name).to_owned(), ..InventoryEntry::default() })
                .collect(),
            conditions: conditions
                .iter()
                .map(|(type_, finding)| set_condition(&[], type_, finding.clone(), 1, Timestamp::UNIX_EPOCH))
                .collect(),
            ..OllamaNodeStatus::default()
        }
    }

    fn healthy(models: &[&str]) -> OllamaNodeStatus {
        let yes = || Finding::yes("Ready", "");
        status(&[(READY, yes()), (ACCEPTED, yes()), (REACHABLE, yes())], Some(models))
    }

    fn refused() -> OllamaNodeStatus {
        let no = || Finding::no(reasons::CONNECTION_REFUSED, "nobody listens at the address");
        status(&[(READY, no()), (ACCEPTED, Finding::yes("Accepted", "")), (REACHABLE, no())], Some(&["a"]))
    }

    fn told(previous: Option<&OllamaNodeStatus>, next: &OllamaNodeStatus) -> Vec<(bool, &'static str)> {
        notable(previous, next).into_iter().map(|notable| (notable.warning, notable.reason)).collect()
    }

    #[test]
    fn each_transition_is_told_once_and_no_change_not_at_all() {
        assert_eq!(told(None, &healthy(&["a"])), [(false, reasons::NODE_READY)]);
        assert_eq!(told(Some(&healthy(&["a"])), &healthy(&["a"])), []);
        assert_eq!(told(Some(&healthy(&["a"])), &refused()), [(true, reasons::NODE_UNREACHABLE)]);
        assert_eq!(told(Some(&refused()), &refused()), []);
        assert_eq!(told(Some(&refused()), &healthy(&["a"])), [(false, reasons::NODE_RECOVERED)]);
        let notables = notable(Some(&healthy(&["a"])), &refused());
        assert_eq!(notables[0].note, "nobody listens at the address");
    }

    #[test]
    fn a_rejected_spec_is_told_again_when_it_is_rejected_for_something_else() {
        let rejected =
            |message: &str| status(&[(ACCEPTED, Finding::no(reasons::NOT_SUPPORTED, message))], None);
        assert_eq!(told(None, &rejected("auth")), [(true, reasons::CONFIG_REJECTED)]);
        assert_eq!(told(Some(&rejected("auth")), &rejected("auth")), []);
        assert_eq!(told(Some(&rejected("auth")), &rejected("tls")), [(true, reasons::CONFIG_REJECTED)]);
    }

    #[test]
    fn models_that_come_and_go_are_named_up_to_a_bound() {
        let before = healthy(&["a"]);
        let after = healthy(&["b", "c", "d", "e", "f", "g"]);
        let notables = notable(Some(&before), &after);
        assert_eq!(notables.len(), 1);
        assert_eq!(notables[0].note, "Models changed. 6 added: b, c, d, e, f, …; 1 removed: a.");
        assert_eq!(told(None, &after), [(false, reasons::NODE_READY)], "a first list is no change");
    }
}
