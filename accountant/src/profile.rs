//! Exact privacy profiles delta(epsilon) of single mechanisms, with their rounding errors.

use crate::exponentials::ln_add;
use crate::normal::{LN_SQRT_2PI, RELATIVE_ERROR, ln_tail, mills, mills_deficit, tail};
use crate::relation::Relation;
use crate::terms::Sampled;

/// ln of the delta of a Gaussian of parameter `mu` at t = epsilon/mu - mu/2, and a bound on its absolute error.
///
/// Balle & Wang 2018, theorem 8: delta = P(X > t) - e^epsilon P(X > t + mu). Because e^epsilon density(t + mu) =
/// density(t), this is density(t) (m(t) - m(t + mu)) with Mills' ratio m: no exponential of epsilon is ever formed.
/// Decreasing in t, increasing in mu at fixed epsilon.
///
/// Error: every factor is good to [`RELATIVE_ERROR`]; the subtraction multiplies that by (sum)/(difference); the
/// exponent t^2/2 carries 2^-52 of its own size.
pub(crate) fn ln_gaussian_delta(mu: f64, t: f64) -> (f64, f64) {
    let exponent = -t * t / 2.0 - LN_SQRT_2PI;
    let rounding = 2.0 * RELATIVE_ERROR + 2.0 * f64::EPSILON * t * t;
    if mu < 0.5 {
        // m(t) - m(t + mu) is the integral of 1 - s m(s), smooth and positive: no cancellation. Gauss-Legendre with 8
        // nodes on at most half a unit errs far below rounding, the nearest singularity being at infinity.
        let difference = mu * gauss_legendre(|s| mills_deficit(t + mu * s));
        return (exponent + difference.ln(), rounding);
    }
    let far = mills(t + mu);
    if t >= 0.0 {
        let near = mills(t);
        let difference = near - far;
        (exponent + difference.ln(), rounding + RELATIVE_ERROR * (near + far) / difference)
    } else {
        // Here the first term is at least a half, and m(t) itself may not be finite. Only the second carries the
        // rounding of the exponent, where it vanishes whenever that is large.
        let (first, second) = (tail(t), exponent.exp() * far);
        let difference = first - second;
        let error = 2.0 * RELATIVE_ERROR * first + (RELATIVE_ERROR + rounding) * second;
        (difference.ln(), error / difference)
    }
}

