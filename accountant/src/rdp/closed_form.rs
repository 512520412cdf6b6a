//! Bounds on the moment of a sampled Gaussian that need no quadrature.

use super::rest::log_mixture;
use crate::relation::Relation;
use crate::terms::Sampled;

/// An upper bound on ln A(alpha) that holds for every order, and whether it is exact to rounding.
///
/// * Joint convexity of E_Q (P/Q)^alpha in (P, Q): A <= 1 - q + q e^{alpha (alpha-1) k^2 / (2 s^2)}, k the sensitivity.
/// * Add/remove only, Minkowski's inequality in L^alpha(Q): A^{1/alpha} <= 1 - q + q e^{(alpha-1)/(2 s^2)}. Since
///   A >= q^alpha e^{alpha (alpha-1)/(2 s^2)}, this is exact once the last term outweighs the first by e^40.
pub(super) fn log_moment(term: Sampled, relation: Relation, order: f64) -> (f64, bool) {
    let (q, beta) = (term.rate, order - 1.0);
    // A precision that underflows is rounded up: every form below grows with it.
    let half_precision = (0.5 / term.noise_multiplier / term.noise_multiplier).max(f64::MIN_POSITIVE);
    let exponent = beta * half_precision;
    let sensitivity = relation.sum_sensitivity();
    let convex = log_mixture(q, order * exponent * sensitivity * sensitivity);
    match relation {
        Relation::Replace => (convex, false),
        Relation::AddRemove | Relation::ZeroOut => {
            let minkowski = order * log_mixture(q, exponent);
            (convex.min(minkowski), q.ln() - (-q).ln_1p() + exponent > 40.0)
        }
    }
}
