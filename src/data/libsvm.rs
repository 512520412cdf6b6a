//! LIBSVM text: `label index:value index:value ...`, indices from one and increasing, values left out being zero.
//!
//! Source: C.-C. Chang, C.-J. Lin, "LIBSVM: a library for support vector machines", README, section "`svm-train` usage".

use std::io::BufRead;
use std::sync::Arc;

use super::classes::{Classes, too_many};
use super::dataset::Dataset;
use super::notes;
use super::on_disk::{Chunk, Fault, OnDisk, Places, Reread};
use super::quote::quoted;
use super::range::{Scale, stored};
use super::reading::{Format, Normalize, Reading};
use super::schema::Schema;
use super::source::{Origin, Source};
use super::store::Store;
use super::values::{Sparse, Values};
use super::watched::Watched;
use super::width::MAX_WIDTH;
use crate::{Error, Result};

/// Reads the records of `source`.
pub(super) fn read(source: Source, reading: &Reading) -> Result<Dataset> {
    let origin = source.origin().clone();
    let declared = reading.declared_width()?;
    let scale = reading.range.map(Scale::new).transpose()?;
    let file = source.file();
    let mut rows = Rows::new(&origin, Classes::new(reading.classes.as_deref())?, declared, scale);
    let places = rows.read(source, "the declared")?;
    let mut notes = Vec::new();
    let width = declared.unwrap_or(rows.largest);
    if declared.is_none() {
        notes.push(format!(
            "the number of features, {width}, is the largest index seen in the data, not declared: it is not privatised"
        ));
    }
    let Rows { mut labels, values, classes, .. } = rows;
    let classes = classes.finish(&mut labels, &mut notes).map_err(|seen| {
        let (found, expected) = too_many(seen);
        origin.error(found, expected)
    })?;
    notes.extend(notes_on_values(scale, reading.normalize));
    let shape = reading.shape.clone().unwrap_or_else(|| vec![width]);
    let schema = Schema::of_file(Format::Libsvm, shape, classes, reading.range, reading.normalize);
    let values = store(values, file.zip(places), &origin, &schema)?;
    Dataset::from_file(origin.place(), values, labels, notes, schema)
}

/// Reads the records of `source` as those of `schema` were read.
pub(super) fn read_like(source: Source, schema: &Schema) -> Result<Dataset> {
    let origin = source.origin().clone();
    let scale = schema.range().map(Scale::new).transpose()?;
    let file = source.file();
    let mut rows = Rows::new(&origin, Classes::new(Some(schema.classes()))?, Some(schema.width()), scale);
    let places = rows.read(source, "the training file's")?;
    let notes = notes_on_values(scale, schema.normalize());
    let values = store(rows.values, file.zip(places), &origin, schema)?;
    Dataset::from_file(origin.place(), values, rows.labels, notes, schema.clone())
}

/// The values: in memory, or where they are in the file that was watched while it was read.
fn store(values: Sparse, disk: Option<(Arc<Watched>, Places)>, origin: &Origin, schema: &Schema) -> Result<Store> {
    let Some((file, places)) = disk else { return Ok(Values::Sparse(values).into()) };
    let lines = Lines {
        origin: origin.clone(),
        classes: schema.classes().to_vec(),
        scale: schema.range().map(Scale::new).transpose()?,
    };
    Ok(OnDisk::new(file, places, Arc::new(lines))?.into())
}

/// Reads records again.
#[derive(Debug)]
struct Lines {
    origin: Origin,
    classes: Vec<String>,
    scale: Option<Scale>,
}

impl Reread for Lines {
    fn reread(&self, chunk: &Chunk, width: usize, out: &mut [f32]) -> Result<(), Fault> {
        let classes = Classes::new(Some(&self.classes)).map_err(|error| Fault::new(0, error))?;
        let mut rows = Rows::new(&self.origin, classes, Some(width), self.scale);
        for (record, line) in chunk.records().enumerate() {
            let fault = |error| Fault::new(record, error);
            rows.line(line, 1, "the file's").map_err(fault)?;
            if rows.labels.len() != record + 1 {
                return Err(fault(self.origin.error("a line without a record", "a record")));
            }
        }
        let (values, mut record) = (Values::Sparse(rows.values), Vec::with_capacity(width));
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            record.clear();
            values.append(row, width, &mut record);
            out.copy_from_slice(&record);
        }
        Ok(())
    }

    fn has_lines(&self) -> bool {
        true
    }
}

