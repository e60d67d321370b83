//! The `aivonx` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    aivonx::main()
}
