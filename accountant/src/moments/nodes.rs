//! The nodes of the inner quadrature, one sampled Gaussian in one direction, and the error of the rule.
//!
//! The integrands n w+^A w-^B are analytic for |Im x| < pi s^2, because w+- vanishes only where Im u is an odd multiple
//! of pi. On the line Im x = t s^2, 0 < t < pi, the density grows by e^{s^2 t^2/2}, |w| is at most its value at Re x
//! and, under a negative power -b, at least cos(t/2) times it, and |w^{iy}| <= e^{|y| t}. The trapezoid rule of step
//! dx therefore errs, relative to the integral at y = 0, by at most (Trefethen & Weideman 2014, theorem 5.1)
//!
//! 2 exp(s^2 t^2/2 + (turns) |y| t - b ln cos(t/2)) / (exp(2 pi s^2 t/dx) - 1),
//!
//! and dx is the largest step for which some t makes this at most e^{-depth}. The bound grows with y and with b, so it
//! holds for all smaller heights and orders too.
//!
//! The label multiplies that by e^{s^4 t^2/(2 width^2)}. To the left, and beyond the ends of the label, the nodes reach as
//! far as anything matters. A sum over all nodes to the left leaves out less than the integral there, because the
//! integrand falls. At an end X that the label makes, half a step beyond a node, the integral ends, too: what is left out
//! is bounded by its real value. There the contour argument of the theorem has a side Re z = X, on which
//! 1/(e^{-+2 pi i z/dx} - 1) is at most e^{-2 pi |Im z|/dx} in modulus. The growth above is the exponential of a convex
//! function of t that vanishes at 0, so this side contributes at most 2 s^2 t f(X) in all, plus the bound above.

use std::f64::consts::{LN_2, PI};

use super::direction::Direction;
use super::part::Part;
use crate::exponentials::ln_add;
use crate::normal::LN_SQRT_2PI;
use crate::rdp::ln_ratio;
use crate::terms::Sampled;

const E: f64 = f64::EPSILON;

/// More nodes than this are not built.
const MOST_NODES: f64 = 20_000.0;

/// Noise multipliers whose squares and their inverses are ordinary numbers.
const ORDINARY: std::ops::Range<f64> = 1e-60..1e60;

/// One node of the trapezoid rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// ln of P's density times the step, and its absolute error.
    pub(super) ln_weight: f64,
    pub(super) ln_weight_error: f64,
    /// The privacy loss ln P/Q, and its absolute error.
    pub(super) loss: f64,
    pub(super) loss_error: f64,
}

/// Nodes for all orders c up to `order` and all |y| up to the height they were built for.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) part: Part,
    pub(super) order: f64,
    /// The rule errs by less than e^{-depth}, relative to the integral at y = 0.
    pub(super) depth: f64,
    /// Where the sums begin and end, and ln of what each integrand may leave out there, in absolute terms.
    ends: (f64, f64),
    ln_left_out: f64,
    pub(super) list: Vec<Node>,
}

impl Nodes {
    /// With the plain step. `None` when they would be too many.
    #[cfg(test)]
    pub(super) fn new(part: Part, order: f64, height: f64, depth: f64) -> Option<Self> {
        Self::with_step(part, order, step(&part, order, height, depth), depth)
    }

    /// Nodes at a distance that is known to be small enough. `None` when they would be too many.
    pub(super) fn with_step(part: Part, order: f64, dx: f64, depth: f64) -> Option<Self> {
        if !ORDINARY.contains(&part.term.noise_multiplier) || !order.is_finite() {
            return None;
        }
        let goal = goal(&part, order, depth);
        let (left, right) = part.ends(order, goal);
        let count = ((right - left) / dx).ceil();
        if count.is_nan() || count >= MOST_NODES {
            return None;
        }
        // Both ends that a label makes lie half a step beyond a node.
        let dx = if part.label.low > f64::NEG_INFINITY { (right - left) / count } else { dx };
        let ln_step = (dx / part.term.noise_multiplier).ln() - LN_SQRT_2PI;
        let list = (0..count as u32).rev().map(|k| node(&part, right - (f64::from(k) + 0.5) * dx, ln_step)).collect();
        Some(Self { part, order, depth, ends: (left, right), ln_left_out: goal + LN_2, list })
    }

    /// Where the sums begin and end.
    pub(super) fn ends(&self) -> (f64, f64) {
        self.ends
    }

    /// ln of a bound on what the ends add to the error of the rule for each integrand at order c, in absolute terms.
    pub(super) fn ln_outside(&self, c: f64) -> f64 {
        ln_add(self.ln_left_out, self.part.ln_edges(c, self.ends) + (2.0 * farthest(&self.part, self.depth)).ln())
    }
}

/// ln of what may be left out at either end: e^{-depth} / (10 (1 + c)) of the mass of the part.
pub(super) fn goal(part: &Part, order: f64, depth: f64) -> f64 {
    part.ln_mass().min(0.0) - depth - 2.5 - order.ln_1p()
}

/// No line farther from the real axis is used.
pub(super) fn farthest(part: &Part, depth: f64) -> f64 {
    let s = part.term.noise_multiplier;
    (PI * s * s).min(1.5 * s * (2.0 * depth + 4.0).sqrt())
}

