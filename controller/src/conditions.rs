//! Conditions as the Kubernetes conventions want them.

use aivonx_crds::conditions::{FALSE, TRUE, UNKNOWN};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longer messages are cut: they may hold what a remote side said.
const MAX_MESSAGE: usize = 1_024;

/// What was found out about one type of condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Why, in one sentence.
    pub message: String,
}

impl Finding {
    /// It holds.
    pub fn yes(reason: &str, message: impl Into<String>) -> Self {
        Self { status: TRUE, reason: reason.to_owned(), message: message.into() }
    }

    /// It does not hold.
    pub fn no(reason: &str, message: impl Into<String>) -> Self {
        Self { status: FALSE, reason: reason.to_owned(), message: message.into() }
    }

    /// Nothing is known yet.
    pub fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self { status: UNKNOWN, reason: reason.to_owned(), message: message.into() }
    }

    /// What a condition says, so that it can be said again.
    pub fn of(condition: &Condition) -> Self {
        let status = match condition.status.as_str() {
            TRUE => TRUE,
            FALSE => FALSE,
            _ => UNKNOWN,
        };
        Self { status, reason: condition.reason.clone(), message: condition.message.clone() }
    }
}

/// The condition of a type after `finding`. Its `lastTransitionTime` moves when the status flips, and only then.
pub fn set_condition(
    previous: &[Condition],
    type_: &str,
    finding: Finding,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let Finding { status, reason, message } = finding;
    let since = previous
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == status)
        .map(|condition| condition.last_transition_time.0)
        // The default that the API server fills in says that nobody has looked yet.
        .filter(|since| *since != Timestamp::UNIX_EPOCH);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message: cut(message),
        observed_generation: Some(generation),
        last_transition_time: Time(since.unwrap_or_else(|| whole_seconds(now))),
    }
}

/// Kubernetes keeps times to the second.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = message.floor_char_boundary(MAX_MESSAGE);
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
        #[test]
        fn the_time_moves_when_the_status_flips_and_only_then(
            findings in proptest::collection::vec((prop::sample::select(vec![TRUE, FALSE, UNKNOWN]), "[A-Z][a-z]{1,3}", 1i64..4), 1..40),
        ) {
            let mut conditions: Vec<Condition> = Vec::new();
            let mut flipped_at = 0;
            for (second, (status, reason, generation)) in findings.into_iter().enumerate() {
                let second = i64::try_from(second).unwrap() + 1;
                let flips = conditions.first().is_none_or(|condition| condition.status != status);
                if flips {
                    flipped_at = second;
                }
                let finding = Finding { status, reason: reason.clone(), message: String::new() };
                let next = set_condition(&conditions, "Ready", finding, generation, at(second));
                prop_assert_eq!(next.last_transition_time.0, at(flipped_at));
                prop_assert_eq!((next.status.as_str(), next.reason.as_str()), (status, reason.as_str()));
                prop_assert_eq!(next.observed_generation, Some(generation));
                conditions = vec![next];
            }
        }
    }

    #[test]
    fn the_default_of_the_definition_counts_as_no_look_at_all() {
        let default = set_condition(&[], "Ready", Finding::unknown("Pending", ""), 1, Timestamp::UNIX_EPOCH);
        let first = set_condition(&[default], "Ready", Finding::unknown("Pending", ""), 1, at(9));
        assert_eq!(first.last_transition_time.0, at(9));
    }

    #[test]
    fn a_message_is_bounded_at_a_character() {
        let long = set_condition(&[], "Ready", Finding::no("NotOllama", "é".repeat(5_000)), 1, at(1));
        assert!(long.message.len() <= MAX_MESSAGE + '…'.len_utf8() && long.message.ends_with('…'));
    }
}
