//! Softmax cross-entropy of rows of logits, and its gradient, in one pass each.

use super::team::Shared;
use super::{Real, once};
use crate::profile::{self, Part};
use rayon::prelude::*;

/// Logits a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// `ln sum_j e^(x_j - x_y)` for every row `x` of `classes` logits with target `y` below `classes`.
pub(crate) fn losses<T: Real>(logits: &[T], targets: &[u32], classes: usize) -> Vec<T> {
    let _time = profile::time(Part::CrossEntropy);
    let mut losses = vec![T::default(); targets.len()];
    if targets.is_empty() {
        return losses;
    }
    let rows = rows(classes);
    let parts = logits.par_chunks(rows * classes).zip(targets.par_chunks(rows));
    losses.par_chunks_mut(rows).zip(parts).each_with(
        || vec![T::default(); classes],
        |powers, (losses, (logits, targets))| {
            let out = (losses, powers);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                move || {
                    let (losses, powers) = once(out);
                    for ((loss, row), target) in losses.iter_mut().zip(logits.chunks_exact(classes)).zip(targets) {
                        let (largest, sum) = exponentials(row, powers);
                        *loss = sum.ln() + (largest - row[*target as usize]);
                    }
                },
            );
        },
    );
    losses
}

/// The cotangents of the logits from those of the losses: `g (softmax(x) - 1[j = y])`.
pub(crate) fn logit_cotangents<T: Real>(logits: &[T], targets: &[u32], cotangents: &[T], classes: usize) -> Vec<T> {
    let _time = profile::time(Part::CrossEntropy);
    let mut out = vec![T::default(); logits.len()];
    if targets.is_empty() {
        return out;
    }
    let rows = rows(classes);
    let inputs = logits.par_chunks(rows * classes).zip(targets.par_chunks(rows).zip(cotangents.par_chunks(rows)));
    out.par_chunks_mut(rows * classes).zip(inputs).each(|(out, (logits, (targets, cotangents)))| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let each = once(out).chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
                for ((out, row), (target, g)) in each.zip(targets.iter().zip(cotangents)) {
                    let (_, sum) = exponentials(row, out);
                    let factor = *g / sum;
                    out.iter_mut().for_each(|power| *power *= factor);
                    out[*target as usize] -= *g;
                }
            },
        );
    });
    out
}

/// How many rows make a chunk.
fn rows(classes: usize) -> usize {
    CHUNK.div_ceil(classes)
}

/// `powers = e^(row - largest)`; the largest logit and the sum of the powers.
#[inline(always)]
fn exponentials<T: Real>(row: &[T], powers: &mut [T]) -> (T, T) {
    let largest = row.iter().fold(T::neg_infinity(), |largest, x| if *x > largest { *x } else { largest });
    powers.iter_mut().zip(row).for_each(|(power, x)| *power = (*x - largest).exp_of_at_most_0());
    (largest, powers.iter().copied().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_their_gradients_are_those_of_the_definition() {
        for classes in [1, 2, 3, 10, 17, 1000] {
            let logits: Vec<f32> = (0..5 * classes).map(|i| ((i * 37) % 23) as f32 - 11.0).collect();
            let targets: Vec<u32> = (0..5).map(|i| (i * 7 % classes) as u32).collect();
            let g = [1.0, -2.0, 0.5, 0.0, 3.0];
            let (got, back) = (losses(&logits, &targets, classes), logit_cotangents(&logits, &targets, &g, classes));
            for (i, row) in logits.chunks(classes).enumerate() {
                let (target, sum) = (targets[i] as usize, row.iter().map(|x| f64::from(*x).exp()).sum::<f64>());
                let loss = sum.ln() - f64::from(row[target]);
                assert!((f64::from(got[i]) - loss).abs() < 1e-5 * (1.0 + loss), "{} and not {loss}", got[i]);
                for (j, x) in row.iter().enumerate() {
                    let expected = f64::from(g[i]) * (f64::from(*x).exp() / sum - f64::from(u8::from(j == target)));
                    assert!((f64::from(back[i * classes + j]) - expected).abs() < 1e-6, "{classes}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn large_logits_do_not_overflow_and_nan_stays_in_its_row() {
        let logits = [1e30f32, -1e30, 0.0, 0.0, f32::NAN, 1.0, f32::INFINITY, 0.0];
        let (got, back) = (losses(&logits, &[0, 1, 0, 1], 2), logit_cotangents(&logits, &[0, 1, 0, 1], &[1.0; 4], 2));
        assert_eq!(got[0], 0.0);
        assert!((got[1] - std::f32::consts::LN_2).abs() < 1e-6 && got[2].is_nan() && !got[3].is_finite(), "{got:?}");
        assert!(back[..2] == [0.0, 0.0], "{back:?}");
        assert!((back[2] - 0.5).abs() < 1e-6 && (back[3] + 0.5).abs() < 1e-6 && back[4].is_nan(), "{back:?}");
    }
}
