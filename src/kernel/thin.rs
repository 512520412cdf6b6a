//! Products with few outputs: as many numbers are read as there are operations to do, so what counts is to read once.

use super::matmul::{View, matmul};
use super::team::Shared;
use super::{Real, norms_of, once};
use rayon::prelude::*;

/// Up to this many outputs a product is thin.
pub(crate) const MOST_OUTPUTS: usize = 16;

/// From so many inputs on, an example no longer stays in the first cache until it is measured.
pub(crate) const LONG: usize = 1024;

/// Columns that a thread takes at a time: long enough for memory to be read in a stream, and short enough for the sums of all
/// outputs to stay in the second cache.
const STRETCH: usize = 2048;

/// Columns that are summed together, in the first cache.
const COLUMNS: usize = 256;

/// Rows whose products are added up before they meet the sum.
const ROWS: usize = 8;

/// Elements of rows that stay in the second cache.
const CACHED: usize = 1 << 17;

/// Adds `rows weight^T` to `ys` `(n, p)`, for `rows` `(n, d)` and `weight` `(p, d)`, and bounds the norm of every row while it is in
/// cache ([`norms_of`]).
pub(crate) fn forward<T: Real>(rows: &[T], weight: &[T], ys: &mut [T], p: usize, d: usize) -> Vec<f64> {
    let mut norms = vec![0.0; rows.len() / d.max(1)];
    let count = CACHED.div_ceil(d.max(1));
    let parts = rows.par_chunks((count * d).max(1)).zip(norms.par_chunks_mut(count));
    ys.par_chunks_mut(count * p).zip(parts).each(|(ys, (rows, norms))| {
        let n = norms.len();
        matmul(ys, View::row_major(rows, n, d), View::row_major(weight, p, d).t(), true);
        norms_of(rows, norms);
    });
    norms
}

/// `g^T rows`: the sum over rows of outer products, `(p, d)`, of `g` `(n, p)` and `rows` `(n, d)`, in f64.
pub(crate) fn product<T: Real>(rows: &[T], g: &[f64], p: usize, d: usize) -> Vec<f64> {
    let starts: Vec<usize> = (0..d).step_by(STRETCH).collect();
    let stretches: Vec<Vec<Columns>> = starts.par_iter().gather(|start| stretch(rows, g, p, d, *start));
    let mut sum = vec![0.0; p * d];
    for (start, stretch) in starts.iter().zip(&stretches) {
        for (i, Columns(part)) in stretch.iter().enumerate() {
            let (first, output) = (start + i / p * COLUMNS, i % p);
            let width = COLUMNS.min(d - first);
            sum[output * d + first..][..width].copy_from_slice(&part[..width]);
        }
    }
    sum
}

/// Numbers that lie in whole cache lines.
#[derive(Clone)]
#[repr(align(64))]
struct Columns([f64; COLUMNS]);

/// Some columns of the product from `start`: for every [`COLUMNS`] of them, those of each output; past the last column there are
/// zeros.
fn stretch<T: Real>(rows: &[T], g: &[f64], p: usize, d: usize, start: usize) -> Vec<Columns> {
    let width = STRETCH.min(d - start);
    let mut sums = vec![Columns([0.0; COLUMNS]); width.div_ceil(COLUMNS) * p];
    let out = &mut sums;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (sums, mut wide) = (once(out), [const { Columns([0.0; COLUMNS]) }; ROWS]);
            for (rows, g) in rows.chunks(ROWS * d).zip(g.chunks(ROWS * p)) {
                let count = rows.len() / d;
                for (i, sums) in sums.chunks_exact_mut(p).enumerate() {
                    let columns = start + i * COLUMNS..start + ((i + 1) * COLUMNS).min(width);
                    for (row, Columns(wide)) in rows.chunks_exact(d).zip(&mut wide) {
                        wide.iter_mut().zip(&row[columns.clone()]).for_each(|(to, from)| *to = from.wide());
                    }
                    wide[count..].iter_mut().for_each(|Columns(wide)| wide.fill(0.0));
                    add(sums, &wide, |row, output| if row < count { g[row * p + output] } else { 0.0 });
                }
            }
        },
    );
    sums
}

/// Adds the rows to the sum of every output, times `g(row, output)`.
#[inline(always)]
fn add(sums: &mut [Columns], wide: &[Columns; ROWS], g: impl Fn(usize, usize) -> f64) {
    let [w0, w1, w2, w3, w4, w5, w6, w7] = wide;
    for (output, Columns(sum)) in sums.iter_mut().enumerate() {
        let g: [f64; ROWS] = std::array::from_fn(|row| g(row, output));
        for (j, sum) in sum.iter_mut().enumerate() {
            let even = g[4].mul_add(w4.0[j], g[0].mul_add(w0.0[j], *sum));
            let odd = g[5].mul_add(w5.0[j], g[1] * w1.0[j]);
            let even = g[6].mul_add(w6.0[j], g[2].mul_add(w2.0[j], even));
            let odd = g[7].mul_add(w7.0[j], g[3].mul_add(w3.0[j], odd));
            *sum = even + odd;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_and_norms_are_those_of_the_rows() {
        for (n, p, d) in [(1, 1, 1), (5, 3, 7), (3, 16, 70_000), (0, 2, 5)] {
            let rows: Vec<f64> = (0..n * d).map(|i| ((i * 37) % 101) as f64 / 10.0 - 5.0).collect();
            let weight: Vec<f64> = (0..p * d).map(|i| ((i * 53) % 89) as f64 / 7.0 - 6.0).collect();
            let mut ys = vec![1.0; n * p];
            let norms = forward(&rows, &weight, &mut ys, p, d);
            assert_eq!(norms.len(), n);
            for (i, (y, norm)) in ys.chunks(p).zip(&norms).enumerate() {
                let row = &rows[i * d..(i + 1) * d];
                for (output, y) in y.iter().enumerate() {
                    let dot: f64 = row.iter().zip(&weight[output * d..]).map(|(a, b)| a * b).sum();
                    assert!((y - 1.0 - dot).abs() < 1e-9 * (1.0 + dot.abs()) * d as f64, "{n}, {p}, {d}");
                }
                assert_eq!(*norm, crate::kernel::norm_of(row));
            }
        }
    }

    #[test]
    fn products_equal_the_triple_loop() {
        for (n, p, d) in [(1, 1, 1), (5, 3, 7), (8, 2, 256), (9, 16, 2500), (0, 2, 5), (3, 2, 0)] {
            let rows: Vec<f32> = (0..n * d).map(|i| ((i * 37) % 101) as f32 / 10.0 - 5.0).collect();
            let g: Vec<f64> = (0..n * p).map(|i| ((i * 53) % 89) as f64 / 7.0 - 6.0).collect();
            let sum = product(&rows, &g, p, d);
            assert_eq!(sum.len(), p * d);
            for (i, sum) in sum.iter().enumerate() {
                let (output, column) = (i / d, i % d);
                let expected: f64 = (0..n).map(|row| g[row * p + output] * f64::from(rows[row * d + column])).sum();
                assert!((sum - expected).abs() < 1e-10, "{n}, {p}, {d}: {sum} is not {expected}");
            }
        }
    }
}