fn notes_on_values(scale: Option<Scale>, normalize: Normalize) -> Vec<String> {
    let values = match scale {
        Some(scale) => Some(notes::scaled("the values", scale)),
        None => (normalize == Normalize::None).then(|| notes::unscaled("the values")),
    };
    values.into_iter().chain(notes::normalized(normalize)).collect()
}

/// The rows read so far.
struct Rows<'a> {
    origin: &'a Origin,
    classes: Classes,
    width: Option<usize>,
    scale: Option<Scale>,
    labels: Vec<u32>,
    values: Sparse,
    largest: usize,
}

impl<'a> Rows<'a> {
    fn new(origin: &'a Origin, classes: Classes, width: Option<usize>, scale: Option<Scale>) -> Self {
        // A value that is left out is zero, which a public range may map to something else.
        let fill = scale.map_or(0.0, |scale| scale.apply(0.0));
        Self { origin, classes, width, scale, labels: Vec::new(), values: Sparse::new(fill), largest: 0 }
    }

    /// Takes in every line. Where the records lie comes back if they are to stay in their file; then their values are not kept.
    fn read(&mut self, source: Source, whose_width: &str) -> Result<Option<Places>> {
        let mut places = source.file().map(|_| Places::default());
        let mut end = source.start();
        let mut stream = source.into_stream();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if stream.read_until(b'\n', &mut line).map_err(|error| self.origin.fault(error))? == 0 {
                break;
            }
            let (start, records) = (end, self.labels.len());
            end += line.len() as u64;
            self.line(&line, number, whose_width)?;
            if let Some(places) = &mut places
                && self.labels.len() > records
            {
                places.push(start, end, self.origin)?;
                self.values.clear();
            }
        }
        Ok(places)
    }

    fn line(&mut self, line: &[u8], number: u64, whose_width: &str) -> Result<()> {
        let text = std::str::from_utf8(line).map_err(|error| {
            let found = format!("a byte that is not UTF-8 text, {:#04x}", line[error.valid_up_to()]);
            Error::data(self.origin.line(number), found, "UTF-8 text")
        })?;
        let row = text.split('#').next().unwrap_or_default();
        self.row(row, number, whose_width)
    }

    fn row(&mut self, row: &str, line: u64, whose_width: &str) -> Result<()> {
        let refuse = |found: String, expected: String| Err(Error::data(self.origin.line(line), found, expected));
        let mut words = row.split_ascii_whitespace();
        let Some(label) = words.next() else {
            return Ok(());
        };
        if !label.parse::<f64>().is_ok_and(f64::is_finite) {
            let several = label.contains(',') && label.split(',').all(|part| part.parse::<f64>().is_ok());
            let expected = if several { "one label: a record of several classes is not supported" } else { "a number" };
            return refuse(format!("the label {}", quoted(label)), expected.into());
        }
        let Some(code) = self.classes.code(label) else {
            return refuse(
                format!("the label {}", quoted(label)),
                format!("one of the classes {}", self.classes.list()),
            );
        };
        let mut last = 0;
        for word in words {
            let Some((index, value)) = word.split_once(':') else {
                return refuse(quoted(word), "index:value".into());
            };
            if index == "qid" {
                let expected = "no query groups: ranking is not supported, and a group would be the unit of privacy";
                return refuse(quoted(word), expected.into());
            }
            let index = match index.parse::<usize>() {
                Ok(0) => return refuse(format!("the index 0 in {}", quoted(word)), "indices that count from 1".into()),
                Ok(index) if index <= MAX_WIDTH => index,
                Ok(index) => return refuse(format!("the index {index}"), format!("an index up to {MAX_WIDTH}")),
                Err(_) => return refuse(format!("the index {}", quoted(index)), "a whole number, at least 1".into()),
            };
            if index <= last {
                return refuse(format!("the index {index} after {last}"), "indices that increase within a line".into());
            }
            if let Some(width) = self.width.filter(|&width| index > width) {
                let expected = format!("an index up to {width}, {whose_width} number of features (--width)");
                return refuse(format!("the index {index}"), expected);
            }
            last = index;
            match value.parse::<f64>().ok().and_then(|value| stored(value, self.scale)) {
                // The index is at most MAX_WIDTH, so it fits.
                Some(value) => self.values.push((index - 1) as u32, value),
                None => {
                    return refuse(format!("the value {} of index {index}", quoted(value)), "a finite number".into());
                }
            }
        }
        self.largest = self.largest.max(last);
        self.values.end_row();
        self.labels.push(code);
        Ok(())
    }
}
