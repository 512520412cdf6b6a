//! Pairs of distributions with finitely many outcomes.

use super::rest::excess;

const E: f64 = f64::EPSILON;

/// Outcomes with the same privacy loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Atom {
    /// Their probability under Q, to 8 units of 2^-52 of itself.
    pub(super) mass: f64,
    /// ln P/Q, to 8 units of 2^-52 of itself.
    pub(super) loss: f64,
}

/// ln E_Q (P/Q)^order, rounded up. Under Q the masses sum to 1, as do the masses times e^loss.
pub(super) fn log_moment(atoms: &[Atom], order: f64) -> f64 {
    let largest = atoms.iter().filter(|atom| atom.mass > 0.0).map(|atom| order * atom.loss).fold(0.0, f64::max);
    if largest < 600.0 {
        let terms = atoms.iter().filter(|atom| atom.mass > 0.0);
        let sum: f64 = terms.map(|atom| atom.mass * excess(order, atom.loss, 8.0 * E)).sum();
        (sum * (1.0 + (16.0 + atoms.len() as f64) * E)).ln_1p() * (1.0 + 4.0 * E)
    } else {
        let logs = atoms.iter().map(|atom| atom.mass.ln() + order * atom.loss);
        let peak = logs.clone().fold(f64::NEG_INFINITY, f64::max);
        // A loss that overflows is an infinite divergence, and infinity less infinity must not become NaN.
        if !peak.is_finite() {
            return f64::INFINITY;
        }
        let sum: f64 = logs.map(|log| (log - peak).exp()).sum();
        (peak + sum.ln()) + 16.0 * E * (largest + peak.abs() + atoms.len() as f64)
    }
}

/// The moment of the worst pair that is `epsilon` differentially private: losses epsilon and -epsilon, with masses
/// e^{-epsilon} and 1 over 1 + e^{-epsilon} (Kairouz, Oh & Viswanath 2015). Rounded up.
///
/// A = cosh((alpha - 1/2) epsilon) / cosh(epsilon/2), A - 1 = 2 sinh(alpha epsilon/2) sinh(beta epsilon/2) /
/// cosh(epsilon/2): no cancellation.
pub(super) fn pure(epsilon: f64, order: f64) -> f64 {
    if epsilon == 0.0 {
        return 0.0;
    }
    let beta = order - 1.0;
    let most = beta * epsilon * (1.0 + 2.0 * E);
    let value = if order * epsilon < 600.0 {
        let excess = 2.0 * (0.5 * order * epsilon).sinh() * (0.5 * beta * epsilon).sinh() / (0.5 * epsilon).cosh();
        // The relative error of sinh(x) is that of its argument times 1 + x, and a few units of its own.
        (excess * (1.0 + (16.0 + 4.0 * order * epsilon) * E)).ln_1p() * (1.0 + 2.0 * E)
    } else {
        let head = (-(order + beta) * epsilon).exp().ln_1p() - (-epsilon).exp().ln_1p();
        beta * epsilon + head + 8.0 * E * (beta * epsilon + 1.0)
    };
    value.min(most)
}

