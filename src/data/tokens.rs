//! How the tokens of a dataset lie in memory: without filler, in the narrowest integers that hold them.

/// Token ids, record after record, each as long as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tokens {
    ids: Ids,
    /// Where each record ends.
    ends: Vec<usize>,
    /// How many ids there are; the last one is the filler and is never stored.
    vocabulary: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Ids {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
}

impl Tokens {
    /// No records yet, of tokens below `vocabulary - 1`.
    pub(super) fn new(vocabulary: usize) -> Self {
        let ids = match vocabulary {
            0..=257 => Ids::U8(Vec::new()),
            258..=65_537 => Ids::U16(Vec::new()),
            _ => Ids::U32(Vec::new()),
        };
        Self { ids, ends: Vec::new(), vocabulary }
    }

    /// Adds a record. The ids are those of the vocabulary without its filler, so that they fit.
    pub(super) fn push(&mut self, record: &[u32]) {
        match &mut self.ids {
            Ids::U8(ids) => ids.extend(record.iter().map(|&id| id as u8)),
            Ids::U16(ids) => ids.extend(record.iter().map(|&id| id as u16)),
            Ids::U32(ids) => ids.extend(record),
        }
        self.ends.push(self.ids.len());
    }

    /// How many ids there are, the filler included.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Bytes of memory the records take.
    pub(super) fn bytes(&self) -> usize {
        let ids = match &self.ids {
            Ids::U8(ids) => size_of_val(&ids[..]),
            Ids::U16(ids) => size_of_val(&ids[..]),
            Ids::U32(ids) => size_of_val(&ids[..]),
        };
        ids + size_of_val(&self.ends[..])
    }

    /// The number of records.
    pub(super) fn records(&self) -> usize {
        self.ends.len()
    }

    /// The ids of record `row`, which must exist, filled up to `width`.
    pub(super) fn record(&self, row: usize, width: usize) -> impl Iterator<Item = u32> + '_ {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let stored = (start..self.ends[row]).map(|at| self.ids.get(at));
        let padding = (self.vocabulary - 1) as u32;
        stored.chain(std::iter::repeat(padding)).take(width)
    }

    /// Appends all records of another list over as many ids; otherwise nothing.
    #[must_use]
    pub(super) fn append_all(&mut self, other: &Self) -> bool {
        if self.vocabulary != other.vocabulary {
            return false;
        }
        for row in 0..other.records() {
            let start = row.checked_sub(1).map_or(0, |before| other.ends[before]);
            let record: Vec<u32> = other.record(row, other.ends[row] - start).collect();
            self.push(&record);
        }
        true
    }

    /// The named records, which must exist.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::new(self.vocabulary);
        for &row in rows {
            let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
            let record: Vec<u32> = self.record(row, self.ends[row] - start).collect();
            selected.push(&record);
        }
        selected
    }
}

impl Ids {
    fn len(&self) -> usize {
        match self {
            Self::U8(ids) => ids.len(),
            Self::U16(ids) => ids.len(),
            Self::U32(ids) => ids.len(),
        }
    }

    fn get(&self, at: usize) -> u32 {
        match self {
            Self::U8(ids) => u32::from(ids[at]),
            Self::U16(ids) => u32::from(ids[at]),
            Self::U32(ids) => ids[at],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_holds_its_largest_id_and_no_filler() {
        for (vocabulary, bytes) in [(2, 1), (257, 1), (258, 2), (65_537, 2), (65_538, 4)] {
            let mut tokens = Tokens::new(vocabulary);
            let (largest, padding) = (vocabulary as u32 - 2, vocabulary as u32 - 1);
            for record in [&[largest, 0][..], &[], &[largest]] {
                tokens.push(record);
            }
            assert_eq!((tokens.records(), tokens.ids.len(), tokens.vocabulary()), (3, 3, vocabulary));
            let record = |tokens: &Tokens, row| tokens.record(row, 3).collect::<Vec<_>>();
            assert_eq!(record(&tokens, 0), [largest, 0, padding]);
            assert_eq!(record(&tokens, 1), [padding; 3]);
            let selected = tokens.select(&[2, 0]);
            assert_eq!(record(&selected, 0), [largest, padding, padding]);
            assert_eq!(record(&selected, 1), [largest, 0, padding]);
            let held = match &tokens.ids {
                Ids::U8(_) => 1,
                Ids::U16(_) => 2,
                Ids::U32(_) => 4,
            };
            assert_eq!(held, bytes);
        }
    }
}
