//! The dataset: labelled records of one shape, and the assumptions under which they were read.

use std::collections::HashSet;

use super::form::{Domain, Form, Target};
use super::reading::Normalize;
use super::schema::Schema;
use super::store::Store;
use super::values::Values;
use super::width::product;
use crate::{Error, Place, Result};

/// Labelled records of one shape, in memory or, with [`Reading::on_disk`](super::Reading::on_disk), in their file.
///
/// One record is the unit of privacy. A dataset has at least one record, one feature and two classes, all its values
/// are finite and every label is the number of a class; texts for a language model have no classes, and labels of zero. It is read from a file with [`read`](super::read) or
/// [`read_like`](super::read_like), taken from [`embedded`](super::embedded) or made with [`Dataset::from_dense`].
#[derive(Debug, Clone)]
pub struct Dataset {
    name: String,
    values: Store,
    labels: Vec<u32>,
    notes: Vec<String>,
    schema: Schema,
}

impl Dataset {
    /// Makes a dataset of `labels.len()` records out of row-major `features`, each record of the given `shape`.
    ///
    /// The values are used as they are; `labels` are class numbers, indices into `classes`.
    ///
    /// # Errors
    ///
    /// When there is no record, no feature or less than two distinct classes, when `features` does not hold
    /// `labels.len()` times the product of `shape` values or one of them is not finite, or when a label is not the
    /// number of a class.
    pub fn from_dense(
        name: impl Into<String>,
        shape: &[usize],
        features: Vec<f32>,
        classes: Vec<String>,
        labels: Vec<u32>,
    ) -> Result<Self> {
        let width = product(shape)?;
        if features.len() != width.saturating_mul(labels.len()) {
            let allowed = format!("{} values: {} records of shape {shape:?}", width * labels.len(), labels.len());
            return Err(Error::value("features", format!("{} values", features.len()), allowed));
        }
        if let Some(at) = features.iter().position(|value| !value.is_finite()) {
            let (record, value) = (at / width, at % width);
            let place = format!("features[record {record}, value {value}]");
            return Err(Error::value(place, features[at], "a finite number"));
        }
        if classes.iter().collect::<HashSet<_>>().len() != classes.len() {
            return Err(Error::value("classes", format!("{classes:?}"), "names that differ from each other"));
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= classes.len()) {
            let allowed = format!("a class number less than {}", classes.len());
            return Err(Error::value(format!("labels[{at}]"), labels[at], allowed));
        }
        let schema = Schema::in_memory(shape.to_vec(), classes);
        if let Some(lack) = lack(labels.len(), width, schema.classes().len()) {
            return Err(Error::value("dataset", lack.0, lack.1));
        }
        let notes = vec![record_count_note(labels.len())];
        Ok(Self { name: name.into(), values: Values::Dense(features).into(), labels, notes, schema })
    }

    /// What a reader has put together: refused, naming the file, unless there is enough of everything.
    pub(super) fn from_file(
        place: Place,
        values: impl Into<Store>,
        labels: Vec<u32>,
        mut notes: Vec<String>,
        schema: Schema,
    ) -> Result<Self> {
        // A language model needs no classes.
        let classes = if schema.is_of_windows() { 2 } else { schema.classes().len() };
        if let Some((found, expected)) = lack(labels.len(), schema.width(), classes) {
            return Err(Error::data(place, found, expected));
        }
        let values = values.into();
        if values.records(schema.width()) != Some(labels.len()) {
            let found = format!("{:?} records of {} values", values.records(schema.width()), schema.width());
            return Err(Error::data(place, found, format!("as many as there are labels, {}", labels.len())));
        }
        notes.push(record_count_note(labels.len()));
        Ok(Self { name: stem(&place), values, labels, notes, schema })
    }

    /// A short name: the file's name without its extensions, or the embedded dataset's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of records, at least one.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never true: a dataset has at least one record. It is here because [`len`](Self::len) is.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The shape of one record: `[123]`, `[8, 8]`, `[3, 32, 32]`.
    pub fn shape(&self) -> &[usize] {
        self.schema.shape()
    }

