//! The body of a CSV file: rows into columns and labels, when the file is read and when a record of it is read again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::classes::Classes;
use super::columns::{ColumnReader, Features, Finished};
use super::on_disk::{Chunk, Fault, OnDisk, Places, Reread};
use super::one_hot;
use super::quote::quoted;
use super::rows::{Row, Rows};
use super::schema::{Column, Kind};
use super::source::Origin;
use super::store::Store;
use super::watched::Watched;
use crate::{Error, Place, Result};

/// Of a file whose records stay on disk, the cells of so many are in memory at a time while it is checked.
const BETWEEN_FORGETTING: usize = 1024;

/// The records while they are read.
#[derive(Debug)]
pub(super) struct Body {
    origin: Origin,
    pub(super) columns: Vec<ColumnReader>,
    label: usize,
    missing: Vec<String>,
    pub(super) classes: Classes,
    pub(super) labels: Vec<u32>,
    /// Where the records lie, if they stay in their file.
    places: Option<Places>,
}

impl Body {
    /// No records yet; `label` is the position of the label among the `columns`.
    pub(super) fn new(
        origin: &Origin,
        columns: Vec<ColumnReader>,
        label: usize,
        missing: &[String],
        classes: Classes,
    ) -> Self {
        let (origin, missing) = (origin.clone(), missing.to_vec());
        Self { origin, columns, label, missing, classes, labels: Vec::new(), places: None }
    }

    /// Takes in the rows `ahead`, then the others. With `stay`, where they lie is kept in place of their cells.
    pub(super) fn read(&mut self, rows: &mut Rows, ahead: VecDeque<Row>, stay: bool) -> Result<()> {
        self.places = stay.then(Places::default);
        for row in &ahead {
            self.record(row)?;
        }
        let mut row = Row::default();
        while rows.next(&mut row)? {
            self.record(&row)?;
        }
        if self.labels.is_empty() {
            return Err(self.origin.error("a header and no records", "at least one record"));
        }
        Ok(())
    }

    fn record(&mut self, row: &Row) -> Result<()> {
        self.push(row)?;
        if let Some(places) = &mut self.places {
            places.push(row.start, row.end, &self.origin)?;
            if self.labels.len().is_multiple_of(BETWEEN_FORGETTING) {
                self.columns.iter_mut().for_each(|column| drop(column.take()));
            }
        }
        Ok(())
    }

    /// Where the records lie, if they stay in their file. To be taken once.
    pub(super) fn take_places(&mut self) -> Option<Places> {
        self.places.take()
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        if row.len() != self.columns.len() {
            let way_out = if self.labels.len() < 2 { "; `--skip-lines N` leaves out the first N lines" } else { "" };
            let expected = format!("{}, as the file's first row has{way_out}", self.columns.len());
            return Err(Error::data(self.origin.line(row.line), format!("{} cells", row.len()), expected));
        }
        for (at, (cell, column)) in row.cells().zip(&mut self.columns).enumerate() {
            if at == self.label {
                let place = || Place::cell(self.origin.path(), row.line, column.name());
                let missing = cell.is_empty() || self.missing.iter().any(|word| word == cell);
                if missing && !self.classes.declares(cell) {
                    let found = format!("{}, a missing label", quoted(cell));
                    return Err(Error::data(place(), found, "a label for every record"));
                }
                let code = self.classes.code(cell).ok_or_else(|| {
                    let expected = format!("one of the classes {}", self.classes.list());
                    Error::data(place(), format!("the label {}", quoted(cell)), expected)
                })?;
                self.labels.push(code);
            } else {
                column.push(cell, &self.missing, row.line, &self.origin)?;
            }
        }
        Ok(())
    }
}

/// How the records of a CSV file are laid out, as far as a record that is read again must know.
pub(super) struct Layout<'a> {
    pub(super) origin: &'a Origin,
    pub(super) delimiter: char,
    pub(super) label: usize,
    pub(super) missing: &'a [String],
    pub(super) classes: &'a [String],
}

/// The values of finished columns: in memory, or where they are in the file that was watched while it was read.
pub(super) fn store(
    finished: &[Finished],
    records: usize,
    disk: Option<(Arc<Watched>, Places)>,
    layout: &Layout<'_>,
    reread: impl Fn(&Column) -> Result<ColumnReader>,
) -> Result<Store> {
    let width = one_hot::width(finished, layout.origin)?;
    let Some((file, places)) = disk else {
        return Ok(one_hot::values(finished, records, width).into());
    };
    let columns = finished.iter().map(|column| reread(&column.column)).collect::<Result<Vec<_>>>()?;
    let classes = Classes::new(Some(layout.classes))?;
    let again = Again {
        delimiter: layout.delimiter,
        origin: layout.origin.clone(),
        widths: finished.iter().map(|column| column.column.kind.width()).collect(),
        body: Mutex::new(Body::new(layout.origin, columns, layout.label, layout.missing, classes)),
    };
    Ok(OnDisk::new(file, places, Arc::new(again))?.into())
}

/// The reader of a column of a training file that is read again: what was seen is now all there is.
pub(super) fn as_seen(column: &Column) -> Result<ColumnReader> {
    let mut column = column.clone();
    if let Kind::Categorical { declared, .. } = &mut column.kind {
        *declared = true;
    }
    ColumnReader::like(&column)
}

/// Reads records again.
#[derive(Debug)]
struct Again {
    delimiter: char,
    origin: Origin,
    widths: Vec<usize>,
    /// One batch at a time: the tables of categories are not made anew for each.
    body: Mutex<Body>,
}

impl Reread for Again {
    fn reread(&self, chunk: &Chunk, width: usize, out: &mut [f32]) -> Result<(), Fault> {
        // The reader takes a byte order mark off what it reads first: that is an empty line here, and no record of its company's place.
        let (mut bytes, mut ends) = (vec![b'\n'], Vec::new());
        for record in chunk.records() {
            bytes.extend_from_slice(record);
            // The last line of the file may have no end.
            if !record.ends_with(b"\n") {
                bytes.push(b'\n');
            }
            ends.push(bytes.len() as u64);
        }
        // A batch that failed has left a part of it behind, which is taken out first.
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.labels.clear();
        body.columns.iter_mut().for_each(|column| drop(column.take()));
        let mut rows = Rows::again(&self.origin, self.delimiter, bytes);
        let mut row = Row::default();
        for (record, &end) in ends.iter().enumerate() {
            let fault = |error| Fault::new(record, error);
            let there = rows.next(&mut row).map_err(fault)?;
            if !there || row.end != end {
                return Err(fault(self.origin.error("something that is not one row", "one row")));
            }
            body.push(&row).map_err(fault)?;
        }
        let features: Vec<Features> = body.columns.iter_mut().map(ColumnReader::take).collect();
        for (record, out) in out.chunks_exact_mut(width).enumerate() {
            let columns = features.iter().zip(self.widths.iter().copied());
            one_hot::entries_of(columns, record, |at, value| out[at] = value);
        }
        Ok(())
    }

    fn has_lines(&self) -> bool {
        true
    }
}
