//! Element-wise functions and what their backward passes multiply cotangents by.

use super::Real;
use super::memory::{of_each, of_pairs, written};
use crate::profile::{self, Part};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`; a NaN comes through.
    Relu,
    /// x times the standard normal distribution function of x (Hendrycks and Gimpel 2016).
    Gelu,
}

impl Function {
    /// Whether the derivative is computed from the inputs, and not from the outputs.
    pub(crate) fn looks_at_inputs(self) -> bool {
        self == Self::Gelu
    }
}

/// Elements a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The function of every element.
pub(crate) fn forward<T: Real>(xs: &[T], function: Function) -> Vec<T> {
    let _time = profile::time(Part::Activations);
    let (ys, _) = written(xs.len(), CHUNK, |i, ys, (): &mut ()| {
        let xs = &xs[i * CHUNK..][..ys.len()];
        let ys = match function {
            Function::Tanh => of_each(ys, xs, T::hyperbolic_tangent),
            Function::Relu => of_each(ys, xs, |x| if x < T::zero() { T::zero() } else { x }),
            Function::Gelu => of_each(
                ys,
                xs,
                #[inline(always)]
                |x| x * x.normal().0,
            ),
        };
        (ys, ())
    });
    ys
}

/// The cotangent of the input, from the cotangent of the output and `values`: the input where the function
/// [looks at inputs](Function::looks_at_inputs), otherwise the output.
pub(crate) fn backward<T: Real>(values: &[T], cotangents: &[T], function: Function) -> Vec<T> {
    let _time = profile::time(Part::Activations);
    let (out, _) = written(values.len(), CHUNK, |i, out, (): &mut ()| {
        let chunk = i * CHUNK..i * CHUNK + out.len();
        let pairs = (&values[chunk.clone()], &cotangents[chunk]);
        let out = match function {
            Function::Tanh => of_pairs(out, pairs, |y, g| g * (T::one() - y * y)),
            Function::Relu => of_pairs(out, pairs, |y, g| if y > T::zero() { g } else { T::zero() }),
            Function::Gelu => of_pairs(
                out,
                pairs,
                #[inline(always)]
                |x, g| {
                    let (below, density) = x.normal();
                    g * (below + x * density)
                },
            ),
        };
        (out, ())
    });
    out
}

/// tanh x in f32, within 4 units in the last place: t/(t + 2) with t = e^{2|x|} - 1.
///
/// No branch and no fused operation: every instruction set gives the same bits.
#[inline(always)]
pub(super) fn tanh_f32(x: f32) -> f32 {
    /// From here on tanh rounds to 1.
    const MOST: f32 = 9.02;
    let size = x.abs();
    let (power, small) = exponential(2.0 * if size > MOST { MOST } else { size });
    let t = power * small + (power - 1.0);
    // NaN: `size > MOST` is false, and everything after is NaN.
    let tanh = if size > MOST { 1.0 } else { t / (t + 2.0) };
    tanh.copysign(x)
}

/// The logistic function 1/(1 + e^-x) in f32, within 4 units in the last place down to e^-87.
#[inline(always)]
pub(super) fn logistic_f32(x: f32) -> f32 {
    /// Below minus this the result is e^-MOST, the least ordinary number there is about.
    const MOST: f32 = 87.0;
    let size = x.abs();
    let (power, small) = exponential(-if size > MOST { MOST } else { size });
    // e^-|x|, at most 1: neither side overflows or cancels.
    let e = power + power * small;
    let s = 1.0 / (1.0 + e);
    if x < 0.0 { e * s } else { s }
}

/// e^x in f32 for x of at most 0, within 2 units in the last place. Below e^-64, which is nothing beside 1, it is 0, so that
/// no sum or product with it slows down for subnormal numbers.
#[inline(always)]
pub(super) fn exp_f32(x: f32) -> f32 {
    const LEAST: f32 = -64.0;
    let (power, small) = exponential(if x < LEAST { LEAST } else { x });
    if x < LEAST { 0.0 } else { power + power * small }
}

/// The standard normal distribution function, within 3e-7, and density of x in f32.
///
/// The tail above |x| is the density times a ratio (Mills) that a polynomial in 1/(1 + 0.35 |x|) follows: fitted here, with a
/// relative error of 4e-8 for |x| below 13, before rounding.
#[inline(always)]
pub(super) fn normal_f32(x: f32) -> (f32, f32) {
    const RATIO: [f32; 9] = [
        0.139_621_39,
        0.139_862_2,
        0.119_830_154,
        0.105_520_01,
        -0.023_140_907,
        0.159_222_65,
        -0.255_759_18,
        0.143_994_45,
        -0.029_150_786,
    ];
    const INVERSE_ROOT_2_PI: f32 = 0.398_942_3;
    let power = exp_f32(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.35 * x.abs());
    let mut ratio = 0.0;
    for coefficient in RATIO.iter().rev() {
        ratio = (ratio + coefficient) * t;
    }
    let tail = ratio * power;
    (if x < 0.0 { tail } else { 1.0 - tail }, INVERSE_ROOT_2_PI * power)
}

/// The standard normal distribution function and density of x in f64.
pub(super) fn normal_f64(x: f64) -> (f64, f64) {
    let below = 0.5 * candle_core::cpu::erf::erfc_f64(-x * std::f64::consts::FRAC_1_SQRT_2);
    (below, (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt())
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
    // The integer is in the last digits already: a conversion from float would not be vectorised.
    let rounded = z * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (z - n * LN_2.0) - n * LN_2.1;
    // Taylor's polynomial: the next term is below 2^-27 of r.
    let tail = r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)))));
    let small = r + r * r * (0.5 + tail);
    (f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23), small)
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
                let y = tanh_f32(x);
                let want = f64::from(x).tanh();
                let unit = f64::from((want as f32).abs().next_up() - (want as f32).abs());
                worst = worst.max((f64::from(y) - want).abs() / unit);
                assert!(y.abs() <= 1.0);
            }
        }
        assert!(worst < 4.0, "{worst}");
    }

    #[test]
    fn the_logistic_function_is_within_four_units_of_the_exact_one() {
        let mut worst = 0.0_f64;
        for x in (-860_000..860_000).step_by(7).map(|k| k as f32 * 1e-4) {
            let y = logistic_f32(x);
            let want = 1.0 / (1.0 + f64::from(-x).exp());
            let unit = f64::from((want as f32).next_up() - want as f32);
            worst = worst.max((f64::from(y) - want).abs() / unit);
        }
        assert!(worst < 4.0, "{worst}");
        let ends = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0].map(logistic_f32);
        assert!(ends[0] == 1.0 && ends[1] < 1e-37 && ends[1] >= 0.0 && ends[2].is_nan() && ends[3] == 0.5, "{ends:?}");
    }

    #[test]
    fn exponentials_are_within_two_units_of_the_exact_ones() {
        let mut worst = 0.0_f64;
        for x in (-639_999..1).map(|k| k as f32 * 1e-4) {
            let want = f64::from(x).exp();
            let unit = f64::from((want as f32).next_up() - want as f32);
            worst = worst.max((f64::from(exp_f32(x)) - want).abs() / unit);
        }
        assert!(worst < 2.0, "{worst}");
        assert_eq!([exp_f32(0.0), exp_f32(-64.5), exp_f32(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_function_is_within_its_error() {
        for x in (-140_000..140_000).step_by(7).map(|k| k as f32 * 1e-4) {
            let (got, want) = (normal_f32(x), normal_f64(f64::from(x)));
            assert!((f64::from(got.0) - want.0).abs() < 3e-7, "{x}: {got:?} and not {want:?}");
            assert!((f64::from(got.1) - want.1).abs() < 1e-7, "{x}: {got:?} and not {want:?}");
        }
        // Abramowitz and Stegun 1964, table 26.1.
        let one = normal_f64(1.0);
        assert!((one.0 - 0.841_344_746_068_543).abs() < 1e-15 && (one.1 - 0.241_970_724_519_143).abs() < 1e-15);
        assert!(normal_f32(f32::NAN).0.is_nan());
        assert_eq!((normal_f32(f32::INFINITY), normal_f32(f32::NEG_INFINITY)), ((1.0, 0.0), (0.0, 0.0)));
    }

    #[test]
    fn ends_and_numbers_that_are_not() {
        let ys = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::NAN].map(tanh_f32);
        assert_eq!((ys[0].to_bits(), ys[1].to_bits()), (0, 1 << 31));
        assert_eq!((ys[2], ys[3], ys[4]), (1.0, -1.0, 1e-40));
        assert!(ys[5].is_nan());
        assert!(forward(&[f32::NAN, -1.0, 2.0], Function::Relu)[0].is_nan());
        assert_eq!(forward(&[-1.0, 0.0, 2.0_f64], Function::Relu), [0.0, 0.0, 2.0]);
    }

    #[test]
    fn the_backward_pass_multiplies_by_the_derivative() {
        let xs: Vec<f64> = (-20..20).map(|k| f64::from(k) * 0.3 + 0.05).collect();
        for function in [Function::Tanh, Function::Relu, Function::Gelu] {
            let h = 1e-6;
            let at = |shift: f64| forward(&xs.iter().map(|x| x + shift).collect::<Vec<_>>(), function);
            let (above, below, ys) = (at(h), at(-h), at(0.0));
            let values = if function.looks_at_inputs() { &xs } else { &ys };
            let got = backward(values, &vec![2.0; xs.len()], function);
            for ((got, above), below) in got.iter().zip(above).zip(below) {
                assert!((got - (above - below) / h).abs() < 1e-8, "{function:?}: {got}");
            }
        }
    }
}
