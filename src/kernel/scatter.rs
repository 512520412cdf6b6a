//! Rows of a table looked up by token: gathered in the forward, scattered into sums.
//!
//! Row `v` of an example's gradient is the sum of the cotangents at the positions that hold token `v`. One function adds
//! them, in f64 and in the order of positions, and both norms and weighted sums call it: a norm is the norm of exactly the
//! numbers that a sum multiplies by the example's weight.

use super::memory::{rows_of, written, zeroed};
use super::team::Shared;
use super::{Real, norm_bound, to_f64};
use crate::profile::{self, Part};
use candle_core::WithDType;
use rayon::prelude::*;

/// What becomes of the rows of an example's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Every position is an output.
    Each,
    /// Their sum is the output; filler adds nothing.
    Sum,
    /// Their mean is the output, over what is not filler; zero where all is.
    Mean,
}

/// Tokens of a batch and what is done with their rows. Every id lies inside the table it is used with.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    /// `(batch, positions)`.
    pub(crate) ids: &'a [u32],
    pub(crate) batch: usize,
    pub(crate) positions: usize,
    /// Elements of a row, at least one.
    pub(crate) dim: usize,
    /// The token whose row gets no gradient.
    pub(crate) padding: Option<u32>,
    pub(crate) spread: Spread,
}

/// One example's gradient without the rows that are zero. Buffers are reused from example to example.
#[derive(Default)]
pub(crate) struct Rows {
    places: Vec<(u32, usize)>,
    /// The tokens that have a row, ascending.
    pub(crate) tokens: Vec<u32>,
    /// `(tokens, dim)`.
    pub(crate) sums: Vec<f64>,
}

/// Rows a thread copies at a time.
const ROWS: usize = 64;

fn same_token(a: &(u32, usize), b: &(u32, usize)) -> bool {
    a.0 == b.0
}

