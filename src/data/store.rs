//! Where the values of a dataset are: in memory, or still in their file.

use super::on_disk::OnDisk;
use super::tokens::Tokens;
use super::values::Values;
use crate::Result;

/// The values of some records; the width of a record is kept by the owner.
#[derive(Debug, Clone)]
pub(super) enum Store {
    /// In memory.
    Memory(Values),
    /// In the file they were found in.
    Disk(OnDisk),
}

impl From<Values> for Store {
    fn from(values: Values) -> Self {
        Self::Memory(values)
    }
}

impl From<OnDisk> for Store {
    fn from(records: OnDisk) -> Self {
        Self::Disk(records)
    }
}

impl Store {
    /// The number of records of `width` values; `None` where the values do not divide into records.
    pub(super) fn records(&self, width: usize) -> Option<usize> {
        match self {
            Self::Memory(values) => values.records(width),
            Self::Disk(records) => Some(records.len()),
        }
    }

    /// The token ids, where the records are texts.
    pub(super) fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::Memory(Values::Tokens(tokens)) => Some(tokens),
            _ => None,
        }
    }

    /// Appends all records of another store, if both are in memory and of one kind; otherwise nothing.
    #[must_use]
    pub(super) fn append_all(&mut self, other: Self) -> bool {
        match (self, other) {
            (Self::Memory(own), Self::Memory(other)) => own.append_all(other),
            _ => false,
        }
    }

    /// Bytes of memory the records take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Memory(values) => values.bytes(),
            Self::Disk(records) => records.bytes(),
        }
    }

    /// Appends the `width` values of each of the named records, which must exist.
    pub(super) fn gather(&self, rows: &[usize], width: usize, out: &mut Vec<f32>) -> Result<()> {
        match self {
            Self::Memory(values) => rows.iter().for_each(|&row| values.append(row, width, out)),
            Self::Disk(records) => records.gather(rows, width, out)?,
        }
        Ok(())
    }

    /// The named records, which must exist, stored in the same way.
    pub(super) fn select(&self, rows: &[usize], width: usize) -> Self {
        match self {
            Self::Memory(values) => Self::Memory(values.select(rows, width)),
            Self::Disk(records) => Self::Disk(records.select(rows)),
        }
    }
}
