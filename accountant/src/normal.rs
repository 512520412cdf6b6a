//! Tails of the normal distribution, accurate relative to their own size, however small they are.
//!
//! Written here because a guarantee needs a known error: the error functions of general libraries are good to some
//! 1e-11 in places, which a difference of two tails then magnifies.

/// Bound on the relative error of [`mills`], [`mills_deficit`] and [`tail`], the exponent's rounding aside.
///
/// Both expansions are sums or chains of positive terms, good to a few units of 2^-53; the subtractions from one half
/// and from one lose a factor 6 at most where they are used. The unit tests compare with 40-digit values.
pub(crate) const RELATIVE_ERROR: f64 = 4e-15;

/// Where the continued fraction takes over from the power series.
const FAR: f64 = 1.0;

/// ln sqrt(2 pi).
pub(crate) const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// The density of the standard normal distribution.
fn density(t: f64) -> f64 {
    (-t * t / 2.0 - LN_SQRT_2PI).exp()
}

/// K(t) in m(t) = 1/(t + K(t)): Laplace's continued fraction K = 1/(t + 2/(t + 3/(t + ..))) for t >= 1.
///
/// Cut after n levels it errs by about exp(-2 t sqrt(n)): n = 40 + 420/t^2 leaves less than e^-40.
fn laplace(t: f64) -> f64 {
    let levels = (40.0 + 420.0 / (t * t)) as i32;
    (1..=levels).rev().fold(0.0, |rest, k| f64::from(k) / (t + rest))
}

/// (P(X < t) - 1/2) / density(t) = t + t^3/3 + t^5/(3 5) + .. for |t| <= 1: 24 terms leave less than 1e-30.
fn series(t: f64) -> f64 {
    (1..=24).rev().fold(1.0, |sum, k| 1.0 + sum * t * t / f64::from(2 * k + 1)) * t
}

/// Mills' ratio m(t) = P(X > t) / density(t). Grows like exp(t^2/2) for negative t: use it for t > -30.
pub(crate) fn mills(t: f64) -> f64 {
    if t >= FAR { 1.0 / (t + laplace(t)) } else { tail(t) / density(t) }
}

/// 1 - t m(t) = -m'(t) > 0, without cancellation for large t.
pub(crate) fn mills_deficit(t: f64) -> f64 {
    if t >= FAR {
        let rest = laplace(t);
        rest / (t + rest)
    } else {
        1.0 - t * mills(t)
    }
}

/// P(X > x).
pub(crate) fn tail(x: f64) -> f64 {
    if x >= FAR {
        density(x) * mills(x)
    } else if x <= -FAR {
        1.0 - tail(-x)
    } else {
        // NaN comes here too, and stays NaN.
        0.5 - density(x) * series(x)
    }
}

/// ln P(X > x), for every x; absolute error at most `RELATIVE_ERROR` + x^2 2^-52.
pub(crate) fn ln_tail(x: f64) -> f64 {
    if x >= FAR {
        -x * x / 2.0 - LN_SQRT_2PI + mills(x).ln()
    } else if x <= -FAR {
        (-tail(-x)).ln_1p()
    } else {
        tail(x).ln()
    }
}

#[cfg(test)]
#[allow(clippy::excessive_precision, clippy::approx_constant)]
mod tests {
    use super::*;

    // mpmath, 40 digits: erfc(x/sqrt 2)/2, Mills' ratio and 1 - t m(t).
    const GOLDEN: [(f64, f64, f64, f64); 10] = [
        (-6.0, -9.86587645524375732e-10, 164585134.988653861, 987510810.931923164),
        (-1.0, -0.17275377902344989, 3.47705181170369447, 4.47705181170369447),
        (0.0, -0.693147180559945309, 1.25331413731550025, 1.0),
        (0.5, -1.17591176159361861, 0.876364456453692347, 0.561817771773153827),
        (0.96875, -1.79375163532114457, 0.666593528839944752, 0.354237518936303522),
        (1.0625, -1.93791157013259375, 0.634752631976926271, 0.325575328524515837),
        (2.875, -6.20458970555559124, 0.315739215869410031, 0.0922497543754461612),
        (3.25, -7.45762489137411204, 0.284382146748492925, 0.0757580230673979948),
        (10.0, -53.2312851505124706, 0.0990285964717319214, 0.00971403528268078605),
        (1000.0, -500007.826694812184, 0.000999999000002999985, 9.99997000014999895e-7),
    ];

    #[test]
    fn tails_agree_with_forty_digits() {
        for (t, ln_tail_40, mills_40, deficit_40) in GOLDEN {
            let close = |got: f64, want: f64| (got / want - 1.0).abs() < RELATIVE_ERROR;
            assert!(close(mills(t), mills_40), "mills({t}) = {}, want {mills_40}", mills(t));
            assert!(close(mills_deficit(t), deficit_40), "deficit({t}) = {}, want {deficit_40}", mills_deficit(t));
            let allowed = RELATIVE_ERROR + t * t * f64::EPSILON;
            assert!((ln_tail(t) - ln_tail_40).abs() <= allowed, "ln tail({t}) = {}, want {ln_tail_40}", ln_tail(t));
            if t < 38.0 {
                assert!((tail(t).ln() - ln_tail_40).abs() <= allowed);
            }
        }
    }

    #[test]
    fn the_two_formulas_meet_without_a_step() {
        for (f, at) in [(mills as fn(f64) -> f64, FAR), (mills_deficit, FAR), (tail, FAR), (tail, -FAR), (mills, -FAR)]
        {
            let (below, above) = (f(at.next_down()), f(at));
            assert!((below / above - 1.0).abs() < RELATIVE_ERROR, "{below} {above}");
        }
    }
}
