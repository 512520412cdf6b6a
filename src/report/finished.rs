//! A run directory, read again by whoever shows it.

use super::{Metrics, Report};
use crate::{Error, Place, Result};
use dp_accountant::Ledger;
use std::path::{Path, PathBuf};

/// A run that was done, as its directory tells.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRun {
    /// The directory, as it is shown.
    pub name: String,
    /// Where it is: a name need not be a text that can be shown.
    pub directory: PathBuf,
    /// Its report.json.
    pub report: Report,
    /// Its metrics.csv.
    pub metrics: Metrics,
    /// Its ledger.json: what it has spent, after what the model that it started from had cost.
    pub ledger: Ledger,
}

impl FinishedRun {
    /// Reads report, metrics and ledger of a run directory. Nothing is recomputed: that is [`FinishedRun::verified`].
    ///
    /// # Errors
    /// When `directory` is not that of a finished run, saying why, or a file in it is not what a run writes.
    pub fn read(directory: &Path) -> Result<Self> {
        let not = |found: &str, way_out: &str| {
            let expected = format!("the directory of a finished run, as train --out leaves it{way_out}");
            Err(Error::data(Place::file(directory), found, expected))
        };
        if !directory.is_dir() {
            return not(if directory.exists() { "a file" } else { "nothing" }, "");
        }
        if !directory.join("report.json").exists() {
            return if directory.join("checkpoint").exists() {
                not("an interrupted run", "; finish it with train --resume")
            } else {
                not("a directory without report.json", "")
            };
        }
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read(&path).map_err(Error::io("read", &path))
        };
        let report = parse(&directory.join("report.json"), &read("report.json")?)?;
        let metrics = Metrics::parse(&read("metrics.csv")?, &directory.join("metrics.csv"))?;
        let ledger = parse(&directory.join("ledger.json"), &read("ledger.json")?)?;
        Ok(Self { name: directory.display().to_string(), directory: directory.to_path_buf(), report, metrics, ledger })
    }
}

/// The value that a JSON file holds; `path` is named in errors.
fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = Place::line(path, error.line() as u64);
        Error::data(place, error.to_string(), "a file written by this version of dpsgd train")
    })
}
