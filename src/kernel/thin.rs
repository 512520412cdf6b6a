//! Products with few outputs: as many numbers are read as there are operations to do, so what counts is to read once.

use super::{Real, once};
use rayon::prelude::*;

/// Up to this many outputs a product is thin.
pub(crate) const MOST_OUTPUTS: usize = 16;

/// Columns that are summed together: long enough for memory to be read in a stream, and short enough for every output's sums to
/// stay in cache.
const COLUMNS: usize = 512;

/// Rows whose products are added up before they meet the sum.
const ROWS: usize = 8;

/// `g^T rows`: the sum over rows of outer products, `(p, d)`, of `g` `(n, p)` and `rows` `(n, d)`, in f64.
pub(crate) fn product<T: Real>(rows: &[T], g: &[f64], p: usize, d: usize) -> Vec<f64> {
    let starts: Vec<usize> = (0..d).step_by(COLUMNS).collect();
    let products: Vec<Vec<Columns>> = starts.par_iter().map(|start| columns(rows, g, p, d, *start)).collect();
    let mut sum = vec![0.0; p * d];
    for (start, product) in starts.iter().zip(&products) {
        let width = COLUMNS.min(d - start);
        for (row, part) in sum.chunks_exact_mut(d).zip(product) {
            row[*start..start + width].copy_from_slice(&part.0[..width]);
        }
    }
    sum
}

/// Numbers that lie in whole cache lines.
#[derive(Clone)]
#[repr(align(64))]
struct Columns([f64; COLUMNS]);

/// The columns of the product from `start`, for every output; past the last column there are zeros.
fn columns<T: Real>(rows: &[T], g: &[f64], p: usize, d: usize, start: usize) -> Vec<Columns> {
    let mut sums = vec![Columns([0.0; COLUMNS]); p];
    let out = &mut sums;
    let width = COLUMNS.min(d - start);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (sums, mut wide) = (once(out), [const { Columns([0.0; COLUMNS]) }; ROWS]);
            for (rows, g) in rows.chunks(ROWS * d).zip(g.chunks(ROWS * p)) {
                let count = rows.len() / d;
                for (row, Columns(wide)) in rows.chunks_exact(d).zip(&mut wide) {
                    wide.iter_mut().zip(&row[start..start + width]).for_each(|(to, from)| *to = from.wide());
                }
                wide[count..].iter_mut().for_each(|Columns(wide)| wide.fill(0.0));
                let [w0, w1, w2, w3, w4, w5, w6, w7] = &wide;
                for (output, Columns(sum)) in sums.iter_mut().enumerate() {
                    let g: [f64; ROWS] = std::array::from_fn(|row| if row < count { g[row * p + output] } else { 0.0 });
                    for j in 0..COLUMNS {
                        let even = g[4].mul_add(w4.0[j], g[0].mul_add(w0.0[j], sum[j]));
                        let odd = g[5].mul_add(w5.0[j], g[1] * w1.0[j]);
                        let even = g[6].mul_add(w6.0[j], g[2].mul_add(w2.0[j], even));
                        let odd = g[7].mul_add(w7.0[j], g[3].mul_add(w3.0[j], odd));
                        sum[j] = even + odd;
                    }
                }
            }
        },
    );
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_the_triple_loop() {
        for (n, p, d) in [(1, 1, 1), (5, 3, 7), (8, 2, 512), (9, 16, 1100), (0, 2, 5), (3, 2, 0)] {
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
