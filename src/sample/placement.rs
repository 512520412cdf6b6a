//! Where each record takes part, drawn for each by itself.

use super::below;
use crate::seed::{Key, Role};
use std::num::NonZeroU64;

/// For every record one of `places` places, each with the same probability and independently of the other records.
///
/// This is what makes it a sampling that knows no neighbours: with one record more or fewer, all others are where they are. Neither the
/// number of a record in the file nor a random order of all records would do, as the records after one that is gone would move up, and
/// two or all of them would be in other batches.
pub(super) fn places(records: usize, places: NonZeroU64, key: &Key, pass: u32) -> Vec<u64> {
    let mut rng = key.stream(Role::Placement, pass);
    (0..records).map(|_| below(places.get(), &mut rng)).collect()
}
