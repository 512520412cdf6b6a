//! `dpsgd completions`: scripts that complete commands and flags in a shell.

use super::{Ended, print};
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  dpsgd completions bash")]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: Args, command: &mut clap::Command) -> anyhow::Result<Ended> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "dpsgd", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Ended::Done)
}
