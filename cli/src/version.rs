//! `aivonx version`.

use crate::args::Output;
use aivonx_process::build::VERSION;

/// The version as it goes to standard output.
pub fn render(output: Output) -> String {
    match output {
        Output::Text => format!("aivonx {VERSION}\n"),
        Output::Json => format!("{}\n", serde_json::json!({ "program": "aivonx", "version": VERSION })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_can_read_it() {
        let value: serde_json::Value = serde_json::from_str(&render(Output::Json)).unwrap();
        assert_eq!(value, serde_json::json!({"program": "aivonx", "version": VERSION}));
        assert_eq!(render(Output::Text), format!("aivonx {VERSION}\n"));
    }
}
