//! The rule that decides whether a store takes a table. The Redis script and the Postgres statement say the same in their
//! own languages; one set of tests holds all of them to it.

use super::Published;
use crate::table::TableHead;

/// Takes what is newer than what is held, and takes again exactly what is held: a writer that did not hear the answer may
/// ask again. Everything else comes from a leader that is not the leader any more, and changes nothing.
pub(crate) fn admit(held: Option<&TableHead>, offered: &TableHead) -> Published {
    match held {
        Some(held) if offered.version < held.version => Published::Fenced { held: held.version },
        Some(held) if offered.version == held.version && offered.digest != held.digest => {
            Published::Fenced { held: held.version }
        }
        _ => Published::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{RoutingTable, Strategy, TableVersion};
    use std::collections::BTreeMap;

    fn head(epoch: u64, revision: u64, strategy: Strategy) -> TableHead {
        let version = TableVersion { epoch, revision };
        RoutingTable::new(version, jiff::Timestamp::UNIX_EPOCH, strategy, BTreeMap::new()).head
    }

    #[test]
    fn only_a_newer_table_or_the_same_one_is_taken() {
        let held = head(2, 5, Strategy::LeastActive);
        let fenced = Published::Fenced { held: held.version };
        let of = |epoch, revision, strategy| admit(Some(&held), &head(epoch, revision, strategy));
        assert_eq!(of(2, 6, Strategy::LeastActive), Published::Accepted);
        assert_eq!(of(3, 1, Strategy::LeastActive), Published::Accepted);
        assert_eq!(of(2, 5, Strategy::LeastActive), Published::Accepted, "the same table again");
        assert_eq!(of(2, 5, Strategy::RoundRobin), fenced, "another table under the same version");
        assert_eq!(of(2, 4, Strategy::LeastActive), fenced);
        assert_eq!(of(1, 900, Strategy::LeastActive), fenced);
        assert_eq!(admit(None, &head(0, 0, Strategy::LeastActive)), Published::Accepted);
    }
}