    /// The number of values of one record, the product of its shape.
    pub fn width(&self) -> usize {
        self.schema.width()
    }

    /// What its records are and what is to be said of them: what a model for them must know.
    pub fn form(&self) -> Form {
        let domain = match self.values.tokens() {
            Some(tokens) => Domain::Tokens { vocabulary: tokens.vocabulary() },
            _ => Domain::Numbers,
        };
        let target = match self.schema.is_of_windows() {
            true => Target::NextToken,
            false => Target::Class(self.classes().len()),
        };
        Form { shape: self.shape().to_vec(), domain, target }
    }

    /// The names of the classes; a label is an index into them.
    pub fn classes(&self) -> &[String] {
        self.schema.classes()
    }

    /// The class number of each record.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The assumptions under which the records were read, each a sentence that a privacy statement must repeat.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The assumption about how many records there are.
    pub(crate) fn record_count_note(&self) -> String {
        record_count_note(self.len())
    }

    /// What another file must be read with to become records of the same meaning.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Replaces `features` by the named records, row-major `[rows.len(), width]`, and `labels` by their classes. Token ids come
    /// as the numbers they are; [`gather_tokens`](Self::gather_tokens) has them as integers.
    ///
    /// A record may be named several times, and no record at all gives an empty batch.
    ///
    /// # Errors
    ///
    /// When a row does not exist or the batch does not fit in memory; both vectors are then unchanged. When the file of records
    /// that stay on disk ([`Reading::on_disk`](super::Reading::on_disk)) cannot be read or has changed; both are then empty.
    pub fn gather(&self, rows: &[usize], features: &mut Vec<f32>, labels: &mut Vec<u32>) -> Result<()> {
        self.check_rows(rows)?;
        let width = self.width();
        let total = rows.len().saturating_mul(width);
        let refused =
            |_| Error::value("rows", rows.len(), format!("a batch that fits in memory at {width} values each"));
        features.try_reserve(total.saturating_sub(features.len())).map_err(refused)?;
        features.clear();
        labels.clear();
        if let Err(error) = self.values.gather(rows, width, features) {
            features.clear();
            return Err(error);
        }
        if self.schema.normalize() == Normalize::Record {
            features.chunks_exact_mut(width).for_each(to_unit_norm);
        }
        labels.extend(rows.iter().map(|&row| self.labels[row]));
        Ok(())
    }

    /// Bytes of memory that values and labels take.
    pub fn bytes(&self) -> usize {
        self.values.bytes() + size_of_val(&self.labels[..])
    }

    /// Replaces `tokens` by the token ids of the named records, row-major `[rows.len(), width]`, and `labels` by their classes.
    ///
    /// # Errors
    ///
    /// When a row does not exist or the records are numbers.
    pub fn gather_tokens(&self, rows: &[usize], tokens: &mut Vec<u32>, labels: &mut Vec<u32>) -> Result<()> {
        self.check_rows(rows)?;
        let Some(stored) = self.values.tokens() else {
            return Err(Error::value("records", format!("numbers of shape {:?}", self.shape()), "tokens"));
        };
        tokens.clear();
        rows.iter().for_each(|&row| tokens.extend(stored.record(row, self.width())));
        labels.clear();
        labels.extend(rows.iter().map(|&row| self.labels[row]));
        Ok(())
    }