/// The largest step whose error is below e^{-depth}.
pub(super) fn step(part: &Part, order: f64, height: f64, depth: f64) -> f64 {
    const TRIALS: i32 = 40;
    let (s, direction) = (part.term.noise_multiplier, part.direction);
    let variance = s * s;
    // Without any growth but the Gaussian's, t = sqrt(2 depth)/s is best.
    let widest = farthest(part, depth) / variance;
    let at = |trial: i32| {
        let t = widest * f64::from(trial) / f64::from(TRIALS);
        let growth = 0.5 * variance * t * t + part.label.growth(variance * t) + direction.turns() * height * t
            - direction.negative_powers(order) * (0.5 * t).cos().ln();
        // 2 e^growth / (e^d - 1) <= e^-depth for d = growth + depth + ln 2 + a little, which also covers rounding.
        2.0 * PI * variance * t / (growth * (1.0 + 1e-12) + depth + LN_2 + 0.1)
    };
    (1..TRIALS).map(at).fold(0.0, f64::max)
}

/// The node at an oriented place.
fn node(part: &Part, z: f64, ln_step: f64) -> Node {
    let Part { term, direction, label } = *part;
    let Sampled { rate: q, noise_multiplier: s, .. } = term;
    let x = part.x(z);
    let h = 0.5 / (s * s);
    let square = x * x * h;
    // u = (+-2x - 1) h: x, the sum and h each carry a rounding. In units of the noise x stays where it is when the noise
    // multiplier is off by a factor 1 + doubt, and u moves by at most doubt (2|x| + 2) h.
    let u_error = (4.0 * E * (2.0 * x.abs() + 1.0) + term.doubt * (2.0 * x.abs() + 2.0)) * h;
    let (plus, plus_error) = ln_ratio(q, (2.0 * x - 1.0) * h, u_error);
    let (ln_label, label_error) = label.ln(z);
    let ln_density = ln_step - square + ln_label;
    let density_error = 6.0 * E * (square + ln_step.abs() + ln_label.abs()) + label_error;
    match direction {
        Direction::Remove => Node {
            ln_weight: ln_density + plus,
            ln_weight_error: density_error + plus_error + E * plus.abs(),
            loss: plus,
            loss_error: plus_error,
        },
        Direction::Add => {
            Node { ln_weight: ln_density, ln_weight_error: density_error, loss: -plus, loss_error: plus_error }
        }
        Direction::Replace => {
            let (minus, minus_error) = ln_ratio(q, (-2.0 * x - 1.0) * h, u_error);
            // P/Q - 1 = q (e^{u+} - e^{u-}) / w-, without cancellation where it is small.
            let excess = q * (-h - minus).exp() * 2.0 * (2.0 * x * h).sinh();
            let loss = if excess.abs() < 0.5 { excess.ln_1p() } else { plus - minus };
            let sizes = plus.abs() + minus.abs() + loss.abs();
            Node {
                ln_weight: ln_density + plus,
                ln_weight_error: density_error + plus_error + E * plus.abs(),
                loss,
                loss_error: plus_error + minus_error + 8.0 * E * sizes,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::moments::label::Label;

    fn part(direction: Direction, q: f64, s: f64, high: f64) -> Part {
        let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
        Part { term, direction, label: Label::below(high, 0.5 * s, 17.0) }
    }

    #[test]
    fn the_step_grows_with_the_noise_and_falls_with_the_height() {
        let at = |s: f64, height: f64| step(&part(Direction::Remove, 0.1, s, 20.0 * s), 3.0, height, 40.0);
        assert!(at(1.0, 0.0) > at(0.5, 0.0) && at(1.0, 0.0) > at(1.0, 100.0));
        assert!(at(1e3, 0.0) > 200.0, "only the Gaussian factors limit the step there: {}", at(1e3, 0.0));
        assert!(at(1.0, 1e6) > 0.0);
    }

    #[test]
    fn weights_sum_to_the_mass_of_the_label_on_either_side() {
        for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
            for (q, s, high) in [(0.01, 1.0, 20.0), (0.3, 0.4, 1.5), (1e-6, 20.0, 30.0), (0.2, 2.0, -1.0)] {
                let part = part(direction, q, s, high);
                let nodes = Nodes::new(part, 4.0, 10.0, 36.0).unwrap();
                let sum = |side: f64| nodes.list.iter().map(|n| (n.ln_weight - side * n.loss).exp()).sum::<f64>();
                let (beyond, excess, _) = part.beyond();
                for (side, missing) in [(0.0, beyond), (1.0, beyond - excess)] {
                    let total = sum(side) + missing;
                    assert!((total - 1.0).abs() < 1e-13, "{direction:?} {q} {s} {high}: {total}");
                }
                // What two nested labels leave between them.
                let band = Part { label: part.label.above(high - 3.0 * s), ..part };
                let inner = Part { label: Label::below(high - 3.0 * s, 0.5 * s, 17.0), ..part };
                let nodes = Nodes::new(band, 4.0, 10.0, 36.0).unwrap();
                let mass = nodes.list.iter().map(|node| node.ln_weight.exp()).sum::<f64>();
                let want = inner.beyond().0 - beyond;
                assert!((mass / want - 1.0).abs() < 1e-11, "{direction:?} {q} {s} {high}: {mass} {want}");
            }
        }
    }

    #[test]
    fn too_many_nodes_are_not_built() {
        let part = part(Direction::Remove, 0.1, 1.0, 20.0);
        assert!(Nodes::new(part, 3.0, 1e9, 36.0).is_none());
        assert!(Nodes::new(part, f64::NAN, 0.0, 36.0).is_none());
    }
}
