//! `dpsgd data inspect`: what training would read, and what of it is declared.

use super::datasets::{DataArgs, Datasets};
use super::{Ended, Format, print};
use crate::Error;
use crate::data::Inspection;
use crate::seed::Key;
use serde::Serialize;
use std::fmt::Write;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what training would read with the same flags: columns, classes, the first record, and what was seen in the data
    /// instead of being declared. Spends no budget; what it shows is not private.
    #[command(after_help = EXAMPLES, allow_negative_numbers = true)]
    Inspect(Box<Inspect>),
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// The same as --data.
    #[arg(value_name = "NAME|PATH", conflicts_with = "data")]
    source: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

const EXAMPLES: &str = "Examples:
  dpsgd data inspect adult
  dpsgd data inspect people.csv --label income
  dpsgd data inspect people.csv --label income --range age=0:120 --format json";

/// What is printed with `--format json`.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    train: Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Test>,
}

#[derive(Serialize)]
struct Test {
    records: usize,
    origin: Option<String>,
    notes: Vec<String>,
}

pub(super) fn run(args: Args, format: Format) -> anyhow::Result<Ended> {
    let Command::Inspect(args) = args.command;
    let data = match args.source {
        Some(source) => args.data.of(source),
        None => args.data,
    };
    let reading = data.as_read()?;
    // The key decides which records --holdout keeps out; any will do.
    let Datasets { train, test, test_origin, .. } = data.read(&Key::from_os()?, None)?;
    let test = test.map(|test| Test { records: test.len(), origin: test_origin, notes: test.notes().to_vec() });
    let report = Report { train: Inspection::new(&train, &reading)?, test };
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&report)
                .map_err(|error| Error::value("inspection", error, "something JSON can hold"))?;
            print(&format!("{json}\n"))?;
        }
        Format::Text => print(&text(&report)?)?,
    }
    Ok(Ended::Done)
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let (data, mut text) = (&report.train, String::new());
    writeln!(text, "NOT PRIVATE: {}.\n", data.not_private)?;
    let format = data.format.map_or_else(|| "in memory".to_owned(), |format| format.to_string());
    writeln!(text, "data       {} ({format})", data.name)?;
    let shape: Vec<String> = data.shape.iter().map(usize::to_string).collect();
    let features = format!("{} feature(s), shape {}", data.features, shape.join("x"));
    writeln!(text, "records    {} of {features}; {} in memory", data.records, size(data.memory_bytes))?;
    for (what, list) in [("declared", &data.declared), ("seen", &data.seen)] {
        for item in list {
            writeln!(text, "{what:<10} {item}")?;
        }
    }
    if let Some(test) = &report.test {
        writeln!(text, "test data  {} records: {}", test.records, test.origin.as_deref().unwrap_or("held out"))?;
    }
    if !data.columns.is_empty() {
        let width = data.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).clamp(6, 24);
        writeln!(text, "\n{:<width$}  becomes      features  what is known of it", "column")?;
        for column in &data.columns {
            let label =
                |word: &str, items: &[String]| (!items.is_empty()).then(|| format!("{word}: {}", items.join(", ")));
            let known: Vec<String> =
                [label("declared", &column.declared), label("seen", &column.seen)].into_iter().flatten().collect();
            let line = format!(
                "{:<width$}  {:<11}  {:>8}  {}",
                column.name.escape_debug().to_string(),
                column.treatment,
                column.features,
                known.join("; ")
            );
            writeln!(text, "{}", line.trim_end())?;
        }
    }
    let first = &data.first_record;
    writeln!(text, "\nfirst record, of class {}:", first.label.escape_debug())?;
    for (name, value) in &first.values {
        writeln!(text, "  {} = {value}", name.escape_debug())?;
    }
    match first.not_zero - first.values.len() {
        0 => writeln!(text, "  all others are 0")?,
        more => writeln!(text, "  and {more} others that are not 0")?,
    }
    writeln!(text, "\na privacy statement will say:")?;
    for note in &data.notes {
        writeln!(text, "  - {note}")?;
    }
    if data.suggestions.is_empty() {
        writeln!(text, "\nnothing that a flag could declare was taken from the data.")?;
    } else {
        writeln!(
            text,
            "\nflags that would declare what was seen. THESE VALUES COME FROM THE DATA: declare public ones."
        )?;
        for suggestion in &data.suggestions {
            writeln!(text, "  {suggestion}")?;
        }
    }
    Ok(text)
}

fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
