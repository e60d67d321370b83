//! The `options` object of a native request.

use std::collections::BTreeMap;

use super::residency::RunnerOptions;
use crate::gojson::{Kind, Raw};

/// What the simulator understands of `options`. Keys are exact, unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Those that belong to the runner.
    pub runner: RunnerOptions,
    /// Tokens at most; negative is no limit.
    pub num_predict: Option<i64>,
    /// The first wrong type: reported when the model is scheduled, as 500.
    pub error: Option<String>,
}

const RUNNER_INTEGERS: [&str; 5] = ["num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"];
const INTEGERS: [&str; 4] = ["num_keep", "seed", "top_k", "repeat_last_n"];
const FLOATS: [&str; 7] =
    ["top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"];

impl Options {
    /// Reads the pairs of the object; of a repeated key the last counts.
    pub fn read(pairs: Vec<(String, Raw<'_>)>) -> Self {
        let last: BTreeMap<String, Raw<'_>> = pairs.into_iter().collect();
        let mut options = Self::default();
        for (key, raw) in &last {
            if raw.kind() != Kind::Null {
                options.take(key, raw);
            }
        }
        options
    }

    fn take(&mut self, key: &str, raw: &Raw<'_>) {
        match key {
            "num_ctx" => self.runner.num_ctx = self.integer(key, raw),
            "num_predict" => self.num_predict = self.integer(key, raw),
            "use_mmap" => match raw.boolean() {
                Some(value) => {
                    self.runner.others.insert("use_mmap", i64::from(value));
                }
                None => self.wrong(key, "of type boolean"),
            },
            "stop" => {
                if raw.kind() != Kind::Array {
                    self.wrong(key, "of type array");
                } else if raw.elements().iter().any(|element| element.kind() != Kind::String) {
                    self.wrong(key, "of an array of strings");
                }
            }
            key if INTEGERS.contains(&key) => {
                self.integer(key, raw);
            }
            key if FLOATS.contains(&key) => {
                if raw.kind() != Kind::Number {
                    self.wrong(key, "of type float32");
                }
            }
            key => {
                if let Some(known) = RUNNER_INTEGERS.iter().find(|known| **known == key)
                    && let Some(value) = self.integer(key, raw)
                {
                    self.runner.others.insert(known, value);
                }
            }
        }
    }

    /// Go takes any number and drops the fraction.
    fn integer(&mut self, key: &str, raw: &Raw<'_>) -> Option<i64> {
        let number = raw.number();
        if number.is_none() {
            self.wrong(key, "of type integer");
        }
        number.map(|number| number as i64)
    }

    fn wrong(&mut self, key: &str, want: &str) {
        self.error.get_or_insert_with(|| format!("option \"{key}\" must be {want}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gojson::first_value;

    fn read(text: &str) -> Options {
        Options::read(first_value(text.as_bytes()).unwrap().pairs())
    }

    #[test]
    fn what_counts_is_read() {
        let options = read(
            r#"{"num_ctx":2048.9,"num_predict":5,"num_gpu":1,"use_mmap":true,"NUM_CTX":1,"temperature":0,
            "foo":"x","num_thread":null}"#,
        );
        assert_eq!(options.runner.num_ctx, Some(2048));
        assert_eq!(options.num_predict, Some(5));
        assert_eq!(options.runner.others, BTreeMap::from([("num_gpu", 1), ("use_mmap", 1)]));
        assert_eq!(options.error, None);
        assert_eq!(read(r#"{"num_ctx":1,"num_ctx":2}"#).runner.num_ctx, Some(2));
    }

    #[test]
    fn wrong_types_are_named() {
        for (text, want) in [
            (r#"{"num_ctx":"2048"}"#, "option \"num_ctx\" must be of type integer"),
            (r#"{"seed":true}"#, "option \"seed\" must be of type integer"),
            (r#"{"temperature":"0"}"#, "option \"temperature\" must be of type float32"),
            (r#"{"use_mmap":1}"#, "option \"use_mmap\" must be of type boolean"),
            (r#"{"stop":"x"}"#, "option \"stop\" must be of type array"),
            (r#"{"stop":[1]}"#, "option \"stop\" must be of an array of strings"),
        ] {
            assert_eq!(read(text).error.as_deref(), Some(want));
        }
    }
}
