//! Sums of exponentials by their logarithms, and the hinge of a privacy profile against an exponential.

/// ln(e^a + e^b).
pub(crate) fn ln_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// ln of a sum of exponentials.
pub(crate) fn ln_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + terms.map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// -ln(e^x - 1) for x > 0.
pub(crate) fn minus_ln_expm1(x: f64) -> f64 {
    -x - (-(-x).exp_m1()).ln()
}

/// ln of kappa(c) = c^c/(c+1)^(c+1), the maximum of (1 - e^-x) e^-cx: -c ln(1 + 1/c) - ln(1 + c).
///
/// delta(eps) = E_P (1 - e^(eps - L))_+ is at most kappa(c) E_P e^(cL) e^(-c eps) (Balle et al. 2020, theorem 21, and Canonne,
/// Kamath & Steinke 2020, proposition 12, at order c + 1).
pub(crate) fn ln_kappa(c: f64) -> f64 {
    -c * (1.0 / c).ln_1p() - c.ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kappa_is_the_maximum_of_the_hinge_against_the_exponential() {
        for c in [1e-3, 0.5, 4.0, 1e4] {
            let best = (1..100_000).map(|k| f64::from(k) * 1e-4 * (1.0 + 1.0 / c));
            let best = best.map(|x| (-(-x).exp_m1()).ln() - c * x).fold(f64::NEG_INFINITY, f64::max);
            assert!((best - ln_kappa(c)).abs() < 1e-6, "c = {c}: {best} {}", ln_kappa(c));
        }
    }

    #[test]
    fn sums_do_not_overflow_and_nothing_adds_nothing() {
        let none = f64::NEG_INFINITY;
        assert_eq!((ln_add(none, none), ln_add(3.0, none), ln_sum([none, none].into_iter())), (none, 3.0, none));
        for (a, b) in [(900.0, 900.0), (-900.0, -900.0)] {
            let want = a + std::f64::consts::LN_2;
            assert!((ln_add(a, b) - want).abs() < 1e-12 && (ln_sum([a, b].into_iter()) - want).abs() < 1e-12);
        }
        assert!((minus_ln_expm1(1e-9) - 1e-9_f64.ln().abs()).abs() < 1e-8 && minus_ln_expm1(800.0) == -800.0);
    }
}
