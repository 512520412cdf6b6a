//! `dpsgd report`: finished runs, shown again and compared.

use super::{Ended, Format, note, print};
use crate::report::{FinishedRun, Summary, comparison, page, statement};
use crate::whole_file::{self, Readers};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Directories that `train --out` wrote; of several, a comparison is shown.
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Write the page of the run, or one page that compares the runs, to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  dpsgd train --epsilon 1 --out one --quiet && dpsgd report one
  dpsgd train --epsilon 3 --out three --quiet && dpsgd report one three --html runs.html";

pub(super) fn run(args: Args, format: Format) -> anyhow::Result<Ended> {
    let runs = args.directories.iter().map(|path| FinishedRun::read(path)).collect::<crate::Result<Vec<_>>>()?;
    if let Some(file) = &args.html {
        let html = match &runs[..] {
            [run] => page(&run.report, &run.metrics),
            runs => comparison(runs),
        };
        // The page of a run has a box that is not private; a comparison has accuracies on test records and times.
        whole_file::write(file, html.as_bytes(), Readers::Owner)?;
    }
    let summaries: Vec<Summary> = runs.iter().map(Summary::new).collect();
    match (format, &runs[..]) {
        (Format::Json, _) => {
            let document = serde_json::json!({ "runs": summaries, "html": args.html });
            print(&(serde_json::to_string_pretty(&document)? + "\n"))?;
        }
        // The page says what the statement does.
        (Format::Text, [_]) if args.html.is_some() => {}
        (Format::Text, [run]) => print(&statement(&run.report))?,
        (Format::Text, _) => print(&Summary::table(&summaries))?,
    }
    if let (Format::Text, Some(file)) = (format, &args.html) {
        note(&format!("written to {}", file.display()));
    }
    Ok(Ended::Done)
}
