//! The order of tables, and the head that names one.

use super::Strategy;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Orders tables: first by the leader's epoch, then by its revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableVersion {
    /// The leader's term: the number of times the leadership Lease changed hands.
    pub epoch: u64,
    /// Grows by at least one with every table that is published.
    pub revision: u64,
}

impl fmt::Display for TableVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

impl std::str::FromStr for TableVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('.')
            .and_then(|(epoch, revision)| {
                Some(Self { epoch: epoch.parse().ok()?, revision: revision.parse().ok()? })
            })
            .ok_or_else(|| format!("'{text}' is not a table version: expected <epoch>.<revision>"))
    }
}

/// What names a table without its nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableHead {
    /// Which table this is.
    #[serde(flatten)]
    pub version: TableVersion,
    /// When the leader built it.
    pub published_at: jiff::Timestamp,
    /// How a node is chosen among those that can serve a request.
    pub strategy: Strategy,
    /// SHA-256 over the strategy and all node entries, 64 hexadecimal digits.
    pub digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_wins_over_any_revision() {
        let old = TableVersion { epoch: 1, revision: 900 };
        let new = TableVersion { epoch: 2, revision: 1 };
        assert!(new > old);
    }

    #[test]
    fn a_version_reads_back_from_its_text() {
        let version = TableVersion { epoch: 7, revision: 12 };
        assert_eq!(version.to_string().parse(), Ok(version));
        assert!("7".parse::<TableVersion>().is_err());
        assert!("7.x".parse::<TableVersion>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn versions_are_ordered_like_their_two_numbers(
            a in proptest::prelude::any::<(u64, u64)>(),
            b in proptest::prelude::any::<(u64, u64)>(),
            near in (0..3_u64, 0..3_u64, 0..3_u64, 0..3_u64),
        ) {
            for ((a, b), (c, d)) in [(a, b), ((near.0, near.1), (near.2, near.3))] {
                let (one, other) =
                    (TableVersion { epoch: a, revision: b }, TableVersion { epoch: c, revision: d });
                proptest::prop_assert_eq!(one.cmp(&other), (a, b).cmp(&(c, d)));
            }
        }

        #[test]
        fn any_version_reads_back_and_any_other_text_is_refused(
            epoch in proptest::prelude::any::<u64>(),
            revision in proptest::prelude::any::<u64>(),
            text in "[0-9.x -]{0,24}",
        ) {
            let version = TableVersion { epoch, revision };
            proptest::prop_assert_eq!(version.to_string().parse(), Ok(version));
            if let Ok(version) = text.parse::<TableVersion>() {
                proptest::prop_assert!(text.starts_with(|c: char| c.is_ascii_digit()));
                proptest::prop_assert_eq!(version.to_string().parse(), Ok(version));
            }
        }
    }
}
