//! metrics.csv: a row for each entry of the journal, written while the run goes on and read again by whoever shows it.

use crate::whole_file::{self, Readers};
use crate::{Error, Place, Result};
use serde::Deserialize;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What was known after a step. What comes from gradients is over the steps since the row before. All but step and epsilon come
/// from private records.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Row {
    /// Steps done.
    pub step: u32,
    /// The epsilon spent until then, rounded up.
    pub epsilon_upper: f64,
    /// Examples sampled.
    #[serde(rename = "examples_not_private")]
    pub examples: usize,
    /// The share of them whose gradient was scaled down.
    #[serde(rename = "clipped_fraction_not_private")]
    pub clipped_fraction: f64,
    /// The mean norm of finite gradients before clipping.
    #[serde(rename = "mean_gradient_norm_not_private")]
    pub mean_gradient_norm: f64,
    /// The share of test records classified rightly by the parameters as stepped, where it was measured.
    pub test_accuracy: Option<f64>,
    /// Their mean cross-entropy, where it was measured and is finite.
    pub test_loss: Option<f64>,
    /// The norm that 10 % of the gradients do not exceed, as a multiple of the clip norm; none without gradients.
    #[serde(rename = "norm_over_clip_p10_not_private")]
    pub norm_p10: Option<f64>,
    /// The same for 50 %.
    #[serde(rename = "norm_over_clip_p50_not_private")]
    pub norm_p50: Option<f64>,
    /// The same for 90 %.
    #[serde(rename = "norm_over_clip_p90_not_private")]
    pub norm_p90: Option<f64>,
}

const HEADER: &str = "step,epsilon_upper,examples_not_private,clipped_fraction_not_private,mean_gradient_norm_not_private,\
                      test_accuracy,test_loss,norm_over_clip_p10_not_private,norm_over_clip_p50_not_private,\
                      norm_over_clip_p90_not_private\n";

impl Row {
    /// The line of the file, its end included.
    fn to_line(&self) -> String {
        let Self { step, epsilon_upper, examples, clipped_fraction, mean_gradient_norm, .. } = self;
        let mut line = format!("{step},{epsilon_upper},{examples},{clipped_fraction},{mean_gradient_norm}");
        for value in [self.test_accuracy, self.test_loss, self.norm_p10, self.norm_p50, self.norm_p90] {
            line.push(',');
            line += &value.map_or_else(String::new, |value| value.to_string());
        }
        line + "\n"
    }
}

/// All rows of a run, in the order of its steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    rows: Vec<Row>,
}

impl Metrics {
    /// From the rows.
    pub fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// From the text of the file at `path`, which is named in errors.
    ///
    /// # Errors
    /// Naming the line that is not a row.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(text);
        let rows = reader.deserialize().collect::<std::result::Result<_, csv::Error>>();
        let rows = rows.map_err(|error| {
            let place = error.position().map_or_else(|| Place::file(path), |at| Place::line(path, at.line()));
            Error::data(place, error.to_string(), "the metrics of a run as this version of dpsgd train writes them")
        })?;
        Ok(Self { rows })
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The content of the file.
    pub fn to_csv(&self) -> String {
        let lines = self.rows.iter().map(Row::to_line);
        std::iter::once(HEADER.to_string()).chain(lines).collect()
    }
}

/// metrics.csv of a run that goes on. Its owner alone may read it: most of its columns are not private.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
}

impl MetricsFile {
    /// The file with these rows and no others; without rows there is no file until one is added.
    pub(super) fn new(path: PathBuf, metrics: &Metrics) -> Result<Self> {
        if !metrics.rows().is_empty() {
            whole_file::write(&path, metrics.to_csv().as_bytes(), Readers::Owner)?;
        } else if path.exists() {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(Self { path })
    }

    /// Adds a row, there for whoever looks.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add(&self, row: &Row) -> Result<()> {
        let failed = Error::io("write to", &self.path);
        let opened = whole_file::options(Readers::Owner).append(true).create(true).open(&self.path);
        let added = opened.and_then(|mut file| {
            let header = if file.metadata()?.len() == 0 { HEADER } else { "" };
            file.write_all((header.to_string() + &row.to_line()).as_bytes())?;
            file.flush()
        });
        added.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u32, test_accuracy: Option<f64>) -> Row {
        Row {
            step,
            epsilon_upper: 0.1 + f64::from(step),
            examples: 7,
            clipped_fraction: 1.0 / 3.0,
            mean_gradient_norm: 2e-9,
            test_accuracy,
            test_loss: None,
            norm_p10: Some(0.5),
            norm_p50: None,
            norm_p90: Some(f64::INFINITY),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let metrics = Metrics::new(vec![row(1, None), row(2, Some(0.9))]);
        assert_eq!(Metrics::parse(metrics.to_csv().as_bytes(), Path::new("metrics.csv")).unwrap(), metrics);
        assert_eq!(Metrics::parse(HEADER.as_bytes(), Path::new("metrics.csv")).unwrap(), Metrics::default());
        let broken = metrics.to_csv().replace("\n2,", "\ntwo,");
        let error = Metrics::parse(broken.as_bytes(), Path::new("metrics.csv")).unwrap_err().to_string();
        assert!(error.starts_with("metrics.csv:3: "), "{error}");
    }

    #[test]
    fn rows_added_one_by_one_make_the_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.csv");
        let file = MetricsFile::new(path.clone(), &Metrics::default()).unwrap();
        assert!(!path.exists());
        let rows = vec![row(1, Some(0.5)), row(2, None)];
        rows.iter().for_each(|row| file.add(row).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), Metrics::new(rows.clone()).to_csv());
        // Going on from a checkpoint of the first row: what was added after it goes away, and comes again once.
        let again = MetricsFile::new(path.clone(), &Metrics::new(rows[..1].to_vec())).unwrap();
        again.add(&rows[1]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), Metrics::new(rows).to_csv());
        MetricsFile::new(path.clone(), &Metrics::default()).unwrap();
        assert!(!path.exists());
    }
}
