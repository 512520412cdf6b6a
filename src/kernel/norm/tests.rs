//! Cases by hand, and what must not cost a digit or change a bit.

use super::*;

/// Rows of one parameter for each value.
const LAYER: Norm = Norm { rows: 1, parameters: 4, run: 1, shared: true, remove_mean: true, eps: 4.0 };

fn assert_near(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() < 1e-14, "{got:?} and not {expected:?}");
    }
}

fn forward(norm: &Norm, xs: &[f64], scale: &[f64], shift: &[f64]) -> Vec<f64> {
    norm.forward(xs, &norm.moments(xs), scale, shift)
}

fn backward<T: Real>(norm: &Norm, batch: usize, xs: &[T], scale: &[T], cotangents: &[T]) -> Cotangents<T> {
    norm.backward(batch, xs, &norm.moments(xs), scale, cotangents)
}

#[test]
fn a_row_by_hand() {
    // Mean 2, variance (9 + 1 + 1 + 9) / 4 = 5, and sqrt(5 + 4) = 3: normalised -1, -1/3, 1/3, 1.
    let xs = [-1.0, 1.0, 3.0, 5.0];
    let ys = forward(&LAYER, &xs, &[3.0, 3.0, 6.0, -6.0], &[1.0, 0.0, 0.0, 10.0]);
    assert_near(&ys, &[-2.0, -1.0, 2.0, 4.0]);
    // u = (3, 0, 0, 0) has mean 3/4 and along the normalised row -3/4.
    let found = backward(&LAYER, 1, &xs, &[1.0; 4], &[3.0, 0.0, 0.0, 0.0]);
    assert_near(&found.inputs, &[0.5, -1.0 / 3.0, -1.0 / 6.0, 0.0]);
    assert_near(&found.scale, &[-3.0, 0.0, 0.0, 0.0]);
    assert_near(&found.shift, &[3.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_row_that_keeps_its_mean_by_hand() {
    // The mean square is (1 + 1 + 1 + 25) / 4 = 7, and sqrt(7 + 2) = 3.
    let norm = Norm { remove_mean: false, eps: 2.0, ..LAYER };
    let xs = [1.0, 1.0, -1.0, 5.0];
    assert_near(&forward(&norm, &xs, &[3.0; 4], &[0.0; 4]), &xs);
    // u = (0, 0, 0, 12): along the normalised row 12 (5/3) / 4 = 5, so the row loses 5 times (1, 1, -1, 5) / 3.
    let found = backward(&norm, 1, &xs, &[1.0; 4], &[0.0, 0.0, 0.0, 12.0]);
    assert_near(&found.inputs, &[-5.0 / 9.0, -5.0 / 9.0, 5.0 / 9.0, 12.0 / 3.0 - 25.0 / 9.0]);
    assert_near(&found.scale, &[0.0, 0.0, 0.0, 20.0]);
}

#[test]
fn rows_of_one_example_share_their_scales_or_have_their_own() {
    let xs = [-1.0, 1.0, 3.0, 5.0, 5.0, 3.0, 1.0, -1.0];
    let together = Norm { rows: 2, ..LAYER };
    let found = backward(&together, 1, &xs, &[1.0; 4], &[1.0; 8]);
    assert_near(&found.scale, &[0.0; 4]);
    assert_near(&found.shift, &[2.0; 4]);
    // Two channels of two values in each row.
    let apart = Norm { rows: 2, parameters: 2, run: 2, shared: false, ..LAYER };
    assert_near(
        &forward(&apart, &xs, &[3.0, 6.0, 3.0, 9.0], &[0.0, 0.0, 0.0, 1.0]),
        &[-3.0, -1.0, 2.0, 6.0, 3.0, 1.0, -2.0, -8.0],
    );
    let found = backward(&apart, 1, &xs, &[1.0; 4], &[1.0; 8]);
    assert_near(&found.scale, &[-4.0 / 3.0, 4.0 / 3.0, 4.0 / 3.0, -4.0 / 3.0]);
    assert_near(&found.shift, &[2.0; 4]);
}

#[test]
fn a_large_mean_costs_no_digits() {
    // In f32 arithmetic the squares near 1e8 leave no digit of a deviation near 0.01.
    let norm = Norm { parameters: 64, eps: 1e-9, ..LAYER };
    let xs: Vec<f32> = (0..64).map(|i| 1e4 + 0.01 * ((i * 29 % 64) as f32)).collect();
    let exact: Vec<f64> = xs.iter().map(|x| f64::from(*x)).collect();
    let mean = exact.iter().sum::<f64>() / 64.0;
    let deviation = (exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 64.0 + 1e-9).sqrt();
    let ys = norm.forward(&xs, &norm.moments(&xs), &[1.0; 64], &[0.0; 64]);
    for (y, x) in ys.iter().zip(exact) {
        assert!((f64::from(*y) - (x - mean) / deviation).abs() < 3e-7, "{y}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let norm = Norm { rows: 3, parameters: 2, run: 11, shared: false, remove_mean: true, eps: 1e-5 };
    let numbers =
        |salt: usize| -> Vec<f32> { (0..40 * 66).map(|i| ((i * 7919 + salt) % 1013) as f32 / 97.0).collect() };
    let (xs, cotangents, scale) = (numbers(1), numbers(500), [0.3, -1.0, 2.0, 0.7, 1.1, -0.2]);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| backward(&norm, 40, &xs, &scale, &cotangents));
        (found.inputs, found.scale, found.shift)
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn no_values_have_no_gradient() {
    let norm = Norm { rows: 0, ..LAYER };
    let found = backward::<f32>(&norm, 2, &[], &[1.0; 4], &[]);
    assert!(found.inputs.is_empty() && found.scale == [0.0; 8] && found.shift == [0.0; 8]);
    assert!(forward(&norm, &[], &[1.0; 4], &[0.0; 4]).is_empty());
}
