//! Records that stay in their file: where each one lies is in memory, and a batch is read when it is made.

use std::sync::Arc;

use super::source::Origin;
use super::watched::Watched;
use crate::{Error, Result};

/// Records are read and understood so many at a time.
const CHUNK: usize = 256;

/// Where the records of a file lie, in their order: twelve bytes each.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    starts: Vec<u64>,
    lengths: Vec<u32>,
}

/// Turns the bytes of records into values, as they were understood when the file was checked.
pub(super) trait Reread: std::fmt::Debug + Send + Sync {
    /// Writes the values of the records of `chunk`, one after another, to `out`, `width` each.
    fn reread(&self, chunk: &Chunk, width: usize, out: &mut [f32]) -> Result<(), Fault>;

    /// Whether records stand in lines.
    fn has_lines(&self) -> bool;
}

/// The bytes of some records.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What is wrong with which record of a chunk.
#[derive(Debug)]
pub(super) struct Fault {
    /// The record's position in the chunk.
    record: usize,
    /// The error, without its line.
    error: Box<Error>,
}

impl Fault {
    /// An error with the record at this position in the chunk.
    pub(super) fn new(record: usize, error: Error) -> Self {
        Self { record, error: Box::new(error) }
    }
}

/// The records of a file that was checked from its first line to its last and is not kept in memory.
#[derive(Debug, Clone)]
pub(super) struct OnDisk {
    file: Arc<Watched>,
    places: Places,
    reread: Arc<dyn Reread>,
}

impl Places {
    /// Adds the record from byte `start` to byte `end`.
    pub(super) fn push(&mut self, start: u64, end: u64, origin: &Origin) -> Result<()> {
        let length = end.saturating_sub(start);
        let length = u32::try_from(length)
            .map_err(|_| origin.error(format!("a record of {length} bytes"), "records below 4 GiB"))?;
        self.starts.push(start);
        self.lengths.push(length);
        Ok(())
    }

    fn of(&self, row: usize) -> (u64, u64) {
        (self.starts[row], self.starts[row] + u64::from(self.lengths[row]))
    }
}

impl Chunk {
    /// The bytes of each record.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.iter().scan(0, |start, &end| {
            let record = self.bytes.get(*start..end);
            *start = end;
            record
        })
    }
}

impl OnDisk {
    /// The records at `places` of a file that has just been read through.
    pub(super) fn new(file: Arc<Watched>, mut places: Places, reread: Arc<dyn Reread>) -> Result<Self> {
        file.check()?;
        places.starts.shrink_to_fit();
        places.lengths.shrink_to_fit();
        Ok(Self { file, places, reread })
    }

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.places.starts.len()
    }

    /// Bytes of memory the records take.
    pub(super) fn bytes(&self) -> usize {
        self.len() * (size_of::<u64>() + size_of::<u32>())
    }

    /// The named records, which must exist.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let places = Places {
            starts: rows.iter().map(|&row| self.places.starts[row]).collect(),
            lengths: rows.iter().map(|&row| self.places.lengths[row]).collect(),
        };
        Self { file: Arc::clone(&self.file), places, reread: Arc::clone(&self.reread) }
    }

    /// Appends the `width` values of each of the named records, which must exist.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not what it was; some of the values may then have been appended.
    pub(super) fn gather(&self, rows: &[usize], width: usize, out: &mut Vec<f32>) -> Result<()> {
        let from = out.len();
        out.resize(from + rows.len() * width, 0.0);
        // In the order of the file: a disk reads forwards faster.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by_key(|&at| self.places.starts[rows[at]]);
        let (mut chunk, mut values) = (Chunk::default(), Vec::new());
        for order in order.chunks(CHUNK) {
            chunk.bytes.clear();
            chunk.ends.clear();
            for &at in order {
                let (start, end) = self.places.of(rows[at]);
                self.file.append(start, end, &mut chunk.bytes)?;
                chunk.ends.push(chunk.bytes.len());
            }
            // After the reading, so that a change before it and one during it are both seen.
            self.file.check()?;
            values.clear();
            values.resize(order.len() * width, 0.0);
            self.reread.reread(&chunk, width, &mut values).map_err(|fault| self.placed(fault, &chunk, rows, order))?;
            for (&at, record) in order.iter().zip(values.chunks_exact(width)) {
                out[from + at * width..][..width].copy_from_slice(record);
            }
        }
        Ok(())
    }

    /// The error with its place in the file. Lines are counted only now.
    fn placed(&self, fault: Fault, chunk: &Chunk, rows: &[usize], order: &[usize]) -> Error {
        let (mut place, found, expected) = match *fault.error {
            Error::Data { place, found, expected } => (place, found, expected),
            other => return other,
        };
        let Some(&at) = order.get(fault.record) else { return Error::Data { place, found, expected } };
        let start = self.places.of(rows[at]).0;
        let found = if self.reread.has_lines() {
            // A record of a table may have empty lines before it.
            let record = chunk.records().nth(fault.record).unwrap_or_default();
            let empty = record.iter().take_while(|&&byte| byte == b'\n').count() as u64;
            place.line = self.file.line_at(start + empty).ok();
            found
        } else {
            format!("{found} in the record at byte {start}")
        };
        Error::Data { place, found, expected: format!("{expected}, as when the file was first read") }
    }
}
