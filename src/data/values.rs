//! How the values of a dataset lie in memory: bytes, floats, only what differs from a fill value, or tokens.

use super::tokens::Tokens;

/// The records' values, row-major; the width of a record is kept by the owner.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// One byte a value and what each byte stands for: images take a quarter of the memory of floats.
    Bytes { bytes: Vec<u8>, table: Box<[f32; 256]> },
    /// One float a value.
    Dense(Vec<f32>),
    /// Only the values that differ from `Sparse::fill`.
    Sparse(Sparse),
    /// Token ids.
    Tokens(Tokens),
}

/// Compressed sparse rows. Row `i` holds the entries `starts[i]..starts[i + 1]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sparse {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    fill: f32,
}

impl Sparse {
    /// No rows yet; a value that is not stored is `fill`.
    pub(super) fn new(fill: f32) -> Self {
        Self { starts: vec![0], columns: Vec::new(), values: Vec::new(), fill }
    }

    /// Adds a value to the row that is being written, unless it is the fill value.
    pub(super) fn push(&mut self, column: u32, value: f32) {
        if value != self.fill {
            self.columns.push(column);
            self.values.push(value);
        }
    }

    /// Forgets all rows; the memory stays for others.
    pub(super) fn clear(&mut self) {
        self.starts.truncate(1);
        self.columns.clear();
        self.values.clear();
    }

    /// Closes the row that is being written.
    pub(super) fn end_row(&mut self) {
        self.starts.push(self.columns.len());
    }

    fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let entries = self.starts[row]..self.starts[row + 1];
        self.columns[entries.clone()].iter().copied().zip(self.values[entries].iter().copied())
    }
}

impl Values {
    /// The number of records of `width` values; `None` where the values do not divide into records.
    pub(super) fn records(&self, width: usize) -> Option<usize> {
        let count = match self {
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Dense(values) => values.len(),
            Self::Sparse(sparse) => return Some(sparse.starts.len() - 1),
            Self::Tokens(tokens) => return Some(tokens.records()),
        };
        (width > 0 && count.is_multiple_of(width)).then(|| count / width)
    }

    /// Bytes of memory the values take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Dense(values) => size_of_val(&values[..]),
            Self::Sparse(sparse) => {
                size_of_val(&sparse.starts[..]) + size_of_val(&sparse.columns[..]) + size_of_val(&sparse.values[..])
            }
            Self::Tokens(tokens) => tokens.bytes(),
        }
    }

    /// Appends the `width` values of record `row`, which must exist.
    pub(super) fn append(&self, row: usize, width: usize, out: &mut Vec<f32>) {
        match self {
            Self::Bytes { bytes, table } => {
                out.extend(bytes[row * width..][..width].iter().map(|&byte| table[usize::from(byte)]));
            }
            Self::Dense(values) => out.extend_from_slice(&values[row * width..][..width]),
            Self::Sparse(sparse) => {
                let start = out.len();
                out.resize(start + width, sparse.fill);
                let record = &mut out[start..];
                sparse.row(row).for_each(|(column, value)| record[column as usize] = value);
            }
            // Ids are below 2^24, so that a float holds them.
            Self::Tokens(tokens) => out.extend(tokens.record(row, width).map(|id| id as f32)),
        }
    }

    /// Appends all records of others that are stored in the same way; otherwise nothing.
    #[must_use]
    pub(super) fn append_all(&mut self, other: Self) -> bool {
        match (self, other) {
            (Self::Bytes { bytes, table }, Self::Bytes { bytes: others, table: same }) if *table == same => {
                bytes.extend(others);
            }
            (Self::Dense(values), Self::Dense(others)) => values.extend(others),
            (Self::Sparse(sparse), Self::Sparse(others)) if sparse.fill == others.fill => {
                for row in 0..others.starts.len() - 1 {
                    others.row(row).for_each(|(column, value)| sparse.push(column, value));
                    sparse.end_row();
                }
            }
            (Self::Tokens(tokens), Self::Tokens(others)) => return tokens.append_all(&others),
            _ => return false,
        }
        true
    }

    /// The named records, which must exist, stored in the same way.
    pub(super) fn select(&self, rows: &[usize], width: usize) -> Self {
        match self {
            Self::Bytes { bytes, table } => {
                let selected = rows.iter().flat_map(|&row| &bytes[row * width..][..width]).copied().collect();
                Self::Bytes { bytes: selected, table: table.clone() }
            }
            Self::Dense(values) => {
                Self::Dense(rows.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect())
            }
            Self::Sparse(sparse) => {
                let mut selected = Sparse::new(sparse.fill);
                for &row in rows {
                    sparse.row(row).for_each(|(column, value)| selected.push(column, value));
                    selected.end_row();
                }
                Self::Sparse(selected)
            }
            Self::Tokens(tokens) => Self::Tokens(tokens.select(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three records of two values, (0, 1), (2, 0), (0, 0), in each kind of storage.
    fn all_kinds() -> [Values; 4] {
        let mut sparse = Sparse::new(0.0);
        for record in [[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]] {
            (0u32..).zip(record).for_each(|(column, value)| sparse.push(column, value));
            sparse.end_row();
        }
        let table = Box::new(std::array::from_fn(|byte| byte as f32));
        let mut tokens = Tokens::new(4);
        [[0, 1], [2, 0], [0, 0]].iter().for_each(|record| tokens.push(record));
        [
            Values::Bytes { bytes: vec![0, 1, 2, 0, 0, 0], table },
            Values::Dense(vec![0.0, 1.0, 2.0, 0.0, 0.0, 0.0]),
            Values::Sparse(sparse),
            Values::Tokens(tokens),
        ]
    }

    #[test]
    fn every_storage_gives_the_same_records() {
        for values in all_kinds() {
            assert_eq!(values.records(2), Some(3));
            let mut out = Vec::new();
            [1, 0, 2].iter().for_each(|&row| values.append(row, 2, &mut out));
            assert_eq!(out, [2.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
            let selected = values.select(&[2, 1], 2);
            out.clear();
            [0, 1].iter().for_each(|&row| selected.append(row, 2, &mut out));
            assert_eq!(out, [0.0, 0.0, 2.0, 0.0]);
        }
    }

    #[test]
    fn records_of_one_kind_are_appended_and_others_are_not() {
        for (place, values) in all_kinds().into_iter().enumerate() {
            for (other, others) in all_kinds().into_iter().enumerate() {
                let mut all = values.clone();
                assert_eq!(all.append_all(others), place == other, "{place} {other}");
                if place == other {
                    let mut out = Vec::new();
                    (0..6).for_each(|row| all.append(row, 2, &mut out));
                    assert_eq!((all.records(2), out), (Some(6), [0.0, 1.0, 2.0, 0.0, 0.0, 0.0].repeat(2)));
                } else {
                    assert_eq!(all, values);
                }
            }
        }
    }

    #[test]
    fn what_is_not_stored_is_the_fill_value() {
        let mut sparse = Sparse::new(0.5);
        sparse.push(0, 0.5);
        sparse.push(1, 0.0);
        sparse.end_row();
        assert_eq!(sparse.values, [0.0]);
        let mut out = Vec::new();
        Values::Sparse(sparse).append(0, 3, &mut out);
        assert_eq!(out, [0.5, 0.0, 0.5]);
    }

    #[test]
    fn half_a_record_is_no_record() {
        assert_eq!(Values::Dense(vec![1.0; 5]).records(2), None);
        assert_eq!(Values::Dense(Vec::new()).records(0), None);
    }
}
