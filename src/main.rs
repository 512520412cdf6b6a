//! The command `dpsgd`: parse, call, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    dpsgd::cli::main()
}
