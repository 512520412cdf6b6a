//! The Gaussian whose profile lies above a given one.

use super::cell::{Line, least};
use crate::accountant::Accountant;
use crate::analytic::Analytic;
use crate::curve::Point;
use crate::event::Event;
use crate::normal::ln_tail;
use crate::parameters::{Epsilon, NoiseMultiplier};
use crate::relation::Relation;

/// The mus between which all searches are made.
const ENDS: (f64, f64) = (1e-12, 1e6);

/// Rounding of the few operations after the profile of the Gaussian.
const ROUNDING: f64 = 1e-13;

/// (lower, upper) of delta_mu(eps), the profile of the Gaussian.
fn profile(mu: f64, epsilon: f64) -> (f64, f64) {
    // 1/(1/mu) errs by two roundings of mu: both ends are moved by more.
    let at = |mu: f64| {
        let event = Event::gaussian(NoiseMultiplier::new(1.0 / mu).ok()?);
        Analytic::new(Relation::AddRemove).delta(&event, Epsilon::new(epsilon).ok()?).ok()
    };
    let doubt = 4.0 * f64::EPSILON;
    (
        at(mu * (1.0 - doubt)).map_or(0.0, |bound| bound.lower()),
        at(mu * (1.0 + doubt)).map_or(1.0, |bound| bound.upper()),
    )
}

/// (lower, upper) of the mu for which delta_mu(epsilon) = delta; 0 for a delta of 0.
pub(super) fn at(epsilon: f64, delta: f64) -> (f64, f64) {
    if delta <= 0.0 {
        return (0.0, 0.0);
    }
    // Below or at delta as far as can be proved; and at least delta.
    let low = last(|mu| profile(mu, epsilon).1 <= delta).unwrap_or(0.0);
    let high = last(|mu| profile(mu, epsilon).0 < delta);
    (low, high.map_or(ENDS.0, |mu| if mu >= ENDS.1 { f64::INFINITY } else { mu * (1.0 + 1e-12) }))
}

/// The largest mu, to a relative 1e-13, with a property that small ones have.
fn last(holds: impl Fn(f64) -> bool) -> Option<f64> {
    if !holds(ENDS.0) {
        return None;
    }
    if holds(ENDS.1) {
        return Some(ENDS.1);
    }
    let (mut yes, mut no) = (ENDS.0.ln(), ENDS.1.ln());
    for _ in 0..50 {
        let middle = 0.5 * (yes + no);
        if holds(middle.exp()) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    Some(yes.exp())
}

/// (lower, upper) of the smallest mu whose profile, or `floor`, is nowhere below this one.
pub(super) fn equivalent(points: &[Point<Epsilon>], floor: f64) -> (f64, f64) {
    let (mut lower, mut start) = (0.0_f64, ENDS.0);
    for point in points {
        let epsilon = point.at.get();
        // Each place excludes the mus below its own; most are excluded already.
        if point.bound.lower() > floor && profile(lower.max(ENDS.0), epsilon).1 < point.bound.lower() {
            lower = lower.max(at(epsilon, point.bound.lower()).0);
        }
        if point.bound.upper() > floor && profile(start, epsilon).0 < point.bound.upper() {
            start = start.max(at(epsilon, point.bound.upper()).1);
        }
    }
    if points.first().is_none_or(|first| first.bound.upper() <= floor) {
        return (lower, lower);
    }
    (lower, dominating(points, floor, start).map_or(f64::INFINITY, |mu| mu.max(lower)))
}

/// A mu, not much above `start`, for which domination is proved at every epsilon.
fn dominating(points: &[Point<Epsilon>], floor: f64, start: f64) -> Option<f64> {
    // Beyond the last place delta is at most what it is there, and that must be within the floor.
    if !points.last().is_some_and(|last| last.bound.upper() <= floor) {
        return None;
    }
    let (mut no, mut step) = (start, 1e-9);
    let mut yes = start * (1.0 + step);
    while !dominates(points, floor, yes) {
        (no, step) = (yes, 4.0 * step);
        yes = start * (1.0 + step);
        if yes >= ENDS.1 {
            return None;
        }
    }
    while yes / no > 1.0 + 1e-9 {
        let middle = 0.5 * (yes + no);
        if dominates(points, floor, middle) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    Some(yes)
}

/// Whether delta(eps) <= max(delta_mu(eps), floor) is proved for all eps from the first place to the last.
///
/// In the slope s = e^eps both profiles are convex. Within a cell the profile is at most its chord, and that of the
/// Gaussian at least its tangents at both ends, whose slopes are minus P(X > eps/mu + mu/2). The largest of the two
/// tangents and the floor, less the chord, must be nowhere negative.
fn dominates(points: &[Point<Epsilon>], floor: f64, mu: f64) -> bool {
    points.windows(2).all(|cell| {
        let [left, right] = cell else { return true };
        let chord = (left.bound.upper() * (1.0 + ROUNDING), right.bound.upper() * (1.0 + ROUNDING));
        if chord.0 <= floor {
            return true;
        }
        let (from, to) = (left.at.get(), right.at.get());
        let values = (profile(mu, from).0 * (1.0 - ROUNDING), profile(mu, to).0 * (1.0 - ROUNDING));
        // By how much each tangent falls over the cell: s_right - s_left = s_left (e^size - 1), kept in logarithms; the
        // left one rounded up, the right one down.
        let size = to - from;
        let fall = |epsilon: f64, sign: f64| {
            let x = epsilon / mu + 0.5 * mu;
            let doubt = ROUNDING + 8.0 * f64::EPSILON * (epsilon + x * x + epsilon / size);
            (from + size.exp_m1().ln() + ln_tail(x)).exp() * (1.0 + sign * doubt)
        };
        let above = [
            Line { left: values.0 - chord.0, right: values.0 - fall(from, 1.0) - chord.1 },
            Line { left: values.1 + fall(to, -1.0) - chord.0, right: values.1 - chord.1 },
            Line { left: floor - chord.0, right: floor - chord.1 },
        ];
        least(&above) >= 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mu_of_a_known_delta_is_found() {
        // delta(1) of mu = 1 in 40-digit arithmetic.
        let (low, high) = at(1.0, 0.126_936_737_506_643_94);
        assert!(low <= 1.0 && 1.0 <= high && high - low < 1e-11, "{low} {high}");
        assert_eq!(at(3.0, 0.0), (0.0, 0.0));
    }
}
