//! Eigenvalues of symmetric matrices, as far as mixing needs them.

use crate::distributed::vector::{add, dot};
use rayon::prelude::*;

/// The largest absolute value of the eigenvalues of a symmetric `(n, n)` matrix, row by row, whose eigenvalues are in [-2, 2].
///
/// The matrix is made tridiagonal by reflections (Householder 1958), and the two ends of its spectrum are found by counting signs
/// (Givens 1954). Off by some n 2^-53 at most; it takes 2 n^3 operations.
pub(super) fn radius(mut matrix: Vec<f64>, n: usize) -> f64 {
    let (diagonal, beside) = tridiagonal(&mut matrix, n);
    let below = |x: f64| eigenvalues_below(&diagonal, &beside, x);
    let smallest = bisect(|x| below(x) > 0);
    let largest = bisect(|x| below(x) == n);
    smallest.abs().max(largest.abs())
}

/// The diagonal and what stands beside it of a tridiagonal matrix with the same eigenvalues. Only the lower right part of the
/// matrix that is not tridiagonal yet is touched; rows are independent of each other, so threads change no bit.
fn tridiagonal(matrix: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = Vec::with_capacity(n);
    for k in 0..n.saturating_sub(1) {
        let mut v: Vec<f64> = (k + 1..n).map(|row| matrix[row * n + k]).collect();
        let length = dot(&v, &v).sqrt();
        let alpha = if v[0] > 0.0 { -length } else { length };
        beside.push(alpha);
        v[0] -= alpha;
        let squared = dot(&v, &v);
        if squared == 0.0 {
            continue;
        }
        let rest = &mut matrix[(k + 1) * n..];
        let mut w: Vec<f64> = rest.par_chunks(n).map(|row| 2.0 / squared * dot(&row[k + 1..], &v)).collect();
        let along = dot(&w, &v) / squared;
        add(&mut w, -along, &v);
        rest.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            add(&mut row[k + 1..], -v[i], &w);
            add(&mut row[k + 1..], -w[i], &v);
        });
    }
    ((0..n).map(|i| matrix[i * n + i]).collect(), beside)
}

/// How many eigenvalues of a tridiagonal matrix are below x: as many as there are negative pivots of it less x.
fn eigenvalues_below(diagonal: &[f64], beside: &[f64], x: f64) -> usize {
    let (mut pivot, mut negative) = (1.0, 0);
    for (i, d) in diagonal.iter().enumerate() {
        let before = if i == 0 { 0.0 } else { beside[i - 1] * beside[i - 1] / pivot };
        pivot = d - x - before;
        if pivot == 0.0 {
            pivot = f64::MIN_POSITIVE;
        }
        negative += usize::from(pivot < 0.0);
    }
    negative
}

/// Where a condition that holds from some x in [-2, 2] on begins to hold.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (-2.0, 2.0);
    while high - low > f64::EPSILON {
        let middle = low + (high - low) / 2.0;
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matrices_whose_eigenvalues_are_known() {
        assert!(radius(vec![0.0], 1).abs() < 1e-15);
        assert!((radius(vec![0.25, -0.75, -0.75, 0.25], 2) - 1.0).abs() < 1e-15);
        assert!((radius(vec![-1.5, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.5], 3) - 1.5).abs() < 1e-15);
        // A path of n nodes has the adjacency eigenvalues 2 cos(k pi / (n + 1)).
        for n in [2_usize, 3, 10, 57] {
            let path = (0..n * n).map(|i| if (i / n).abs_diff(i % n) == 1 { 1.0 } else { 0.0 }).collect();
            let expected = 2.0 * (std::f64::consts::PI / (n as f64 + 1.0)).cos();
            assert!((radius(path, n) - expected).abs() < 1e-14, "{n}");
        }
    }

    proptest! {
        /// `sum of l_k q_k q_k^T` has the eigenvalues l_k: q_k the columns of a product of reflections.
        #[test]
        fn a_matrix_built_from_its_eigenvalues(
            eigenvalues in proptest::collection::vec(-1.9_f64..1.9, 1..12),
            directions in proptest::collection::vec(proptest::collection::vec(-1.0_f64..1.0, 12), 3),
        ) {
            let n = eigenvalues.len();
            let mut matrix: Vec<f64> = (0..n * n).map(|i| if i / n == i % n { eigenvalues[i / n] } else { 0.0 }).collect();
            for direction in &directions {
                let v = &direction[..n];
                let squared = dot(v, v);
                prop_assume!(squared > 1e-3);
                let reflection = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 / squared * v[i] * v[j];
                let product = |left: &dyn Fn(usize, usize) -> f64, right: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
                    (0..n * n).map(|at| (0..n).map(|k| left(at / n, k) * right(k, at % n)).sum()).collect()
                };
                let half = product(&reflection, &|i, j| matrix[i * n + j]);
                matrix = product(&|i, j| half[i * n + j], &reflection);
            }
            let expected = eigenvalues.iter().fold(0.0_f64, |most, l| most.max(l.abs()));
            let found = radius(matrix, n);
            prop_assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
        }
    }
}
