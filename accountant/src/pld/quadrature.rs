//! Gauss-Legendre rules on pieces that are short where the integrand changes fast.
//!
//! Integrands here are products of normal densities (or exponentials) with exponentials: entire functions whose logarithm
//! has a slope of at most `reach`. With m nodes on a piece of half-width a the rule errs, relative to the integral, by
//! about 2^(2m+1) (m!)^4 / ((2m+1) (2m)!^3) (a reach)^(2m) e^(a reach) (Davis & Rabinowitz 1984, 2.7.12): below 1e-15 at
//! each of the three sizes used here.

/// (node, weight) on [-1, 1], non-negative nodes only.
const THREE: [(f64, f64); 2] = [(0.0, 8.0 / 9.0), (0.774_596_669_241_483_4, 5.0 / 9.0)];
const SIX: [(f64, f64); 3] = [
    (0.238_619_186_083_196_9, 0.467_913_934_572_691_05),
    (0.661_209_386_466_264_5, 0.360_761_573_048_138_6),
    (0.932_469_514_203_152, 0.171_324_492_379_170_34),
];
const SIXTEEN: [(f64, f64); 8] = [
    (0.095_012_509_837_637_44, 0.189_450_610_455_068_5),
    (0.281_603_550_779_258_9, 0.182_603_415_044_923_6),
    (0.458_016_777_657_227_4, 0.169_156_519_395_002_53),
    (0.617_876_244_402_643_7, 0.149_595_988_816_576_73),
    (0.755_404_408_355_003, 0.124_628_971_255_533_87),
    (0.865_631_202_387_831_7, 0.095_158_511_682_492_78),
    (0.944_575_023_073_232_6, 0.062_253_523_938_647_89),
    (0.989_400_934_991_649_9, 0.027_152_459_411_754_095),
];

/// Largest a reach of the three rules.
const SIZES: [f64; 3] = [0.005, 0.4, 6.0];

/// Calls `f(x, weight)` for nodes and weights that integrate over `[from, to]`.
///
/// `reach(x)` is a convex bound on the slope of the integrand's logarithm near x.
pub(super) fn nodes(from: f64, to: f64, reach: impl Fn(f64) -> f64, mut f: impl FnMut(f64, f64)) {
    let mut left = from;
    while left < to {
        let longest = 2.0 * SIZES[2] / reach(left);
        let slope = reach(left).max(reach((left + longest).min(to)));
        let right = (left + 2.0 * SIZES[2] / slope).min(to);
        // A step that underflows ends the interval.
        let right = if right > left { right } else { to };
        let (middle, half) = (0.5 * (left + right), 0.5 * (right - left));
        let size = half * slope;
        let rule: &[(f64, f64)] = if size <= SIZES[0] {
            &THREE
        } else if size <= SIZES[1] {
            &SIX
        } else {
            &SIXTEEN
        };
        for &(x, weight) in rule {
            if x > 0.0 {
                f(middle - half * x, half * weight);
            }
            f(middle + half * x, half * weight);
        }
        left = right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::{LN_SQRT_2PI, tail};

    #[test]
    fn normal_masses_are_met_relative_to_their_size() {
        let density = |x: f64| (-x * x / 2.0 - LN_SQRT_2PI).exp();
        for (from, to) in [(-1.0, 1.0), (3.0, 3.001), (5.0, 5.2), (-40.0, 40.0), (6.0, 30.0), (0.1, 0.5)] {
            let mut sum = 0.0;
            nodes(from, to, |x| 1.0 + x.abs(), |x, weight| sum += weight * density(x));
            let want = if to - from > 0.01 { tail(from) - tail(to) } else { 4.425_206_545_128_054e-6 };
            let allowed = if to - from > 0.01 { 3e-14 } else { 1e-14 };
            assert!((sum / want - 1.0).abs() < allowed, "({from}, {to}): {sum}, want {want}");
        }
    }

    #[test]
    fn each_rule_integrates_an_exponential_at_its_largest_size() {
        for size in SIZES {
            let mut sum = 0.0;
            nodes(-1.0, 1.0, |_| size, |x, weight| sum += weight * (size * x).exp());
            let want = 2.0 * size.sinh() / size;
            assert!((sum / want - 1.0).abs() < 2e-15, "{size}: {sum}, want {want}");
        }
    }
}
