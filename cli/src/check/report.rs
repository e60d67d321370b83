//! What the checks found, and how it is written.

use crate::args::{Output, Subject};
use aivonx_process::settings::SettingsError;
use serde::Serialize;
use std::fmt::Write as _;

/// Characters kept of a text that came from outside.
const MAX_FOREIGN_CHARS: usize = 200;

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not as it should be.
    Wrong,
    /// Not set up, and nothing needs it.
    NotSet,
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The subject, as after `--only`.
    pub subject: &'static str,
    /// What was looked at: the subject, or the name of a node.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Everything that was found, in the order in which it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<Finding>);

/// Whether a text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Marks are coloured.
    On,
    /// Plain text.
    Off,
}

impl Finding {
    /// All is well.
    pub fn good(subject: Subject, message: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Good, message.into(), None)
    }

    /// Something is wrong, and this is what to do.
    pub fn wrong(subject: Subject, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Wrong, message.into(), Some(advice.into()))
    }

    /// Not set up, and nothing needs it.
    pub fn not_set(subject: Subject, message: impl Into<String>) -> Self {
        Self::new(subject, Verdict::NotSet, message.into(), None)
    }

    /// A setting of the programs that is missing: wrong if they are to run here.
    pub fn missing(needed: bool, subject: Subject, error: SettingsError) -> Self {
        if needed {
            return Self::refused(subject, error.sentence);
        }
        let message = format!(
            "{} is not set; the controller and the data plane need it, `aivonx run` does not",
            error.setting
        );
        Self::not_set(subject, message)
    }

    /// A sentence that says what is wrong and what to do in one.
    pub fn refused(subject: Subject, sentence: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Wrong, sentence.into(), None)
    }

    /// About this one thing of the subject.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    fn new(subject: Subject, verdict: Verdict, message: String, advice: Option<String>) -> Self {
        Self { subject: subject.name(), name: subject.name().to_owned(), verdict, message, advice }
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.wrong() == 0
    }

    /// The whole result as it goes to standard output.
    pub fn render(&self, output: Output, colour: Colour) -> String {
        match output {
            Output::Text => self.text(colour),
            Output::Json => self.json(),
        }
    }

    fn wrong(&self) -> usize {
        self.0.iter().filter(|finding| finding.verdict == Verdict::Wrong).count()
    }

    fn text(&self, colour: Colour) -> String {
        let width = self.0.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { subject: _, name, verdict, message, advice } in &self.0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{} {name:width$}  {message}", mark(*verdict, colour));
            if let Some(advice) = advice {
                let _ = write!(text, " → {advice}");
            }
            text.push('\n');
        }
        let looked_at = self.0.iter().filter(|finding| finding.verdict != Verdict::NotSet).count();
        let _ = match (self.wrong(), looked_at) {
            (0, 0) => writeln!(text, "Nothing is set up, so nothing was checked."),
            (0, _) => writeln!(text, "All is well."),
            (1, total) => writeln!(text, "1 of {total} checks found something wrong."),
            (wrong, total) => writeln!(text, "{wrong} of {total} checks found something wrong."),
        };
        text
    }

    fn json(&self) -> String {
        let value = serde_json::json!({ "ok": self.is_good(), "checks": self.0 });
        format!("{value:#}\n")
    }
}

/// A text that came from outside, fit for a line on a terminal: no control characters and not long.
pub fn foreign(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MAX_FOREIGN_CHARS)
        .collect();
    if text.chars().nth(MAX_FOREIGN_CHARS).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

fn mark(verdict: Verdict, colour: Colour) -> &'static str {
    match (verdict, colour) {
        (Verdict::Good, Colour::Off) => "√",
        (Verdict::Wrong, Colour::Off) => "×",
        (Verdict::NotSet, Colour::Off) => "-",
        (Verdict::Good, Colour::On) => "\u{1b}[32m√\u{1b}[0m",
        (Verdict::Wrong, Colour::On) => "\u{1b}[31m×\u{1b}[0m",
        (Verdict::NotSet, Colour::On) => "\u{1b}[2m-\u{1b}[0m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report(vec![
            Finding::good(Subject::SecretKey, "set"),
            Finding::wrong(Subject::Redis, "connection refused", "start it"),
            Finding::not_set(Subject::ApiServer, "no kubeconfig"),
            Finding::good(Subject::Nodes, "Ollama 0.12.3, 2 models").named("default/gpu-1"),
        ])
    }

    #[test]
    fn a_line_says_how_it_is_and_what_to_do() {
        let expected = "√ secret-key     set\n\
                        × redis          connection refused → start it\n\
                        - api-server     no kubeconfig\n\
                        √ default/gpu-1  Ollama 0.12.3, 2 models\n\
                        1 of 3 checks found something wrong.\n";
        assert_eq!(report().render(Output::Text, Colour::Off), expected);
        assert!(report().render(Output::Text, Colour::On).starts_with("\u{1b}[32m√\u{1b}[0m secret-key"));
    }

    #[test]
    fn what_is_not_set_is_wrong_only_where_it_is_needed() {
        let error = SettingsError::new("AIVONX_REDIS_URL", "AIVONX_REDIS_URL is required");
        let missing = |needed| Report(vec![Finding::missing(needed, Subject::Redis, error.clone())]);
        assert!(!missing(true).is_good());
        assert!(missing(true).render(Output::Text, Colour::Off).contains("AIVONX_REDIS_URL is required"));
        assert!(missing(false).is_good());
        let text = missing(false).render(Output::Text, Colour::Off);
        assert!(
            text.contains("- redis  AIVONX_REDIS_URL is not set; ") && text.contains("nothing was checked"),
            "{text}"
        );
    }

    #[test]
    fn json_has_one_object_a_check_and_the_verdict_over_all() {
        let value: serde_json::Value =
            serde_json::from_str(&report().render(Output::Json, Colour::On)).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(
            value["checks"][1],
            serde_json::json!({"subject": "redis", "name": "redis", "verdict": "wrong",
                "message": "connection refused", "advice": "start it"})
        );
        assert_eq!(value["checks"][2]["verdict"], "notSet");
        assert_eq!(value["checks"][3]["name"], "default/gpu-1");
    }

    #[test]
    fn a_text_from_outside_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(foreign("\u{1b}[2J0.12\n.3\r"), "[2J0.12 .3");
        let long = foreign(&"x".repeat(MAX_FOREIGN_CHARS + 1));
        assert_eq!(long.chars().count(), MAX_FOREIGN_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