impl Lookup<'_> {
    fn of(&self, example: usize) -> &[u32] {
        &self.ids[example * self.positions..][..self.positions]
    }

    fn is_filler(&self, id: u32) -> bool {
        Some(id) == self.padding
    }

    /// What every row of an example is multiplied by.
    fn scale(&self, example: usize) -> f64 {
        match self.spread {
            Spread::Each | Spread::Sum => 1.0,
            Spread::Mean => match self.of(example).iter().filter(|id| !self.is_filler(**id)).count() {
                0 => 0.0,
                count => 1.0 / count as f64,
            },
        }
    }

    /// What the row of every token counts for in its example's output, `(batch, positions)`.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let share = |example: usize| {
            let scale = self.scale(example);
            self.of(example).iter().map(move |id| if self.is_filler(*id) { 0.0 } else { scale })
        };
        (0..self.batch).flat_map(share).collect()
    }

    /// The outputs for a table `(vocabulary, dim)`: `(batch, positions, dim)`, or `(batch, dim)` of a sum or mean.
    pub(crate) fn gather<T: Real>(&self, table: &[T]) -> Vec<T> {
        let _time = profile::time(Part::Lookups);
        let row = |id: u32| &table[id as usize * self.dim..][..self.dim];
        if self.spread == Spread::Each {
            let (out, _) = written(self.ids.len() * self.dim, ROWS * self.dim, |i, out, (): &mut ()| {
                let ids = &self.ids[i * ROWS..];
                (rows_of(out, self.dim, |i| row(ids[i])), ())
            });
            return out;
        }
        let (out, _) = written(self.batch * self.dim, self.dim, |example, out, (): &mut ()| {
            let out = zeroed(out);
            for id in self.of(example).iter().filter(|id| !self.is_filler(**id)) {
                out.iter_mut().zip(row(*id)).for_each(|(out, x)| *out += *x);
            }
            let scale = <T as WithDType>::from_f64(self.scale(example));
            out.iter_mut().for_each(|out| *out *= scale);
            (out, ())
        });
        out
    }

    /// One row of an example's gradient: the cotangents at `places` (token and position in the example) added to zeros in
    /// `row`, then scaled.
    fn add<T: Real>(
        &self,
        cotangents: &[T],
        example: usize,
        scale: f64,
        places: impl Iterator<Item = usize>,
        row: &mut [f64],
    ) {
        for position in places {
            let output = if self.spread == Spread::Each { example * self.positions + position } else { example };
            let cotangent = &cotangents[output * self.dim..][..self.dim];
            row.iter_mut().zip(cotangent).for_each(|(row, g)| *row += to_f64(*g));
        }
        if scale != 1.0 {
            row.iter_mut().for_each(|row| *row *= scale);
        }
    }

    /// The rows of an example's gradient that are not zero.
    pub(crate) fn rows<T: Real>(&self, cotangents: &[T], example: usize, rows: &mut Rows) {
        let Rows { places, tokens, sums } = rows;
        places.clear();
        tokens.clear();
        sums.clear();
        let ids = self.of(example).iter().copied().enumerate().filter(|(_, id)| !self.is_filler(*id));
        places.extend(ids.map(|(position, id)| (id, position)));
        places.sort_unstable();
        let scale = self.scale(example);
        for places in places.chunk_by(same_token) {
            let start = sums.len();
            sums.resize(start + self.dim, 0.0);
            self.add(cotangents, example, scale, places.iter().map(|place| place.1), &mut sums[start..]);
            tokens.push(places[0].0);
        }
    }

    /// An upper bound on the norm of every example's gradient, tight to rounding.
    pub(crate) fn norms<T: Real>(&self, cotangents: &[T]) -> Vec<f64> {
        let _time = profile::time(Part::Norms);
        (0..self.batch).into_par_iter().gather_with(Rows::default, |rows, example| {
            self.rows(cotangents, example, rows);
            norm_bound(rows.sums.iter().copied())
        })
    }

    /// Every example's gradient in full, `(batch, vocabulary dim)`.
    pub(crate) fn instantiate<T: Real>(&self, cotangents: &[T], vocabulary: usize) -> Vec<T> {
        let mut out = vec![T::default(); self.batch * vocabulary * self.dim];
        out.par_chunks_mut(vocabulary * self.dim).enumerate().each_with(Rows::default, |rows, (example, out)| {
            self.rows(cotangents, example, rows);
            for (token, sum) in rows.tokens.iter().zip(rows.sums.chunks_exact(self.dim)) {
                let row = &mut out[*token as usize * self.dim..][..self.dim];
                row.iter_mut().zip(sum).for_each(|(row, x)| *row = <T as WithDType>::from_f64(*x));
            }
        });
        out
    }

    /// The sum over examples of weight times gradient, `(vocabulary, dim)`. A token's row is one piece of work, and adds its
    /// examples in their order; rows of tokens that do not occur are never touched.
    pub(crate) fn weighted_sum<T: Real>(&self, cotangents: &[T], weights: &[f64], vocabulary: usize) -> Vec<f64> {
        let _time = profile::time(Part::Lookups);
        let scales: Vec<f64> = (0..self.batch).map(|example| self.scale(example)).collect();
        let ids = self.ids.iter().copied().enumerate().filter(|(_, id)| !self.is_filler(*id));
        let mut places: Vec<(u32, usize)> = ids.map(|(place, id)| (id, place)).collect();
        // No two are equal, so an unstable sort has one outcome.
        places.par_sort_unstable();
        let mut sum = vec![0.0; vocabulary * self.dim];
        let (mut rest, mut next, mut rows) = (sum.as_mut_slice(), 0, Vec::new());
        for places in places.chunk_by(same_token) {
            let token = places[0].0 as usize;
            let (_, tail) = std::mem::take(&mut rest).split_at_mut((token - next) * self.dim);
            let (row, tail) = tail.split_at_mut(self.dim);
            rows.push((row, places));
            (rest, next) = (tail, token + 1);
        }
        rows.into_par_iter().each_with(
            || vec![0.0; self.dim],
            |scratch, (row, places)| {
                for places in places.chunk_by(|a, b| a.1 / self.positions == b.1 / self.positions) {
                    let example = places[0].1 / self.positions;
                    let positions = places.iter().map(|place| place.1 % self.positions);
                    scratch.fill(0.0);
                    self.add(cotangents, example, scales[example], positions, scratch);
                    row.iter_mut().zip(scratch.iter()).for_each(|(row, x)| *row += weights[example] * x);
                }
            },
        );
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [u32; 8] = [2, 0, 2, 2, 1, 1, 3, 0];

    fn lookup(spread: Spread, padding: Option<u32>) -> Lookup<'static> {
        Lookup { ids: &IDS, batch: 2, positions: 4, dim: 3, padding, spread }
    }

    fn cotangents(rows: usize) -> Vec<f32> {
        (0..rows * 3).map(|i| ((i * 37) % 23) as f32 / 7.0 - 1.5).collect()
    }

    #[test]
    fn rows_are_gathered_summed_and_averaged() {
        let table: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(lookup(Spread::Each, Some(0)).gather(&table)[..6], [6.0, 7.0, 8.0, 0.0, 1.0, 2.0]);
        assert_eq!(lookup(Spread::Sum, Some(2)).gather(&table), [0.0, 1.0, 2.0, 15.0, 19.0, 23.0]);
        assert_eq!(lookup(Spread::Mean, Some(0)).gather(&table), [6.0, 7.0, 8.0, 5.0, 6.0, 7.0]);
        let empty = Lookup { ids: &[], batch: 2, positions: 0, ..lookup(Spread::Mean, None) };
        assert_eq!(empty.gather(&table), [0.0; 6]);
        assert_eq!(empty.norms::<f32>(&[0.0; 6]), [0.0; 2]);
        assert_eq!(empty.weighted_sum::<f32>(&[0.0; 6], &[1.0; 2], 4), [0.0; 12]);
    }

    #[test]
    fn equal_tokens_add_up_before_the_norm_and_filler_has_no_gradient() {
        for (spread, outputs) in [(Spread::Each, 8), (Spread::Sum, 2), (Spread::Mean, 2)] {
            let (lookup, g) = (lookup(spread, Some(0)), cotangents(outputs));
            let mut expected = vec![0.0f64; 2 * 12];
            for (place, id) in IDS.iter().enumerate().filter(|(_, id)| **id != 0) {
                let output = if spread == Spread::Each { place } else { place / 4 };
                let scale = if spread == Spread::Mean { 1.0 / 3.0 } else { 1.0 };
                for j in 0..3 {
                    expected[place / 4 * 12 + *id as usize * 3 + j] += scale * f64::from(g[output * 3 + j]);
                }
            }
            let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
            let full: Vec<f64> = lookup.instantiate(&g, 4).into_iter().map(f64::from).collect();
            assert!(close(&full, &expected), "{full:?} {expected:?}");
            for (i, bound) in lookup.norms(&g).into_iter().enumerate() {
                let mut weights = [0.0; 2];
                weights[i] = 1.0;
                let added = lookup.weighted_sum(&g, &weights, 4);
                assert!(close(&added, &expected[i * 12..][..12]), "{added:?}");
                let norm = added.iter().map(|x| x * x).sum::<f64>().sqrt();
                assert!(norm <= bound && bound <= norm * (1.0 + 1e-13), "{norm} and its bound {bound}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let ids: Vec<u32> = (0..400u32).map(|i| i * i % 17).collect();
        let lookup = Lookup { ids: &ids, batch: 20, positions: 20, dim: 3, padding: None, spread: Spread::Each };
        let weights: Vec<f64> = (0..20).map(|i| 1.0 / f64::from(i + 1)).collect();
        let sum = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (lookup.norms(&cotangents(400)), lookup.weighted_sum(&cotangents(400), &weights, 17)))
        };
        assert_eq!(sum(1), sum(3));
    }
}
