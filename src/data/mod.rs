//! Datasets: labelled records and the files they are read from.
//!
//! ```text
//! file -> source (unpack) -> sniff (which format) -> idx | libsvm | csv | cifar | text -> Dataset (values + labels + notes + Schema)
//! Reading: what is declared, so public.          Schema: what a second file must be read with.
//! ```
//!
//! Nothing is ever learnt from the data in silence. What is not declared in a [`Reading`] but seen in the file, such as
//! the class labels or the categories of a column, becomes a sentence in [`Dataset::notes`], and every scaling uses a
//! declared public range or one record alone, never a statistic of all of them.
//!
//! ```
//! let (train, test) = dpsgd::data::embedded::optdigits()?;
//! assert_eq!((train.len(), test.len(), train.shape()), (3_823, 1_797, &[8, 8][..]));
//!
//! let (mut features, mut labels) = (Vec::new(), Vec::new());
//! train.gather(&[0, 1, 7], &mut features, &mut labels)?;
//! assert_eq!(features.len(), 3 * train.width());
//! # Ok::<(), dpsgd::Error>(())
//! ```

mod agreement;
mod body;
mod cifar;
mod classes;
mod columns;
mod csv;
mod dataset;
pub mod embedded;
mod foreign;
mod form;
mod idx;
mod inspection;
mod label;
mod libsvm;
mod notes;
mod on_disk;
mod one_hot;
mod partition;
mod quote;
mod range;
mod reading;
mod rows;
mod rules;
mod schema;
mod sniff;
mod source;
mod store;
mod suggest;
mod text;
mod tokens;
mod values;
mod vocabulary;
mod watched;
mod width;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::path::Path;

pub use cifar::{Cifar10, read_cifar10};
pub use dataset::Dataset;
pub use form::{Domain, Form, Target};
pub use inspection::{ColumnInspection, FirstRecord, Inspection};
pub use label::Label;
pub use partition::{Concentration, Partition, Share};
pub use reading::{Format, Header, Normalize, Reading, parse_delimiter};
pub use rules::{ColumnRule, RangeRule, Treatment};
pub use schema::Schema;
use source::Source;
pub use suggest::Suggestion;
pub use vocabulary::Vocabulary;

use crate::{Error, Result};

/// Reads a file of labelled records as `reading` declares. A gzip'd file is unpacked on the way.
///
/// # Errors
///
/// When the file cannot be read, is not what its format or the declarations say, or holds too little to learn from: the
/// error names the file, the line and the column.
pub fn read(path: &Path, reading: &Reading) -> Result<Dataset> {
    let source = open(path, reading.on_disk)?;
    let format = match reading.format {
        Some(format) => format,
        None => {
            foreign::refuse(&source)?;
            sniff::format(source.head())
        }
    };
    // Other readers refuse what is not in their format; to this one every byte can be a token.
    if format == Format::Text {
        foreign::refuse(&source)?;
    }
    reading.check_applies_to(format)?;
    match format {
        Format::Idx => idx::read(source, reading),
        Format::Libsvm => libsvm::read(source, reading),
        Format::Csv => csv::read(source, reading),
        Format::Cifar10 => cifar::read(vec![source], reading),
        Format::Text => text::read(source, reading),
    }
}

fn open(path: &Path, on_disk: bool) -> Result<Source> {
    if on_disk { Source::on_disk(path) } else { Source::open(path) }
}

/// Reads another file, say the test records, exactly as the one that `schema` describes was read: the same classes,
/// columns, categories, ranges and width. `labels` is the label file of an IDX file, found by its name if absent.
///
/// A category that the training file does not have becomes all zeros, counted in the notes, if the categories were seen
/// there, and is an error if they were declared.
///
/// # Errors
///
/// As [`read`]; also when the schema is of records made in memory, a label is not one of the classes, or the file has
/// other columns, other elements or a larger index.
pub fn read_like(path: &Path, labels: Option<&Path>, schema: &Schema) -> Result<Dataset> {
    like(path, labels, schema, false)
}

/// The same, the records staying in the file, as with [`Reading::on_disk`].
///
/// # Errors
///
/// As [`read_like`]; also when the file is gzip'd or its format is that of CIFAR-10.
pub fn read_like_on_disk(path: &Path, labels: Option<&Path>, schema: &Schema) -> Result<Dataset> {
    like(path, labels, schema, true)
}

/// Which formats can stay on disk.
const ON_DISK: &str = "absent: only CSV, LIBSVM and IDX files can stay on disk";

fn like(path: &Path, labels: Option<&Path>, schema: &Schema, on_disk: bool) -> Result<Dataset> {
    if let (Some(labels), false) = (labels, schema.format() == Some(Format::Idx)) {
        return Err(Error::value("labels", labels.display(), "only with the format idx"));
    }
    let source = open(path, on_disk)?;
    if on_disk && (schema.text().is_some() || schema.format() == Some(Format::Cifar10)) {
        return Err(Error::value("on_disk", "given", ON_DISK));
    }
    if let Some(text) = schema.text() {
        foreign::refuse(&source)?;
        return text::read_like(source, schema, text);
    }
    match (schema.format(), schema.table()) {
        (Some(Format::Idx), _) => idx::read_like(source, labels, schema),
        (Some(Format::Libsvm), _) => libsvm::read_like(source, schema),
        (Some(Format::Csv), Some(table)) => csv::read_like(source, schema, table),
        (Some(Format::Cifar10), _) => cifar::read_like(source, schema),
        _ => Err(Error::value("schema", "of records made in memory", "the schema of records read from a file")),
    }
}
