//! From the moment at one order to epsilon and delta.
//!
//! With log A = (alpha - 1) times the divergence, Balle et al. 2020 (theorem 21) and Canonne, Kamath & Steinke 2020
//! (proposition 12) give, for every order alpha > 1,
//!
//! delta <= exp(log A - (alpha-1) epsilon) (1/alpha) (1 - 1/alpha)^(alpha-1).

use crate::exponentials::ln_kappa;

/// The epsilon at this delta, not clamped at 0, rounded up; infinite where log A is.
pub(super) fn epsilon(log_moment: f64, order: f64, delta: f64) -> f64 {
    let beta = order - 1.0;
    let (factor, target) = (ln_kappa(beta), delta.ln());
    let sum = log_moment + factor - target;
    // Each term is good to a few units of its own size.
    let rounding = 8.0 * f64::EPSILON * (log_moment + factor.abs() + target.abs());
    (sum + rounding) / beta
}

/// ln of the delta at this epsilon, not clamped at 0, rounded up; infinite where log A is.
pub(super) fn ln_delta(log_moment: f64, order: f64, epsilon: f64) -> f64 {
    let beta = order - 1.0;
    let factor = ln_kappa(beta);
    let sum = log_moment + factor - beta * epsilon;
    let rounding = 8.0 * f64::EPSILON * (log_moment + factor.abs() + beta * epsilon);
    // Infinity minus infinity: nothing is known.
    if sum.is_nan() { f64::INFINITY } else { sum + rounding }
}

/// A delta that holds at every epsilon >= 0, from the divergence at any order.
///
/// Total variation is at most sqrt(1 - e^{-KL}) (Bretagnolle & Huber 1979), and KL is at most the divergence. It keeps
/// the answer sensible where a tiny divergence at an order near 1 meets the conversion above.
pub(super) fn delta_everywhere(divergence: f64) -> f64 {
    ((-(-divergence).exp_m1()).sqrt() * (1.0 + 8.0 * f64::EPSILON)).min(1.0)
}
