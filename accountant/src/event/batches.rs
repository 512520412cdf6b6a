//! How many records there are, and how many of them a step takes.

use serde::{Deserialize, Serialize};

use crate::parameters::{OutOfDomain, SamplingRate};

/// Batches of at most `batch` of `records` records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Batches {
    records: u64,
    batch: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    records: u64,
    batch: u64,
}

impl Batches {
    /// Batches of this many of so many records.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless `1 <= batch <= records`.
    pub fn new(records: u64, batch: u64) -> Result<Self, OutOfDomain> {
        if batch == 0 || batch > records {
            return Err(OutOfDomain { name: "batch size", value: batch as f64, allowed: "1 <= batch <= records" });
        }
        Ok(Self { records, batch })
    }

    /// Records in all, the unit in question included.
    #[must_use]
    pub fn records(self) -> u64 {
        self.records
    }

    /// Records in a batch.
    #[must_use]
    pub fn batch(self) -> u64 {
        self.batch
    }

    /// batch / records, rounded up: a larger share costs more.
    #[must_use]
    pub fn share(self) -> SamplingRate {
        SamplingRate::share(self.batch, self.records)
    }
}

impl TryFrom<Parts> for Batches {
    type Error = OutOfDomain;
    fn try_from(parts: Parts) -> Result<Self, OutOfDomain> {
        Self::new(parts.records, parts.batch)
    }
}

impl From<Batches> for Parts {
    fn from(value: Batches) -> Self {
        Self { records: value.records, batch: value.batch }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_at_least_one_and_at_most_all_records() {
        assert!(Batches::new(10, 0).is_err());
        assert!(Batches::new(10, 11).is_err());
        assert_eq!(Batches::new(10, 10).unwrap().share().get(), 1.0);
        assert!(Batches::new(3, 1).unwrap().share().get() >= 1.0 / 3.0);
    }
}
