//! Tails of the normal distribution, accurate relative to their own size, however small they are.
//!
//! Written here because a guarantee needs a known error: the error functions of general libraries are good to some
//! 1e-11 in places, which a difference of two tails then magnifies.

use std::sync::LazyLock;

/// Bound on the relative error of [`mills`], [`mills_deficit`] and [`tail`], the exponent's rounding aside.
///
/// All expansions are sums or chains that lose a few units of 2^-53; the subtractions from one half and from one lose a
/// factor 6 at most where they are used. The unit tests compare with 40-digit values.
pub(crate) const RELATIVE_ERROR: f64 = 4e-15;

/// Where the continued fraction can stand in for the power series.
const MIDDLE: f64 = 1.0;

/// Where the continued fraction takes over from the table, which has so many places in a unit.
const FAR: f64 = 9.0;
const PLACES: f64 = 16.0;

/// ln sqrt(2 pi).
pub(crate) const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// The density of the standard normal distribution.
fn density(t: f64) -> f64 {
    (-t * t / 2.0 - LN_SQRT_2PI).exp()
}

/// K(t) in m(t) = 1/(t + K(t)): Laplace's continued fraction K = 1/(t + 2/(t + 3/(t + ..))) for t >= 1.
///
/// Its convergents lie on either side of it by turns; by so many levels neighbouring ones agree to a few units, as the unit
/// tests check.
fn laplace(t: f64) -> f64 {
    let square = t * t;
    let levels = if t < FAR { 24.0 + 420.0 / square } else { 8.0 + 800.0 / square } as i32;
    (1..=levels).rev().fold(0.0, |rest, k| f64::from(k) / (t + rest))
}

/// (P(X < t) - 1/2) / density(t) = t + t^3/3 + t^5/(3 5) + .. for 0 <= t <= 1: 24 terms leave less than 1e-30.
fn series(t: f64) -> f64 {
    (1..=24).rev().fold(1.0, |sum, k| 1.0 + sum * t * t / f64::from(2 * k + 1)) * t
}

/// m and -m' at k/16, from 0 to [`FAR`].
static TABLE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
    let at = |k: u32| {
        let t = f64::from(k) / PLACES;
        if t < MIDDLE {
            let value = 0.5 / density(t) - series(t);
            return (value, 1.0 - t * value);
        }
        let rest = laplace(t);
        (1.0 / (t + rest), rest / (t + rest))
    };
    (0..=(FAR * PLACES) as u32).map(at).collect()
});

/// m(t) and -m'(t) for 0 <= t < [`FAR`], by Taylor's series from the nearest place t_k of the table.
///
/// m(t) is the integral of e^{-tx - x^2/2} over x > 0, so with a_n the integral of x^n/n! e^{-t_k x - x^2/2} it is the sum of
/// a_n (-h)^n, h = t - t_k, and (n + 1) a_{n+1} = a_{n-1} - t_k a_n by parts. |h| <= 1/32 and a_n <= min(1, t_k^{-n-1}): what
/// follows on twelve terms is below 1e-17 of m and of m'. What cancels in the recursion comes back with h^n t_k^{n-2}.
#[inline]
fn expanded(t: f64) -> (f64, f64) {
    let nearest = (t * PLACES).round();
    let Some(&(value, deficit)) = TABLE.get(nearest as usize) else { return (f64::NAN, f64::NAN) };
    let place = nearest / PLACES;
    let h = place - t;
    let (mut before, mut a) = (value, deficit);
    let (mut sum, mut slope) = (0.0, 0.0);
    let mut power = h;
    for inverse in INVERSES {
        // From 2 on: a_n and h^{n-1}.
        let times_n = before - place * a;
        (before, a) = (a, times_n * inverse);
        slope += power * times_n;
        power *= h;
        sum += power * a;
    }
    (value + (h * deficit + sum), deficit + slope)
}

/// 1/n for n = 2, 3, ..
const INVERSES: [f64; 11] = {
    let mut inverses = [0.0; 11];
    let mut n = 0;
    while n < 11 {
        inverses[n] = 1.0 / (n as f64 + 2.0);
        n += 1;
    }
    inverses
};

/// Mills' ratio m(t) = P(X > t) / density(t). Grows like exp(t^2/2) for negative t: use it for t > -30.
pub(crate) fn mills(t: f64) -> f64 {
    if t < 0.0 {
        tail(t) / density(t)
    } else if t >= FAR {
        1.0 / (t + laplace(t))
    } else {
        // NaN comes here too, and stays NaN.
        expanded(t).0
    }
}

/// 1 - t m(t) = -m'(t) > 0, without cancellation for large t.
pub(crate) fn mills_deficit(t: f64) -> f64 {
    if t < 0.0 {
        1.0 - t * mills(t)
    } else if t >= FAR {
        let rest = laplace(t);
        rest / (t + rest)
    } else {
        expanded(t).1
    }
}

/// P(X > x).
pub(crate) fn tail(x: f64) -> f64 {
    if x < 0.0 { 1.0 - tail(-x) } else { density(x) * mills(x) }
}

/// ln P(X > x), for every x; absolute error at most `RELATIVE_ERROR` + x^2 2^-52.
pub(crate) fn ln_tail(x: f64) -> f64 {
    if x < 0.0 { (-tail(-x)).ln_1p() } else { -x * x / 2.0 - LN_SQRT_2PI + mills(x).ln() }
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
    fn every_formula_agrees_with_the_next() {
        // From many places of the table, at its middles, and where one formula takes over from another.
        for k in 0..=(20.0 * FAR * PLACES) as i32 {
            let t = f64::from(k) / (20.0 * PLACES);
            let (value, deficit) = if t < MIDDLE {
                let value = 0.5 / density(t) - series(t);
                (value, 1.0 - t * value)
            } else {
                // Twice the levels, and an odd number more.
                let levels = (101.0 + 900.0 / (t * t)) as i32;
                let rest = (1..=levels).rev().fold(0.0, |rest, k| f64::from(k) / (t + rest));
                (1.0 / (t + rest), rest / (t + rest))
            };
            assert!((mills(t) / value - 1.0).abs() < RELATIVE_ERROR, "mills({t}) = {}, want {value}", mills(t));
            assert!((mills_deficit(t) / deficit - 1.0).abs() < RELATIVE_ERROR, "{t}: {} {deficit}", mills_deficit(t));
        }
        for (f, at) in [(mills as fn(f64) -> f64, FAR), (mills_deficit, FAR), (tail, 0.0), (mills, 0.0)] {
            let (below, above) = (f(at.next_down()), f(at));
            assert!((below / above - 1.0).abs() < RELATIVE_ERROR, "{below} {above}");
        }
        assert!([mills, mills_deficit, tail, ln_tail].into_iter().all(|f: fn(f64) -> f64| f(f64::NAN).is_nan()));
    }

    #[test]
    fn convergents_of_the_continued_fraction_enclose_it() {
        let near = (16..1000).map(|k| f64::from(k) / 16.0);
        for t in near.chain((0..2000).map(|k| 9.0 * 1.01_f64.powi(k))) {
            let convergent = |levels: i32| (1..=levels).rev().fold(0.0, |rest, k| f64::from(k) / (t + rest));
            let levels = if t < FAR { 24.0 + 420.0 / (t * t) } else { 8.0 + 800.0 / (t * t) } as i32;
            let (one, next) = (convergent(levels), convergent(levels + 1));
            assert!((one / next - 1.0).abs() < 6e-16, "{t}: {one} {next}");
            assert_eq!(laplace(t), one);
        }
    }
}
