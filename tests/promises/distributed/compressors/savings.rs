//! How much more Top-k keeps of random vectors than Rand-k: check C6 of the reproduction suite.

use super::{Rng, RngCore, StandardNormal, TopK, Width, applied, rng};
use rand_distr::{Distribution, Exp1, StandardUniform};

/// The energy that Top-k keeps over the one that Rand-k keeps, of vectors of independent numbers, for each k. A share k/d is what
/// Rand-k keeps whatever the vector.
fn factors<D: Distribution<f64> + Copy>(numbers: D, dim: usize, vectors: u32, ks: &[usize]) -> Vec<f64> {
    let (mut kept, mut whole) = (vec![0.0; ks.len()], 0.0);
    let square = |xs: &[f64]| xs.iter().map(|x| x * x).sum::<f64>();
    let mut none = rng(0);
    for vector in 0..vectors {
        let xs: Vec<f64> = rng(10_000 + vector).sample_iter(numbers).take(dim).collect();
        whole += square(&xs);
        for (kept, k) in kept.iter_mut().zip(ks) {
            *kept += square(&applied(&TopK::new(*k).unwrap(), &xs, Width::F64, &mut none));
        }
    }
    assert_eq!(none.next_u64(), rng(0).next_u64(), "Top-k draws nothing");
    kept.iter().zip(ks).map(|(kept, k)| kept / whole * dim as f64 / *k as f64).collect()
}

fn harmonic(d: usize, power: i32) -> f64 {
    (1..=d).map(|i| (i as f64).powi(-power)).sum()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found / expected - 1.0).abs() < 0.05, "{found} and not {expected}");
    }
}

/// The squares of the largest number vary by less than half their mean, and by less with more numbers: means of so many vectors are off
/// by 5 % with probability below 1e-6, five standard deviations.
#[test]
fn c6_top_k_keeps_more_than_rand_k() {
    for (d, expected) in [(100, 28.543869), (1000, 57.676209), (10_000, 97.442066)] {
        let found = harmonic(d, 2) + harmonic(d, 1).powi(2);
        assert!((found - expected).abs() < 1e-6, "{found} and not {expected}");
    }
    // The largest square itself over its mean, 1/3, 1 or 2, for k = 1; then k = 5 and k = d/10.
    let uniform = factors(StandardUniform, 100, 2500, &[1, 5, 10]);
    assert_near(&uniform, &[3.0 * 100.0 / 102.0, 2.83, 2.69]);
    assert_near(&factors(StandardUniform, 1000, 300, &[1, 5, 10, 100]), &[3.0 * 1000.0 / 1002.0, 2.98, 2.97, 2.71]);
    assert_near(&factors(StandardNormal, 100, 2500, &[1, 5, 10]), &[7.7058, 5.5, 4.3]);
    assert_near(&factors(StandardNormal, 1000, 1000, &[1, 5, 10, 100]), &[11.914, 9.6, 8.4, 4.38]);
    assert_near(&factors(StandardNormal, 10_000, 200, &[1, 5, 100, 1000]), &[16.237, 13.8, 8.4, 4.39]);
    assert_near(&factors(Exp1, 100, 2500, &[1, 5, 10]), &[28.543869 / 2.0, 8.2, 5.9]);
    assert_near(&factors(Exp1, 1000, 1500, &[1, 5, 10, 100]), &[57.676209 / 2.0, 19.5, 15.8, 5.94]);
    assert_near(&factors(Exp1, 10_000, 1000, &[1, 5, 100, 1000]), &[97.442066 / 2.0, 36.7, 16.2, 5.94]);
}
