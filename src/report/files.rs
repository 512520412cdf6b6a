//! The files that a report is kept with, known again by their hashes when a later version would write them otherwise.

use super::directory::sha256;
use super::{Metrics, Report, page, statement};
use serde::{Deserialize, Serialize};

/// SHA-256 of the files that a report is kept with, in hexadecimal. None of these files depends on the hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Of the statement.
    #[serde(rename = "statement.txt")]
    pub statement: String,
    /// Of the page.
    #[serde(rename = "report.html")]
    pub page: String,
    /// Of the metrics, which the page shows too.
    #[serde(rename = "metrics.csv")]
    pub metrics: String,
}

impl Files {
    /// Of what this version writes of a report.
    pub(super) fn of(report: &Report, metrics: &Metrics) -> Self {
        let hash = |text: String| sha256(text.as_bytes());
        Self { statement: hash(statement(report)), page: hash(page(report, metrics)), metrics: hash(metrics.to_csv()) }
    }
}