/// The moment of the worst pair whose losses all lie within a range of length `epsilon` (Dong, Durfee & Rogers 2020).
/// Rounded up.
///
/// Losses are t with mass u = (e^{-t} - e^{-epsilon})/(1 - e^{-epsilon}) and t - epsilon: of all laws of the ratio on an
/// interval with mean 1, the one at its ends has the largest convex moments. Setting the derivative in t to zero gives
/// epsilon - t = ln(s(beta epsilon)/s(alpha epsilon)), s(x) = (1 - e^{-x})/x, and the moment A there; elsewhere it is
/// (alpha e^{beta d} - beta e^{alpha d}) A, d the distance. Never more than alpha beta epsilon^2/8 (Cesar & Rogers 2021).
pub(super) fn bounded_range(epsilon: f64, order: f64) -> f64 {
    if epsilon == 0.0 {
        return 0.0;
    }
    let (beta, size) = (order - 1.0, order * epsilon);
    let most = (beta * epsilon).min(0.125 * size * (beta * epsilon)) * (1.0 + 8.0 * E) + f64::MIN_POSITIVE;
    let value = if beta * epsilon >= 1.0 {
        // ln A = beta epsilon - alpha rest + ln(1 - e^{-beta epsilon}) - ln beta - ln(1 - e^{-epsilon}).
        let (near, far) = ((-(-beta * epsilon).exp()).ln_1p(), (-(-size).exp()).ln_1p());
        let rest = (1.0 / beta).ln_1p() + near - far;
        let whole = (-(-epsilon).exp_m1()).ln();
        let sizes = beta * epsilon + order * ((1.0 / beta).ln_1p() - near - far) + beta.ln().abs() + whole.abs() - near;
        beta * epsilon - order * rest + near - beta.ln() - whole + 8.0 * E * sizes
    } else {
        let t = (epsilon - (ln_mean_decay(beta * epsilon) - ln_mean_decay(size))).clamp(0.0, epsilon);
        let rest = epsilon - t;
        let whole = -(-epsilon).exp_m1();
        // u = e^{-t} (1 - e^{-rest}) / (1 - e^{-epsilon}), and its complement (1 - e^{-t}) / (1 - e^{-epsilon}).
        let high = Atom { mass: (-t).exp() * -(-rest).exp_m1() / whole, loss: t };
        let low = Atom { mass: -(-t).exp_m1() / whole, loss: -rest };
        // Each logarithm is good to a few units of itself: of alpha epsilon where that is small, of its logarithm elsewhere.
        let doubt = 64.0 * E * (epsilon * (1.0 + t) + if size < 1.0 { size } else { 1.0 + size.ln() });
        // While alpha d is small, what is lost is at most alpha beta d^2 in ln A.
        if epsilon < 600.0 && order * doubt < 1e-2 {
            log_moment(&[high, low], order) + order * beta * doubt * doubt
        } else {
            most
        }
    };
    if value.is_nan() { most } else { value.min(most) }
}

