//! Products with few outputs: as many numbers are read as there are operations to do, so what counts is to read once.

use super::{Real, once, widen};
use rayon::prelude::*;

/// Up to this many outputs a product is thin.
pub(crate) const MOST_OUTPUTS: usize = 16;

/// Columns that are summed together: with every output's sums and a few rows they stay in the first cache.
const COLUMNS: usize = 128;

/// Rows whose products are added up before they meet the sum.
const ROWS: usize = 4;

/// `g^T rows`: the sum over rows of outer products, `(p, d)`, of `g` `(n, p)` and `rows` `(n, d)`, in f64.
pub(crate) fn product<T: Real>(rows: &[T], g: &[f64], p: usize, d: usize) -> Vec<f64> {
    let starts: Vec<usize> = (0..d).step_by(COLUMNS).collect();
    let products: Vec<Vec<f64>> = starts.par_iter().map(|start| columns(rows, g, p, d, *start)).collect();
    let mut sum = vec![0.0; p * d];
    for (start, product) in starts.iter().zip(&products) {
        let width = COLUMNS.min(d - start);
        for (row, part) in sum.chunks_exact_mut(d).zip(product.chunks_exact(COLUMNS)) {
            row[*start..start + width].copy_from_slice(&part[..width]);
        }
    }
    sum
}

/// The columns of the product from `start`, `(p, COLUMNS)`; past the last column there are zeros.
fn columns<T: Real>(rows: &[T], g: &[f64], p: usize, d: usize, start: usize) -> Vec<f64> {
    let mut sum = vec![0.0; p * COLUMNS];
    let width = COLUMNS.min(d - start);
    let mut wide = [[0.0; COLUMNS]; ROWS];
    for (rows, g) in rows.chunks(ROWS * d).zip(g.chunks(ROWS * p)) {
        let count = rows.len() / d;
        wide[count..].fill([0.0; COLUMNS]);
        for (row, wide) in rows.chunks_exact(d).zip(&mut wide) {
            widen(&row[start..start + width], &mut wide[..width]);
        }
        let g_of = |row: usize, output: usize| if row < count { g[row * p + output] } else { 0.0 };
        let (sum, wide) = (&mut sum, &wide);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let [a, b, c, d] = wide;
                for (output, sum) in once(sum).chunks_exact_mut(COLUMNS).enumerate() {
                    let g: [f64; ROWS] = std::array::from_fn(|row| g_of(row, output));
                    for j in 0..COLUMNS {
                        sum[j] += (g[0] * a[j] + g[1] * b[j]) + (g[2] * c[j] + g[3] * d[j]);
                    }
                }
            },
        );
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_the_triple_loop() {
        for (n, p, d) in [(1, 1, 1), (5, 3, 7), (4, 2, 128), (9, 16, 300), (0, 2, 5), (3, 2, 0)] {
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
