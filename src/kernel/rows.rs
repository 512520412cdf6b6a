//! Rows of per-example numbers: weighted, summed and measured.

use super::instructions::prefetch;
use super::memory::{written, zeroed};
use super::team::Shared;
use super::{Real, norms_of, once};
use crate::profile::{self, Part};
use rayon::prelude::*;

/// The sum over rows of weight times row, in f64, for rows `(weights, size)`.
pub(crate) fn weighted_rows<T: Real>(rows: &[T], weights: &[f64], size: usize) -> Vec<f64> {
    let _time = profile::time(Part::Sums);
    const COLUMNS: usize = 256;
    let (sum, _) = written(size, COLUMNS, |chunk, sum, (): &mut ()| {
        let sum = zeroed(sum);
        let columns = &mut *sum;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let sum = once(columns);
                for (i, (row, weight)) in rows.chunks_exact(size.max(1)).zip(weights).enumerate() {
                    // The same columns of the rows to come are far off in memory, where no processor expects them.
                    if let Some(next) = rows.get((i + 2) * size + chunk * COLUMNS..) {
                        prefetch(&next[..next.len().min(sum.len())]);
                    }
                    for (sum, value) in sum.iter_mut().zip(&row[chunk * COLUMNS..]) {
                        *sum += weight * value.wide();
                    }
                }
            },
        );
        (sum, ())
    });
    sum
}

/// `(batch, positions, size, run)` summed over positions and runs: `(batch, size)`.
pub(crate) fn sums_of_runs<T: Real>(values: &[T], batch: usize, size: usize, run: usize) -> Vec<T> {
    const LANES: usize = 16;
    let _time = profile::time(Part::Sums);
    let mut sums = vec![T::default(); batch * size];
    if values.is_empty() {
        return sums;
    }
    sums.par_chunks_mut(size).zip(values.par_chunks(values.len() / batch)).each(|(sums, values)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let sums = once(sums);
                for position in values.chunks_exact(size * run) {
                    if run == 1 {
                        sums.iter_mut().zip(position).for_each(|(sum, value)| *sum += *value);
                        continue;
                    }
                    for (sum, run) in sums.iter_mut().zip(position.chunks_exact(run)) {
                        let (chunks, mut lanes) = (run.chunks_exact(LANES), [T::default(); LANES]);
                        let rest: T = chunks.remainder().iter().copied().sum();
                        chunks.for_each(|chunk| {
                            lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += *value);
                        });
                        *sum += lanes.iter().copied().sum::<T>() + rest;
                    }
                }
            },
        );
    });
    sums
}

/// An upper bound on the norm of every row of `(batch, size)`, tight to rounding.
pub(crate) fn row_norms<T: Real>(rows: &[T], batch: usize) -> Vec<f64> {
    /// Elements a thread takes at a time.
    const CHUNK: usize = 1 << 13;
    let _time = profile::time(Part::Norms);
    let size = rows.len() / batch.max(1);
    let mut norms = vec![0.0; batch];
    if size > 0 {
        let count = CHUNK.div_ceil(size);
        norms.par_chunks_mut(count).zip(rows.par_chunks(count * size)).each(|(norms, rows)| norms_of(rows, norms));
    }
    norms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_example_hardly_changes_how_the_others_round() {
        // In f32 a record placed first pushes the running sum over powers of two and moves every later rounding.
        let n = 8192;
        let rows: Vec<f32> = (0..n).map(|i| if i == 0 { 0.5 } else { 0.999_9 - 1e-4 * (i % 7) as f32 }).collect();
        let all = weighted_rows(&rows, &vec![1.0; n], 1)[0];
        let without = weighted_rows(&rows[1..], &vec![1.0; n - 1], 1)[0];
        assert!(((all - without) - 0.5).abs() < 1e-9, "{}", all - without);
    }

    #[test]
    fn runs_are_summed_for_every_example() {
        // (batch 2, positions 3, size 2, run 37) of 0, 1, 2, ..
        let values: Vec<f64> = (0..444).map(f64::from).collect();
        let at = |example: usize, channel: usize| {
            let run =
                |position: usize| values[example * 222 + position * 74 + channel * 37..][..37].iter().sum::<f64>();
            (0..3).map(run).sum::<f64>()
        };
        assert_eq!(sums_of_runs(&values, 2, 2, 37), [at(0, 0), at(0, 1), at(1, 0), at(1, 1)]);
        assert_eq!(sums_of_runs(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2, 2, 1), [4.0, 6.0, 12.0, 14.0]);
        assert!(sums_of_runs::<f32>(&[], 0, 3, 2).is_empty());
    }

    #[test]
    fn rows_are_weighted_and_measured() {
        assert_eq!(weighted_rows(&[1.0f32, 2.0, 3.0, 4.0], &[2.0, -1.0], 2), [-1.0, 0.0]);
        let norms = row_norms(&[3.0f32, 4.0, 0.0, 2.0], 2);
        assert!((norms[0] - 5.0).abs() < 1e-13 && (norms[1] - 2.0).abs() < 1e-13, "{norms:?}");
        assert!(weighted_rows::<f32>(&[], &[], 3) == [0.0; 3] && row_norms::<f32>(&[], 0).is_empty());
    }
}
