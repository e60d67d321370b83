//! Says what happens, with the time since the start.

use std::io::{self, Write};

use tokio::time::Instant;

/// Writes to standard output.
#[derive(Debug)]
pub struct Narrator(Instant);

impl Narrator {
    pub fn new() -> Narrator {
        Narrator(Instant::now())
    }

    /// The next thing that is done.
    pub fn step(&self, text: &str) {
        write(&format!("\n[{:5.1} s] {text}\n", self.0.elapsed().as_secs_f64()));
    }

    /// What came of it; also the output of a command, indented.
    pub fn seen(&self, text: impl AsRef<str>) {
        for line in text.as_ref().trim_end().lines() {
            write(&format!("          {line}\n"));
        }
    }

    /// The last words.
    pub fn end(&self, text: &str) {
        self.step(text);
    }
}

fn write(text: &str) {
    // A closed pipe, as of `make demo | head`, must not stop the clean-up.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