/// Integral over (0, 1) by the 8-point Gauss-Legendre rule (nodes and weights: Abramowitz & Stegun, table 25.4).
fn gauss_legendre(f: impl Fn(f64) -> f64) -> f64 {
    const RULE: [(f64, f64); 4] = [
        (0.183_434_642_495_649_8, 0.362_683_783_378_362),
        (0.525_532_409_916_329, 0.313_706_645_877_887_3),
        (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
        (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
    ];
    RULE.iter().map(|(x, w)| 0.5 * w * (f(0.5 - 0.5 * x) + f(0.5 + 0.5 * x))).sum()
}

/// A lower bound on the delta of one Poisson-sampled Gaussian release at `epsilon` >= 0.
///
/// The profile in closed form (Zhu, Dong & Wang 2022): P(x > x*) - e^epsilon Q(x > x*), where x* is the point at which
/// the privacy loss equals epsilon. Add/remove and zero-out: P = (1-q) N(0, s^2) + q N(1, s^2), Q = N(0, s^2), the
/// REMOVE direction. Replace: Q = (1-q) N(0, s^2) + q N(-1, s^2). *Every* threshold gives a valid lower bound on
/// delta, so an error in x* costs tightness and never validity; what is subtracted is the error of the two tails.
pub(crate) fn poisson_delta_at_least(term: Sampled, relation: Relation, epsilon: f64) -> f64 {
    let (q, s) = (term.rate, term.noise_multiplier);
    let half_precision = 0.5 / (s * s);
    // e^epsilon - 1 in log space; -inf at epsilon = 0.
    let ln_expm1 = if epsilon > 30.0 { epsilon } else { epsilon.exp_m1().ln() };
    // What Q and P's null component take away, and what P's other component gives: logarithms of positive terms.
    let (ln_gain, ln_loss, x) = match relation {
        Relation::AddRemove | Relation::ZeroOut => {
            // 1 + (e^epsilon - 1)/q
            let x = 0.5 + s * s * ln_add(0.0, ln_expm1 - q.ln());
            // delta = q N1(x > x*) - (e^epsilon - 1 + q) N0(x > x*)
            (q.ln() + ln_tail((x - 1.0) / s), ln_add(ln_expm1, q.ln()) + ln_tail(x / s), x)
        }
        Relation::Replace => {
            // sinh(y) = (1-q)/q e^{1/(2 s^2)} sinh(epsilon/2), x* = s^2 (y + epsilon/2)
            let ln_ratio = (-q).ln_1p() - q.ln();
            let ln_two_sinh = ln_expm1 - 0.5 * epsilon;
            let ln_v = ln_ratio + half_precision + ln_two_sinh - std::f64::consts::LN_2;
            let y = if ln_v > 20.0 { ln_v + std::f64::consts::LN_2 } else { ln_v.exp().asinh() };
            let x = s * s * (y + 0.5 * epsilon);
            // delta = q N1 - (1-q)(e^epsilon - 1) N0 - q e^epsilon N-1, all of x > x*
            let losses = ln_add((-q).ln_1p() + ln_expm1 + ln_tail(x / s), q.ln() + epsilon + ln_tail((x + 1.0) / s));
            (q.ln() + ln_tail((x - 1.0) / s), losses, x)
        }
    };
    // Absolute error of each logarithm: its tail's, and 2^-50 of the sizes that went into it. (x +- 1)/s is rounded,
    // which moves the tail's logarithm by about (1 + |x/s|) times that rounding, as does a noise multiplier that joins
    // several releases and was rounded down.
    let size = 1.0 + epsilon + q.ln().abs() + ((x.abs() + 1.0) / s).powi(2);
    let error = 4.0 * (RELATIVE_ERROR + (16.0 * f64::EPSILON + 0.5 * term.doubt) * size);
    let gap = ln_loss - ln_gain + error;
    // Also false for NaN, which arises only where everything has under- or overflowed: zero is always a lower bound.
    if gap < 0.0 { (ln_gain - error).exp() * -gap.exp_m1() } else { 0.0 }
}

/// A lower bound on the epsilon of one Poisson-sampled Gaussian release at `delta`.
///
/// Where the lower bound on delta at some epsilon exceeds `delta`, the true epsilon is larger than that one.
pub(crate) fn poisson_epsilon_at_least(term: Sampled, relation: Relation, delta: f64) -> f64 {
    let exceeds = |epsilon: f64| poisson_delta_at_least(term, relation, epsilon) > delta;
    if !exceeds(0.0) {
        return 0.0;
    }
    let mut end = 1.0;
    while exceeds(end) && end < 1e300 {
        end *= 2.0;
    }
    bisect(0.0, end, |epsilon| !exceeds(epsilon)).0
}

/// The ends (false, true) of a predicate that is false at `start` and true at `end`, next to each other.
pub(crate) fn bisect(mut start: f64, mut end: f64, holds: impl Fn(f64) -> bool) -> (f64, f64) {
    // Some 60 halvings separate two neighbouring numbers of similar size; the limit bounds the time, not the answer.
    for _ in 0..200 {
        let middle = 0.5 * (start + end);
        if middle <= start || middle >= end {
            break;
        }
        if holds(middle) {
            end = middle;
        } else {
            start = middle;
        }
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_profile_agrees_with_forty_digits() {
        // (mu, epsilon, delta): closed form in 40-digit arithmetic (mpmath).
        for (mu, epsilon, delta) in [
            (1.0, 1.0, 0.126_936_737_506_643_94),
            (0.5, 1.0, 0.006_829_594_983_114_575_5),
            (3.0, 10.0, 0.018_589_514_315_857_807),
            (1.0, 5.0, 5.793_721_691_919_494e-7),
        ] {
            let (ln_delta, error) = ln_gaussian_delta(mu, epsilon / mu - mu / 2.0);
            let got = ln_delta.exp();
            assert!((got / delta - 1.0).abs() < 1e-13, "mu = {mu}, epsilon = {epsilon}: {got}, want {delta}");
            assert!((got / delta - 1.0).abs() <= error && error < 1e-11, "certificate {error}");
        }
    }

    #[test]
    fn both_formulas_of_the_gaussian_profile_meet() {
        for t in [-0.25, 0.0, 1.0, 8.0, 30.0] {
            let (below, _) = ln_gaussian_delta(0.5_f64.next_down(), t);
            let (above, error) = ln_gaussian_delta(0.5, t);
            assert!((below - above).abs() <= error, "t = {t}: {below} against {above}, error {error}");
        }
    }

    #[test]
    fn one_poisson_step_is_bracketed_by_the_published_epsilon() {
        // sigma = 1, q = 0.01, one step, delta = 1e-5: epsilon = 0.199450448 within 2e-6 (accounting.json, T = 1).
        let term = Sampled { rate: 0.01, noise_multiplier: 1.0, doubt: 0.0, count: 1 };
        let delta = |epsilon| poisson_delta_at_least(term, Relation::AddRemove, epsilon);
        assert!(delta(0.199_450_45 - 4e-6) > 1e-5 && delta(0.199_450_45 + 4e-6) < 1e-5);
    }

    #[test]
    fn replace_at_a_rate_of_nearly_one_is_a_gaussian_of_twice_the_sensitivity() {
        let term = Sampled { rate: 1.0 - 1e-12, noise_multiplier: 2.0, doubt: 0.0, count: 1 };
        let got = poisson_delta_at_least(term, Relation::Replace, 1.0);
        assert!((got / 0.126_936_737_506_643_94 - 1.0).abs() < 1e-9, "{got}");
    }
}
