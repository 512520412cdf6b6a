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
//! The nodes reach R standard deviations beyond the two centres of [`Direction::centres`]. By likelihood-ratio order
//! the share of each integrand out there is at most that of the Gaussian, e^{-R^2/2} for both ends together, and the
//! omitted part of the sum is below the integral because the integrand falls there.

use std::f64::consts::{LN_2, PI};

use super::direction::Direction;
use crate::normal::LN_SQRT_2PI;
use crate::rdp::ln_ratio;
use crate::terms::Sampled;

const E: f64 = f64::EPSILON;

/// More nodes than this are not built.
const MOST_NODES: f64 = 65_536.0;

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
    pub(super) term: Sampled,
    pub(super) order: f64,
    /// The rule errs by less than e^{-depth}, relative to the integral at y = 0, its ends included.
    pub(super) depth: f64,
    pub(super) list: Vec<Node>,
}

impl Nodes {
    /// `None` when they would be too many.
    pub(super) fn new(term: Sampled, direction: Direction, order: f64, height: f64, depth: f64) -> Option<Self> {
        let dx = step(term.noise_multiplier, direction, order, height, depth);
        Self::with_step(term, direction, order, dx, depth)
    }

    /// Nodes at a distance that is known to be small enough. `None` when they would be too many.
    pub(super) fn with_step(term: Sampled, direction: Direction, order: f64, dx: f64, depth: f64) -> Option<Self> {
        let s = term.noise_multiplier;
        if !ORDINARY.contains(&s) {
            return None;
        }
        let (low, high) = range(s, direction, order, depth);
        let (first, last) = ((low / dx).floor(), (high / dx).ceil());
        let span = last - first;
        if span.is_nan() || span >= MOST_NODES {
            return None;
        }
        let count = span as u32 + 1;
        let ln_step = (dx / s).ln() - LN_SQRT_2PI;
        let list = (0..count).map(|k| node(term, direction, (first + f64::from(k)) * dx, ln_step)).collect();
        Some(Self { term, order, depth, list })
    }
}

/// Where the nodes lie: e^{-R^2/2} <= e^{-depth} / (10 (1 + c)).
pub(super) fn range(s: f64, direction: Direction, order: f64, depth: f64) -> (f64, f64) {
    let reach = s * (2.0 * (depth + 2.5 + order.ln_1p())).sqrt();
    let (left, right) = direction.centres(order);
    (left - reach, right + reach)
}

/// The largest step whose error is below e^{-depth}.
pub(super) fn step(s: f64, direction: Direction, order: f64, height: f64, depth: f64) -> f64 {
    const TRIALS: i32 = 40;
    let variance = s * s;
    // Without any growth but the Gaussian's, t = sqrt(2 depth)/s is best.
    let widest = PI.min(1.5 * (2.0 * depth + 4.0).sqrt() / s);
    let at = |trial: i32| {
        let t = widest * f64::from(trial) / f64::from(TRIALS);
        let growth = 0.5 * variance * t * t + direction.turns() * height * t
            - direction.negative_powers(order) * (0.5 * t).cos().ln();
        // 2 e^growth / (e^d - 1) <= e^-depth for d = growth + depth + ln 2 + a little, which also covers rounding.
        2.0 * PI * variance * t / (growth * (1.0 + 1e-12) + depth + LN_2 + 0.1)
    };
    (1..TRIALS).map(at).fold(0.0, f64::max)
}

fn node(term: Sampled, direction: Direction, x: f64, ln_step: f64) -> Node {
    let Sampled { rate: q, noise_multiplier: s, .. } = term;
    let h = 0.5 / (s * s);
    let square = x * x * h;
    // u = (+-2x - 1) h: x, the sum and h each carry a rounding. In units of the noise x stays where it is when the noise
    // multiplier is off by a factor 1 + doubt, and u moves by at most doubt (2|x| + 2) h.
    let u_error = (4.0 * E * (2.0 * x.abs() + 1.0) + term.doubt * (2.0 * x.abs() + 2.0)) * h;
    let (plus, plus_error) = ln_ratio(q, (2.0 * x - 1.0) * h, u_error);
    let ln_density = ln_step - square;
    let density_error = 6.0 * E * (square + ln_step.abs());
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

    #[test]
    fn the_step_grows_with_the_noise_and_falls_with_the_height() {
        let at = |s: f64, height: f64| step(s, Direction::Remove, 3.0, height, 40.0);
        assert!(at(1.0, 0.0) > at(0.5, 0.0) && at(1.0, 0.0) > at(1.0, 100.0));
        assert!(at(1e3, 0.0) > 500.0, "only the Gaussian factor limits the step there: {}", at(1e3, 0.0));
        assert!(at(1.0, 1e6) > 0.0);
    }

    #[test]
    fn weights_sum_to_one_on_either_side() {
        for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
            for (q, s) in [(0.01, 1.0), (0.3, 0.4), (1e-6, 20.0)] {
                let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
                let nodes = Nodes::new(term, direction, 4.0, 10.0, 36.0).unwrap();
                let sum = |side: f64| nodes.list.iter().map(|n| (n.ln_weight - side * n.loss).exp()).sum::<f64>();
                assert!((sum(0.0) - 1.0).abs() < 1e-13 && (sum(1.0) - 1.0).abs() < 1e-13, "{direction:?} {q} {s}");
            }
        }
    }

    #[test]
    fn too_many_nodes_are_not_built() {
        let term = Sampled { rate: 0.1, noise_multiplier: 1.0, doubt: 0.0, count: 1 };
        assert!(Nodes::new(term, Direction::Remove, 1e9, 0.0, 36.0).is_none());
        assert!(Nodes::new(term, Direction::Remove, f64::NAN, 0.0, 36.0).is_none());
    }
}
