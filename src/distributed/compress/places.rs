//! Which numbers of a vector a message has.

use super::bits::{BitReader, BitWriter, bits_below};
use crate::{Error, Result};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

/// `k` of `dim` places, ascending, every subset as likely as any other (Floyd's algorithm, Bentley and Floyd 1987).
pub(super) fn uniform(k: usize, dim: usize, rng: &mut ChaCha20Rng) -> Vec<usize> {
    let mut places = BTreeSet::new();
    for last in dim - k..dim {
        let place = rng.random_range(0..=last);
        if !places.insert(place) {
            places.insert(last);
        }
    }
    places.into_iter().collect()
}

/// The places of the `k` numbers of largest magnitude, ascending. Of numbers with the same magnitude the first are taken; NaN
/// counts as larger than all others.
pub(super) fn largest(k: usize, xs: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..xs.len()).collect();
    if k < xs.len() {
        places.select_nth_unstable_by(k, |a, b| xs[*b].abs().total_cmp(&xs[*a].abs()).then(a.cmp(b)));
        places.truncate(k);
    }
    places.sort_unstable();
    places
}

/// Appends places, ascending, in ceil(log2 dim) bits each.
pub(super) fn write(places: &[usize], dim: usize, writer: &mut BitWriter) {
    places.iter().for_each(|place| writer.put(*place as u64, bits_below(dim)));
}

/// Reads `k` places.
///
/// # Errors
/// When they are not ascending, or not below `dim`.
pub(super) fn read(k: usize, dim: usize, reader: &mut BitReader<'_>) -> Result<Vec<usize>> {
    let mut places: Vec<usize> = Vec::with_capacity(k);
    for _ in 0..k {
        let place = reader.take(bits_below(dim))? as usize;
        if place >= dim || places.last().is_some_and(|last| *last >= place) {
            return Err(Error::value("place in a message", place, format!("ascending ones below {dim}")));
        }
        places.push(place);
    }
    Ok(places)
}

/// The vector `(dim)` with `numbers` at `places`, and 0 elsewhere.
pub(super) fn spread(places: &[usize], numbers: &[f64], dim: usize) -> Vec<f64> {
    let mut xs = vec![0.0; dim];
    places.iter().zip(numbers).for_each(|(place, number)| xs[*place] = *number);
    xs
}

/// k/d, the share of a vector's places that k are; all of an empty vector.
pub(super) fn share(k: usize, dim: usize) -> f64 {
    if k >= dim { 1.0 } else { k as f64 / dim as f64 }
}

/// k, where it is at least 1.
pub(super) fn at_least_one(k: usize) -> Result<usize> {
    if k == 0 { Err(Error::value("k, the numbers of a message", k, "at least 1")) } else { Ok(k) }
}
