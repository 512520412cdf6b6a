//! The command `dpsgd`: parse, call, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    dpsgd::keep_freed_memory();
    dpsgd::cli::main()
}