    /// The named records as a dataset of their own, with the same schema, and the same notes but for the number of records.
    ///
    /// # Errors
    ///
    /// When no row is named, a row does not exist, or a row is named twice: the same person's record would then count
    /// twice, and a guarantee for one record would no longer cover that person.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        self.check_rows(rows)?;
        if rows.is_empty() {
            return Err(Error::value("rows", "none", "at least one record"));
        }
        let mut taken = vec![false; self.len()];
        if let Some(row) = rows.iter().find(|&&row| std::mem::replace(&mut taken[row], true)) {
            return Err(Error::value("rows", format!("{row} twice"), "each record at most once"));
        }
        let mut notes = self.notes.clone();
        let count = record_count_note(self.len());
        notes.iter_mut().filter(|note| **note == count).for_each(|note| *note = record_count_note(rows.len()));
        Ok(Self {
            name: self.name.clone(),
            values: self.values.select(rows, self.width()),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            notes,
            schema: self.schema.clone(),
        })
    }

    /// All records of several data sets that were read as the first, one after another, under the name of the first and with all
    /// notes.
    ///
    /// # Errors
    ///
    /// When there are none, or their records are not of one meaning or are not in memory.
    pub fn joined(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return Err(Error::value("data sets", 0, "at least one"));
        };
        let own = record_count_note(all.len());
        all.notes.retain(|note| *note != own);
        for part in parts {
            let width = all.width();
            let same = all.schema.mistaken_in(&part.schema).is_none() && part.width() == width;
            if !same || !all.values.append_all(part.values) {
                let allowed = format!("records as those of {}", all.name);
                return Err(Error::value("data set", part.name, allowed));
            }
            let own = record_count_note(part.labels.len());
            let new: Vec<String> =
                part.notes.into_iter().filter(|note| *note != own && !all.notes.contains(note)).collect();
            all.notes.extend(new);
            all.labels.extend(part.labels);
        }
        all.notes.push(record_count_note(all.labels.len()));
        Ok(all)
    }

    /// The same values seen as records of another shape.
    ///
    /// # Errors
    ///
    /// When the product of `shape` is not the [`width`](Self::width), or the records are tokens.
    pub fn reshape(mut self, shape: &[usize]) -> Result<Self> {
        if self.values.tokens().is_some() && shape != self.shape() {
            return Err(Error::value("shape", format!("{shape:?}"), format!("{:?}, as tokens have", self.shape())));
        }
        if product(shape)? != self.width() {
            let allowed = format!("a shape of {} values, as {:?} has", self.width(), self.shape());
            return Err(Error::value("shape", format!("{shape:?}"), allowed));
        }
        self.schema.set_shape(shape.to_vec());
        Ok(self)
    }

    /// The same dataset under another name and with further notes.
    pub(super) fn described(mut self, name: &str, notes: impl IntoIterator<Item = String>) -> Self {
        self.name = name.to_owned();
        self.notes.extend(notes);
        self
    }

    fn check_rows(&self, rows: &[usize]) -> Result<()> {
        match rows.iter().find(|&&row| row >= self.len()) {
            Some(row) => {
                Err(Error::value("row", row, format!("0 to {}, the records of {}", self.len() - 1, self.name)))
            }
            None => Ok(()),
        }
    }
}

/// What there is too little of, and what is needed.
fn lack(records: usize, width: usize, classes: usize) -> Option<(String, String)> {
    if records == 0 {
        Some(("no records".into(), "at least one record".into()))
    } else if width == 0 {
        Some(("no features".into(), "at least one feature besides the label".into()))
    } else if classes < 2 {
        Some((format!("{classes} class"), "at least two classes, seen in the data or declared with --classes".into()))
    } else {
        None
    }
}

fn record_count_note(records: usize) -> String {
    format!("the number of records, {records}, is treated as public")
}

/// The file's name up to its last extension, `.gz` not counted.
fn stem(place: &Place) -> String {
    let name = place.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.') {
        Some((stem, "csv" | "tsv" | "txt" | "tokens" | "data" | "libsvm" | "svm" | "idx" | "bin"))
            if !stem.is_empty() =>
        {
            stem.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// Scales a record to Euclidean norm one; a record of zeros stays as it is. The norm is taken in `f64`, where the
/// squares of finite `f32` values can neither overflow nor vanish.
fn to_unit_norm(record: &mut [f32]) {
    let norm = record.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if norm > 0.0 {
        record.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
}
