//! The command line: one file per subcommand.
//!
//! Exit codes: 0 done; 1 refused (budget, unaccountable, failed verification); 2 usage, input or I/O error; 130 stopped by a
//! signal with everything kept that was asked for. Errors go to stderr, one line first. With `--format json` stdout holds
//! exactly one JSON document; progress and notes go to stderr.

mod account;
mod augmentation;
mod clipping;
mod completions;
mod config;
mod data;
mod datasets;
mod flags;
mod ledger;
mod nodes;
mod noise;
mod optimizer;
mod past;
mod progress;
mod report;
mod schedules;
mod train;
mod verify;

use crate::Error;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use flags::Flags;
use std::io::Write;
use std::process::ExitCode;

/// Train machine-learning models under differential privacy, and state exactly what privacy they have.
#[derive(Debug, Parser)]
#[command(name = "dpsgd", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// How results are printed on stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "Examples:
  dpsgd train                                     train on the embedded digits at epsilon 3
  dpsgd train --data people.csv --label income --epsilon 1 --holdout 0.2 --out people-model
  dpsgd account epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5
  dpsgd verify people-model                       recompute what a finished run states";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a private model and state its privacy.
    #[command(allow_negative_numbers = true)]
    Train(Box<train::Args>),
    /// Ask the accountant: epsilon, delta, or the noise a budget needs.
    Account(account::Args),
    /// Show a ledger that models on the same data share, and what they cost together.
    Ledger(ledger::Args),
    /// Look at data before training on them.
    Data(data::Args),
    /// Check a run directory: recompute its epsilon, compare its files.
    Verify(verify::Args),
    /// Show finished runs again: the page of one, a comparison of several.
    Report(report::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// How a command ended without an error.
enum Ended {
    Done,
    Interrupted,
}

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    match run() {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(130),
        Err(error) => {
            let code = exit_code(&error);
            note(&format!("error: {}", in_flags(error)));
            ExitCode::from(code)
        }
    }
}

fn run() -> anyhow::Result<Ended> {
    // A mistake in the flags is reported by the parser itself, with exit code 2.
    let matches = config::matches(&Cli::command(), std::env::args_os().collect())?;
    let cli = Cli::from_arg_matches(&matches)?;
    match cli.command {
        Command::Train(args) => train::run(*args, Flags::of(&Cli::command(), &matches), cli.format),
        Command::Account(args) => account::run(args, cli.format),
        Command::Ledger(args) => ledger::run(args, cli.format),
        Command::Data(args) => data::run(args, cli.format),
        Command::Verify(args) => verify::run(args, cli.format),
        Command::Report(args) => report::run(args, cli.format),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Error>().is_some_and(Error::is_refusal) { 1 } else { 2 }
}

/// The error as the user can act on it: a value that a flag has given is named by that flag.
fn in_flags(error: anyhow::Error) -> String {
    let (name, value, allowed) = match error.downcast_ref::<Error>() {
        Some(Error::Value { name, value, allowed }) => (name.clone(), value.clone(), allowed.clone()),
        Some(Error::OutOfDomain(error)) => (error.name.into(), error.value.to_string(), error.allowed.into()),
        _ => return error.to_string(),
    };
    // Three hundred digits of 1e300 help nobody.
    let value = match value.parse::<f64>() {
        Ok(number) if value.len() > 20 => format!("{number:e}"),
        _ => value,
    };
    let flag = name.replace([' ', '_'], "-");
    let known = |command: &clap::Command| command.get_arguments().any(|arg| arg.get_long() == Some(&flag));
    let cli = Cli::command();
    let named = cli.get_subcommands().any(|command| known(command) || command.get_subcommands().any(known));
    Error::value(if named { format!("--{flag}") } else { name }, value, allowed).to_string()
}

/// Tells something on stderr; nobody need listen.
fn note(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// Prints to stdout; a reader that has gone away is no error of ours.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.map_err(Error::io("write to", "standard output"))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
