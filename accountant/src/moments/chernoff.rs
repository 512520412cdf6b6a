//! What one real order proves: Renyi accounting in one direction, and where to put the contour.

use super::aliasing::ln_kappa;
use super::composition::Composition;
use crate::rdp::minimise;

const E: f64 = f64::EPSILON;

/// ln c is searched within these ends.
const ENDS: (f64, f64) = (-34.0, 60.0);

/// Tolerance in ln c. With a small rate the saddle stands on a cliff of ln M, where a part in 10^4 of c is far.
const TOLERANCE: f64 = 1e-6;

/// What real orders say: the best order and the epsilon (or ln delta) it proves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chernoff {
    pub(super) order: f64,
    pub(super) value: f64,
}

/// The best real order for this delta, and its epsilon, which may be negative. `None` when no order can be evaluated.
pub(super) fn epsilon(composition: &mut Composition, delta: f64) -> Option<Chernoff> {
    let target = delta.ln();
    let start = 0.5 * (-2.0 * target / composition.guess()).ln();
    // Each term is good to a few units of its own size.
    let value = |c: f64, log_moment: f64| {
        let factor = ln_kappa(c);
        (log_moment + factor - target + 8.0 * E * (log_moment + factor.abs() + target.abs())) / c
    };
    best(composition, start, value)
}

/// The best real order for this epsilon, and ln of its delta.
pub(super) fn delta(composition: &mut Composition, epsilon: f64) -> Option<Chernoff> {
    let start = (epsilon / composition.guess() - 0.5).max(0.5).ln();
    let value = |c: f64, log_moment: f64| {
        let factor = ln_kappa(c);
        log_moment + factor - c * epsilon + 8.0 * E * (log_moment + factor.abs() + c * epsilon)
    };
    best(composition, start, value)
}

fn best(composition: &mut Composition, start: f64, value: impl Fn(f64, f64) -> f64) -> Option<Chernoff> {
    let at = |ln_c: f64| {
        let c = ln_c.exp();
        // Rounded up: the value is a bound in its own right.
        let known = composition.log_moment(c).map(|(moment, error)| value(c, moment + error));
        known.filter(|value| !value.is_nan()).unwrap_or(f64::INFINITY)
    };
    let start = if start.is_finite() { start } else { 0.0 };
    let (ln_c, value) = minimise(at, start, ENDS, TOLERANCE);
    let value = value + 1e-13 * value.abs();
    value.is_finite().then(|| Chernoff { order: ln_c.exp(), value })
}
