//! Runs the conformance checks against a server that is already there:
//! `cargo run -p aivonx-simulator --example conformance -- http://127.0.0.1:11434 alphabet tinybert`

use std::io::{self, Write};
use std::process::ExitCode;

use aivonx_simulator::conformance::{Target, checks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<ExitCode> {
    let mut stdout = io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, completion, embedding] = arguments.as_slice() else {
        writeln!(stdout, "usage: conformance URL COMPLETION-MODEL EMBEDDING-MODEL")?;
        return Ok(ExitCode::from(2));
    };
    let target = Target { base: base.clone(), completion: completion.clone(), embedding: embedding.clone() };
    let mut code = ExitCode::SUCCESS;
    for check in checks() {
        match check.run(&target).await {
            Ok(()) => writeln!(stdout, "ok      {}", check.name)?,
            Err(problem) => {
                code = ExitCode::FAILURE;
                writeln!(stdout, "FAILED  {}: {problem}", check.name)?;
            }
        }
    }
    Ok(code)
}
