//! `dpsgd verify`: does a run directory agree with itself and with the accountant?

use super::{Ended, Format, print};
use crate::report;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  dpsgd train --out verified && dpsgd verify verified")]
pub(super) struct Args {
    /// The directory that `train --out` wrote.
    directory: PathBuf,
}

pub(super) fn run(args: Args, format: Format) -> anyhow::Result<Ended> {
    let verified = report::verify(&args.directory)?;
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&verified)? + "\n"))?,
        Format::Text => {
            let mut text = format!(
                "verified: epsilon <= {} at delta {} after {} steps\n",
                verified.epsilon_upper, verified.delta, verified.steps
            );
            for check in &verified.checks {
                text += &format!("  ok  {check}\n");
            }
            text += "This shows that the files agree and the epsilon follows from the ledger, not that the training did what the ledger says.\n";
            print(&text)?;
        }
    }
    Ok(Ended::Done)
}
