//! Durations as people write them in a manifest: `500ms`, `3s`, `5m`, `1h30m`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What the rules and the parser say of a text that is not a duration.
pub(crate) const SENTENCE: &str =
    "write a duration of at most 24h as whole numbers with units, such as 500ms, 3s, 5m or 1h30m";

/// The form of the Gateway API (GEP-2257), which CEL's `duration()` reads as well.
macro_rules! form {
    () => {
        ".matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')"
    };
}

/// The CEL rule of every duration.
const RULE: &str = concat!("self", form!(), " && duration(self) <= duration('24h')");

/// The CEL rule of a field whose duration lies in a range. A text that is no duration is left to [`RULE`].
pub(crate) fn between(min: &str, max: &str) -> String {
    let form = form!();
    format!("!self{form} || (duration(self) >= duration('{min}') && duration(self) <= duration('{max}'))")
}

/// The CEL rule of an object in which one duration must be shorter than another.
pub(crate) fn shorter(first: &str, second: &str) -> String {
    let form = form!();
    format!("!self.{first}{form} || !self.{second}{form} || duration(self.{first}) < duration(self.{second})")
}

const MAX: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_PARTS: usize = 4;
const MAX_DIGITS: usize = 5;

/// A span of time in a resource, from `0s` to `24h`, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiDuration(Duration);

impl ApiDuration {
    /// `millis` milliseconds, or 24 hours if that is less.
    pub const fn from_millis(millis: u64) -> Self {
        let max = MAX.as_millis() as u64;
        Self(Duration::from_millis(if millis > max { max } else { millis }))
    }

    /// `secs` seconds, or 24 hours if that is less.
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In milliseconds.
    pub fn as_millis(self) -> u64 {
        // At most 24 h, so it fits.
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration: {SENTENCE}")]
pub struct ParseDurationError(String);

impl FromStr for ApiDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        parse(text).ok_or_else(|| ParseDurationError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<ApiDuration> {
    let mut rest = text;
    let mut total: u64 = 0;
    for _ in 0..MAX_PARTS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > MAX_DIGITS {
            return None;
        }
        let (number, unit) = rest.split_at(digits);
        let (millis, after) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .into_iter()
            .find_map(|(name, millis)| Some((millis, unit.strip_prefix(name)?)))?;
        total += number.parse::<u64>().ok()? * millis;
        rest = after;
        if rest.is_empty() {
            let total = Duration::from_millis(total);
            return (total <= MAX).then_some(ApiDuration(total));
        }
    }
    None
}

impl fmt::Display for ApiDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for ApiDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ApiDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = ApiDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 500ms, 3s or 5m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ApiDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for ApiDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 28,
            "x-kubernetes-validations": [{ "rule": RULE, "message": SENTENCE }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_forms_are_read() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("3s", 3_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("24h", 86_400_000),
            ("1m2s3ms", 62_003),
        ] {
            assert_eq!(text.parse(), Ok(ApiDuration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in
            ["", "3", "s", "-3s", "3 s", "1.5s", "3S", "1d", "25h", "123456s", "1s1s1s1s1s", "٣s", "3s "]
        {
            let error = text.parse::<ApiDuration>().unwrap_err().to_string();
            assert!(error.contains("such as 500ms, 3s, 5m or 1h30m"), "{text}: {error}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused_with_an_example() {
        let error = serde_json::from_str::<ApiDuration>("3").unwrap_err().to_string();
        assert!(error.contains("a duration such as 500ms, 3s or 5m"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(millis in 0u64..=86_400_000) {
            let duration = ApiDuration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_pass_the_bound(text in ".{0,40}") {
            if let Ok(duration) = text.parse::<ApiDuration>() {
                prop_assert!(duration.get() <= MAX);
            }
        }

        #[test]
        fn every_sum_of_parts_up_to_the_bound_is_read(parts in proptest::collection::vec((0u64..=99_999, 0usize..4), 1..=4)) {
            let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
            let text: String = parts.iter().map(|(n, unit)| format!("{n}{}", units[*unit].0)).collect();
            let millis: u64 = parts.iter().map(|(n, unit)| n * units[*unit].1).sum();
            let expected = (millis <= 86_400_000).then(|| ApiDuration::from_millis(millis));
            prop_assert_eq!(text.parse().ok(), expected);
        }
    }
}
