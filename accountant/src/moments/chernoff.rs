//! What one real order proves: Renyi accounting in one direction, and where to put the contour.

use super::composition::Composition;
use crate::exponentials::ln_kappa;
use crate::rdp::minimise;

const E: f64 = f64::EPSILON;

/// ln c is searched within these ends.
const ENDS: (f64, f64) = (-34.0, 60.0);

/// Tolerance in ln c. With a small rate the saddle stands on a cliff of ln M, where a part in 10^4 of c is far.
pub(super) const TOLERANCE: f64 = 1e-6;

/// What real orders say: the best order and the epsilon (or ln delta) it proves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chernoff {
    pub(super) order: f64,
    pub(super) value: f64,
}

/// The best real order for this delta, and its epsilon, which may be negative. `None` when no order can be evaluated.
///
/// Of a whole composition this epsilon is a bound: what is far is taken off delta.
pub(super) fn epsilon(composition: &mut Composition, delta: f64) -> Option<Chernoff> {
    let ln_delta = delta.ln();
    let target = ln_delta + (-(composition.ln_far() - ln_delta).exp()).ln_1p();
    let start = (-2.0 * target / composition.guess()).sqrt();
    at_least(composition, target, start, TOLERANCE)
}

/// The same for a delta of e^`target` of what the composition leaves in, which says nothing about what it leaves out.
pub(super) fn at_least(composition: &mut Composition, target: f64, start: f64, tolerance: f64) -> Option<Chernoff> {
    // Each term is good to a few units of its own size.
    let value = |c: f64, log_moment: f64| {
        let factor = ln_kappa(c);
        (log_moment + factor - target + 8.0 * E * (log_moment.abs() + factor.abs() + target.abs())) / c
    };
    best(composition, start, tolerance, value)
}

/// The best real order for this epsilon, and ln of its delta, of what the composition leaves in.
pub(super) fn delta(
    composition: &mut Composition,
    epsilon: f64,
    start: Option<f64>,
    tolerance: f64,
) -> Option<Chernoff> {
    let start = start.unwrap_or_else(|| (epsilon / composition.guess() - 0.5).max(0.5));
    let value = |c: f64, log_moment: f64| {
        let factor = ln_kappa(c);
        log_moment + factor - c * epsilon + 8.0 * E * (log_moment.abs() + factor.abs() + c * epsilon)
    };
    best(composition, start, tolerance, value)
}

fn best(
    composition: &mut Composition,
    start: f64,
    tolerance: f64,
    value: impl Fn(f64, f64) -> f64,
) -> Option<Chernoff> {
    let at = |ln_c: f64| {
        let c = ln_c.exp();
        // Rounded up: the value is a bound in its own right.
        let known = composition.log_moment(c).map(|(moment, error)| value(c, moment + error));
        known.filter(|value| !value.is_nan()).unwrap_or(f64::INFINITY)
    };
    let start = if start.is_finite() && start > 0.0 { start.ln() } else { 0.0 };
    let (ln_c, value) = minimise(at, start, ENDS, tolerance);
    let value = value + 1e-13 * value.abs();
    value.is_finite().then(|| Chernoff { order: ln_c.exp(), value })
}
