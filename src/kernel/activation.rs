//! Element-wise functions and what their backward passes multiply cotangents by.

use super::{Real, once};
use crate::profile::{self, Part};
use rayon::prelude::*;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`; a NaN comes through.
    Relu,
}

/// Elements a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The function of every element.
pub(crate) fn forward<T: Real>(xs: &[T], function: Function) -> Vec<T> {
    let _time = profile::time(Part::Activations);
    let mut ys = vec![T::default(); xs.len()];
    let each = |(ys, xs): (&mut [T], &[T])| match function {
        Function::Tanh => {
            ys.copy_from_slice(xs);
            T::tanh_of(ys);
        }
        Function::Relu => pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                for (y, x) in once(ys).iter_mut().zip(xs) {
                    *y = if *x < T::zero() { T::zero() } else { *x };
                }
            },
        ),
    };
    ys.par_chunks_mut(CHUNK).zip(xs.par_chunks(CHUNK)).for_each(each);
    ys
}

/// The cotangent of the input, from the output `ys` and its cotangent.
pub(crate) fn backward<T: Real>(ys: &[T], cotangents: &[T], function: Function) -> Vec<T> {
    let _time = profile::time(Part::Activations);
    let mut out = vec![T::default(); ys.len()];
    let each = |(out, (ys, cotangents)): (&mut [T], (&[T], &[T]))| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let pairs = once(out).iter_mut().zip(ys).zip(cotangents);
                match function {
                    Function::Tanh => pairs.for_each(|((out, y), g)| *out = *g * (T::one() - *y * *y)),
                    Function::Relu => {
                        pairs.for_each(|((out, y), g)| *out = if *y > T::zero() { *g } else { T::zero() });
                    }
                }
            },
        );
    };
    let inputs = ys.par_chunks(CHUNK).zip(cotangents.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(each);
    out
}

/// tanh of every element in f32, within 4 units in the last place: t/(t + 2) with t = e^{2|x|} - 1.
///
/// No branch and no fused operation: every instruction set gives the same bits.
pub(super) fn tanh_f32(values: &mut [f32]) {
    /// From here on tanh rounds to 1.
    const MOST: f32 = 9.02;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for value in once(values) {
                let size = value.abs();
                let (power, small) = exponential(2.0 * if size > MOST { MOST } else { size });
                let t = power * small + (power - 1.0);
                // NaN: `size > MOST` is false, and everything after is NaN.
                let tanh = if size > MOST { 1.0 } else { t / (t + 2.0) };
                *value = tanh.copysign(*value);
            }
        },
    );
}

/// The logistic function 1/(1 + e^-x) of every element in f32, within 4 units in the last place down to e^-87.
pub(super) fn sigmoid_f32(values: &mut [f32]) {
    /// Below minus this the result is e^-MOST, the least ordinary number there is about.
    const MOST: f32 = 87.0;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for value in once(values) {
                let size = value.abs();
                let (power, small) = exponential(-if size > MOST { MOST } else { size });
                // e^-|x|, at most 1: neither side overflows or cancels.
                let e = power + power * small;
                let s = 1.0 / (1.0 + e);
                *value = if *value < 0.0 { e * s } else { s };
            }
        },
    );
}

/// e^x of every element not above zero in f32, within 2 units in the last place down to e^-87, which everything below becomes.
pub(super) fn exp_f32(values: &mut [f32]) {
    const LEAST: f32 = -87.0;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for value in once(values) {
                // NaN: `value < LEAST` is false, and everything after is NaN.
                let (power, small) = exponential(if *value < LEAST { LEAST } else { *value });
                *value = power + power * small;
            }
        },
    );
}

/// (2^n, e^r - 1) with e^z = 2^n e^r and |r| <= ln 2 / 2, for |z| <= 87.
///
/// e^r - 1 is a polynomial without a constant, so that nothing cancels near 0.
#[inline(always)]
fn exponential(z: f32) -> (f32, f32) {
    /// ln 2 in two parts: the first has few digits, so that its multiples by n are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    /// Added and taken away, this rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let n = (z * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (z - n * LN_2.0) - n * LN_2.1;
    // Taylor's polynomial: the next term is below 2^-27 of r.
    let tail = r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)))));
    let small = r + r * r * (0.5 + tail);
    (f32::from_bits(((n as i32 + 127) << 23) as u32), small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_four_units_of_the_exact_one() {
        let mut worst = 0.0_f64;
        let tiny = (-300..0).map(|k| 2.0_f64.powf(f64::from(k) / 10.0) as f32);
        let ordinary = (1..200_000).map(|k| k as f32 * 1e-4);
        for x in tiny.chain(ordinary) {
            for x in [x, -x] {
                let mut y = [x];
                tanh_f32(&mut y);
                let want = f64::from(x).tanh();
                let unit = f64::from((want as f32).abs().next_up() - (want as f32).abs());
                worst = worst.max((f64::from(y[0]) - want).abs() / unit);
                assert!(y[0].abs() <= 1.0);
            }
        }
        assert!(worst < 4.0, "{worst}");
    }

    #[test]
    fn the_logistic_function_is_within_four_units_of_the_exact_one() {
        let mut worst = 0.0_f64;
        for x in (-860_000..860_000).step_by(7).map(|k| k as f32 * 1e-4) {
            let mut y = [x];
            sigmoid_f32(&mut y);
            let want = 1.0 / (1.0 + f64::from(-x).exp());
            let unit = f64::from((want as f32).next_up() - want as f32);
            worst = worst.max((f64::from(y[0]) - want).abs() / unit);
        }
        assert!(worst < 4.0, "{worst}");
        let mut ends = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0];
        sigmoid_f32(&mut ends);
        assert!(ends[0] == 1.0 && ends[1] < 1e-37 && ends[1] >= 0.0 && ends[2].is_nan() && ends[3] == 0.5, "{ends:?}");
    }

    #[test]
    fn exponentials_are_within_two_units_of_the_exact_ones() {
        let mut worst = 0.0_f64;
        for x in (-870_000..=0).step_by(7).map(|k| k as f32 * 1e-4) {
            let mut y = [x];
            exp_f32(&mut y);
            let want = f64::from(x).exp();
            let unit = f64::from((want as f32).next_up() - want as f32);
            worst = worst.max((f64::from(y[0]) - want).abs() / unit);
        }
        assert!(worst < 2.0, "{worst}");
        let mut ends = [f32::NEG_INFINITY, f32::NAN, 0.0, -0.0];
        exp_f32(&mut ends);
        assert!(ends[0] < 1e-37 && ends[1].is_nan() && ends[2] == 1.0 && ends[3] == 1.0, "{ends:?}");
    }

    #[test]
    fn ends_and_numbers_that_are_not() {
        let mut ys = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::NAN];
        tanh_f32(&mut ys);
        assert_eq!((ys[0].to_bits(), ys[1].to_bits()), (0, 1 << 31));
        assert_eq!((ys[2], ys[3], ys[4]), (1.0, -1.0, 1e-40));
        assert!(ys[5].is_nan());
        assert!(forward(&[f32::NAN, -1.0, 2.0], Function::Relu)[0].is_nan());
        assert_eq!(forward(&[-1.0, 0.0, 2.0_f64], Function::Relu), [0.0, 0.0, 2.0]);
    }

    #[test]
    fn the_backward_pass_multiplies_by_the_derivative() {
        let xs: Vec<f64> = (-20..20).map(|k| f64::from(k) * 0.3 + 0.05).collect();
        for function in [Function::Tanh, Function::Relu] {
            let h = 1e-6;
            let at = |shift: f64| forward(&xs.iter().map(|x| x + shift).collect::<Vec<_>>(), function);
            let (above, below, ys) = (at(h), at(-h), at(0.0));
            let got = backward(&ys, &vec![2.0; xs.len()], function);
            for ((got, above), below) in got.iter().zip(above).zip(below) {
                assert!((got - (above - below) / h).abs() < 1e-8, "{function:?}: {got}");
            }
        }
    }
}