/// ln((1 - e^{-x})/x) for x > 0.
fn ln_mean_decay(x: f64) -> f64 {
    // 1 - e^{-x} = x - (e^{-x} - 1 + x)
    if x < 1.0 { (-super::rest::exp_rest(-x) / x).ln_1p() } else { (-(-x).exp()).ln_1p() - x.ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ln of the sum of p^order q^(1 - order).
    fn brute_force(pairs: &[(f64, f64)], order: f64) -> f64 {
        pairs.iter().map(|(p, q)| p.powf(order) * q.powf(1.0 - order)).sum::<f64>().ln()
    }

    #[test]
    fn the_pure_pair_is_randomized_response() {
        for (epsilon, order) in [(1.0_f64, 2.0), (0.1, 1.5), (3.0, 20.0), (0.01, 300.0), (7.0, 1.01)] {
            let (p, q) = (1.0 / (1.0 + (-epsilon).exp()), 1.0 / (1.0 + epsilon.exp()));
            let (got, want) = (pure(epsilon, order), brute_force(&[(p, q), (q, p)], order));
            assert!((got / want - 1.0).abs() < 1e-10, "({epsilon}, {order}): {got}, want {want}");
            // The same pair by its atoms.
            let atoms = [Atom { mass: q, loss: epsilon }, Atom { mass: p, loss: -epsilon }];
            assert!((log_moment(&atoms, order) / want - 1.0).abs() < 1e-10);
        }
        // Small: alpha beta epsilon^2 / 2; large: nothing but the bound beta epsilon.
        assert!((pure(1e-9, 3.0) / 3e-18 - 1.0).abs() < 1e-9);
        assert!((pure(800.0, 1e3) / (999.0 * 800.0) - 1.0).abs() < 1e-12);
        assert!((pure(600.0 / 7.0 * (1.0 + 1e-14), 7.0) / pure(600.0 / 7.0 * (1.0 - 1e-14), 7.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn bounded_range_is_the_largest_of_all_pairs_of_that_range() {
        for (epsilon, order) in [(1.0_f64, 2.0), (0.1, 1.5), (3.0, 20.0), (1.0, 1000.0), (7.0, 1.01), (30.0, 3.0)] {
            let got = bounded_range(epsilon, order);
            let mut largest = 0.0_f64;
            for k in 1..20_000 {
                let t = epsilon * f64::from(k) / 20_000.0;
                let u = ((-t).exp() - (-epsilon).exp()) / -(-epsilon).exp_m1();
                let value = (u.ln() + order * t).max((1.0 - u).ln() + order * (t - epsilon));
                let rest = (u.ln() + order * t).min((1.0 - u).ln() + order * (t - epsilon));
                largest = largest.max(value + (rest - value).exp().ln_1p());
            }
            assert!(got >= largest * (1.0 - 1e-12), "({epsilon}, {order}): {got} below {largest}");
            assert!(got <= largest * (1.0 + 1e-6), "({epsilon}, {order}): {got} above {largest}");
            assert!(got < pure(epsilon, order), "not better than epsilon alone");
        }
    }

    #[test]
    fn a_large_bounded_range_keeps_its_divergence_next_to_order_one() {
        // The probability of the larger loss underflowed, and with it went a third of the divergence (mpmath, 60 digits).
        for (epsilon, order, want) in [
            (599.0, 1.001, 591.888_832_974_669_7),
            (601.0, 1.001, 593.886_400_233_153_6),
            (760.0, 1.001, 752.722_229_856_836),
            (760.0, 1.01, 754.390_346_974_543),
            (1500.0, 1.001, 1_492.344_227_346_526_7),
        ] {
            let got = bounded_range(epsilon, order) / (order - 1.0);
            assert!(
                got >= want * (1.0 - 1e-12) && got <= epsilon * (1.0 + 1e-12),
                "({epsilon}, {order}): {got}, {want}"
            );
        }
    }

    #[test]
    fn bounded_range_does_not_vanish_at_huge_orders() {
        for epsilon in [1e-9, 0.01, 1.0, 40.0] {
            let mut last = 0.0;
            for k in 0..400 {
                // What is left of beta once it is part of the order.
                let beta = (1.0 + (-15.0 + 0.25 * f64::from(k)).exp()) - 1.0;
                let divergence = bounded_range(epsilon, 1.0 + beta) / beta;
                assert!(divergence >= last * (1.0 - 1e-9), "{epsilon} at 1 + {beta}: {divergence} after {last}");
                last = divergence;
            }
            assert!((last / epsilon - 1.0).abs() < 1e-6, "{epsilon}: {last}");
        }
    }

    #[test]
    fn pure_pairs_do_not_vanish_either() {
        for epsilon in [1e-9, 0.01, 1.0, 40.0] {
            let mut last = 0.0;
            for k in 0..400 {
                // What is left of beta once it is part of the order.
                let beta = (1.0 + (-15.0 + 0.25 * f64::from(k)).exp()) - 1.0;
                let divergence = pure(epsilon, 1.0 + beta) / beta;
                assert!(divergence >= last * (1.0 - 1e-9), "{epsilon} at 1 + {beta}: {divergence} after {last}");
                last = divergence;
            }
        }
    }

    #[test]
    fn atoms_keep_their_digits_when_the_divergence_is_tiny_and_do_not_overflow() {
        // Losses +-1e-9 at order 2: A - 1 = 2e-18 / 2 (the pure pair).
        let atoms = [Atom { mass: 0.5, loss: 1e-9 }, Atom { mass: 0.5, loss: -1e-9 }];
        assert!((log_moment(&atoms, 2.0) / 1e-18 - 1.0).abs() < 1e-8);
        let far = [Atom { mass: 1e-200, loss: 460.0 }, Atom { mass: 1.0, loss: -1e-3 }];
        let want = 1e5 * 460.0 - 200.0 * 10_f64.ln();
        assert!((log_moment(&far, 1e5) / want - 1.0).abs() < 1e-12);
    }
}
