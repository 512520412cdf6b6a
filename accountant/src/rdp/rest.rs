//! What is left of an exponential once its leading terms are gone, without cancellation.
//!
//! For a pair (P, Q) with privacy loss l = ln P/Q every moment is A - 1 = E_Q g(l) with g >= 0 below, because
//! E_Q (P/Q) = 1. Sums of g lose no digits, however small the divergence is.

/// Bound on the relative error of [`excess`] over 1 + order |loss|, in units of 2^-52: 25 measured against 60 digits.
const EXCESS_UNITS: f64 = 64.0;

/// g(l) = e^{alpha l} - 1 - alpha (e^l - 1), for order alpha > 1 and alpha l < 700, rounded up for a loss with this
/// relative error. (l g'(l)/g(l) is at most 2 + (alpha + 1)|l|.)
pub(super) fn excess(order: f64, loss: f64, loss_error: f64) -> f64 {
    let (beta, z) = (order - 1.0, loss.exp_m1());
    let value =
        if (order * z).abs() < 0.1 { binomial_rest(order, z) } else { loss.exp() * (beta * loss).exp_m1() - beta * z };
    let size = 1.0 + order * loss.abs();
    value * (1.0 + EXCESS_UNITS * f64::EPSILON * size + 2.0 * loss_error * (1.0 + size))
}

/// (1 + z)^alpha - 1 - alpha z for |alpha z| < 0.1 by its Taylor series: from the third term on each one is less than a
/// tenth of its predecessor, so that 18 terms leave nothing.
pub(super) fn binomial_rest(order: f64, z: f64) -> f64 {
    let mut term = 0.5 * order * (order - 1.0) * z * z;
    let mut sum = term;
    for j in 2..20 {
        let j = f64::from(j);
        term *= (order - j) / (j + 1.0) * z;
        sum += term;
        if term.abs() <= 1e-18 * sum {
            break;
        }
    }
    sum
}

/// e^x - 1 - x >= 0, to some 16 units of 2^-52: below 1/2 by its series, above it by what is lost there, a factor 5.
pub(super) fn exp_rest(x: f64) -> f64 {
    if x.abs() >= 0.5 {
        return x.exp_m1() - x;
    }
    // x^2/2 (1 + x/3 (1 + x/4 (..))): 16 factors leave less than 0.5^16/18! of the sum.
    let series = (3..=18).rev().fold(1.0, |rest, k| 1.0 + x / f64::from(k) * rest);
    0.5 * x * x * series
}

/// ln(1 + sum of e^{logs}), rounded up. Every logarithm carries its own error already.
pub(super) fn ln_one_plus(logs: &[f64]) -> f64 {
    let peak = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // NaN means that floating point could not form a term: nothing is known then.
    if logs.iter().any(|log| log.is_nan()) || peak == f64::INFINITY {
        return f64::INFINITY;
    }
    let adding = 1.0 + (8.0 + logs.len() as f64) * f64::EPSILON;
    if peak < 300.0 {
        let sum: f64 = logs.iter().map(|log| log.exp()).sum();
        (sum * adding).ln_1p() * (1.0 + 2.0 * f64::EPSILON) + f64::MIN_POSITIVE
    } else {
        // The 1 is below rounding here; a unit covers it.
        let sum: f64 = logs.iter().map(|log| (log - peak).exp()).sum();
        (peak + (sum * adding).ln()) * (1.0 + 4.0 * f64::EPSILON)
    }
}

/// ln(1 - q + q e^v) for v >= 0, rounded up.
pub(super) fn log_mixture(q: f64, v: f64) -> f64 {
    let (value, size) = if v < 30.0 {
        let value = (q * v.exp_m1()).ln_1p();
        (value, value)
    } else {
        (q.ln() + v + ((1.0 - q) / q * (-v).exp()).ln_1p(), v - q.ln())
    };
    // v itself carries a few roundings, which count fully, as the derivative in v is below 1 and v e^v/(e^v - 1) is
    // below v + 1.
    value + 16.0 * f64::EPSILON * (size + value * v.min(30.0)) + f64::MIN_POSITIVE
}

#[cfg(test)]
#[allow(clippy::excessive_precision)]
mod tests {
    use super::*;

    #[test]
    fn excess_agrees_with_forty_digits() {
        // mpmath: e^{a y} - 1 - a (e^y - 1).
        for (order, y, want) in GOLDEN {
            let got = excess(order, y, 0.0);
            assert!(got >= want && got < want * (1.0 + 1e-12 * (1.0 + order * y.abs())), "{order} {y}: {got} {want}");
        }
    }

    #[test]
    fn the_rest_of_the_exponential_has_no_step() {
        for x in [0.5_f64, -0.5] {
            let (inside, outside) = (exp_rest(x * (1.0 - 1e-16)), x.exp_m1() - x);
            assert!((inside / outside - 1.0).abs() < 4e-15, "{inside} {outside}");
        }
        // 1e-20/2 (1 + 1e-10/3).
        assert!((exp_rest(1e-10) / (5e-21 * (1.0 + 1e-10 / 3.0)) - 1.0).abs() < 1e-15);
    }

    const GOLDEN: [(f64, f64, f64); 10] = [
        (1.000001, 1e-05, 5.000038333096998e-17),
        (1.000001, -2.0, 5.93994420911682e-7),
        (1.5, 0.3, 0.043523974126164152),
        (1.5, -0.07, 0.00173379272734327),
        (2.0, 1e-09, 1.0000000010000001e-18),
        (20.0, -4.0, 18.633687222225316),
        (20.0, 5.0, 2.6881171418161354e+43),
        (1000.0, 0.001, 0.7177816617507036),
        (1000000.0, -1e-08, 4.9833699168053743e-5),
        (1000000000.0, 1e-12, 5.0016670784166804e-7),
    ];
}
