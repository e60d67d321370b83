//! The script that publishes: what goes into it and what comes out.

use super::changes::Changes;
use super::corrupt;
use super::keys::Keys;
use crate::store::{Published, StoreError, stored};
use crate::table::{RoutingTable, TableVersion};
use redis::{Script, ScriptInvocation};
use std::sync::LazyLock;

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("publish.lua")));

/// What the script did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Done(Published),
    /// The changes start from another table than the one that is held. Nothing was changed.
    OtherBase,
}

/// The call that puts `table` in place: by its differences from `base`, or else whole.
pub(super) fn publish(
    keys: &Keys,
    table: &RoutingTable,
    base: Option<&RoutingTable>,
) -> Result<ScriptInvocation<'static>, String> {
    let changes = base.map_or_else(|| Changes::everything(table), |base| Changes::between(base, table));
    let head = &table.head;
    let mut call = PUBLISH.prepare_invoke();
    call.key(&keys.head).key(&keys.nodes);
    call.arg(&keys.channel).arg(head.version.epoch).arg(head.version.revision).arg(&head.digest);
    call.arg(stored::strategy_word(head.strategy)?).arg(head.published_at.to_string());
    call.arg(base.map_or("", |base| &base.head.digest)).arg(base.map_or(0, |base| base.nodes.len()));
    call.arg(changes.written.len());
    for (id, text) in changes.texts()? {
        call.arg(id).arg(text);
    }
    for id in &changes.removed {
        call.arg(id.as_str());
    }
    Ok(call)
}

/// Reads the script's answer.
pub(super) fn reply(words: &[String]) -> Result<Reply, StoreError> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let reply = match words[..] {
        ["accepted"] => Some(Reply::Done(Published::Accepted)),
        ["base"] => Some(Reply::OtherBase),
        ["fenced", epoch, revision] => {
            version(epoch, revision).map(|held| Reply::Done(Published::Fenced { held }))
        }
        _ => None,
    };
    reply.ok_or_else(|| corrupt(format!("the publishing script answered {words:?}")))
}

/// A version of two decimal texts.
pub(super) fn version(epoch: &str, revision: &str) -> Option<TableVersion> {
    Some(TableVersion { epoch: epoch.parse().ok()?, revision: revision.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Reply, StoreError> {
        reply(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_answer_is_understood_and_any_other_is_an_error() {
        assert_eq!(read(&["accepted"]).unwrap(), Reply::Done(Published::Accepted));
        assert_eq!(read(&["base"]).unwrap(), Reply::OtherBase);
        let held = TableVersion { epoch: 18_446_744_073_709_551_615, revision: 9_007_199_254_740_993 };
        let fenced = read(&["fenced", "18446744073709551615", "9007199254740993"]).unwrap();
        assert_eq!(fenced, Reply::Done(Published::Fenced { held }));
        for words in [&[][..], &["fenced"], &["fenced", "1", "x"], &["accepted", "1"]] {
            assert!(matches!(read(words), Err(StoreError::Corrupt { .. })), "{words:?}");
        }
    }
}
