//! The nodes on which the moments of a mixture of Gaussians are computed, shared by all orders and both directions.

use super::grid::Node;
use crate::normal::LN_SQRT_2PI;

const E: f64 = f64::EPSILON;

/// The nodes k dx, from the middle outwards, as far as some order has needed them.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) dx: f64,
    right: Vec<Node>,
    left: Vec<Node>,
}

impl Node {
    /// The node as the other direction sees it: weighted by P, with the opposite loss.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            ln_weight: self.ln_weight + self.loss,
            ln_weight_error: self.ln_weight_error + self.loss_error + E * self.ln_weight.abs(),
            loss: -self.loss,
            loss_error: self.loss_error,
        }
    }
}

impl Nodes {
    pub(super) fn new(dx: f64) -> Self {
        Self { dx, right: Vec::new(), left: Vec::new() }
    }

    /// The nodes from `low` to `high`: those left of 0, from the middle outwards, and the others.
    pub(super) fn reach(&mut self, low: f64, high: f64, parts: &[(f64, f64)]) -> (&[Node], &[Node]) {
        let (left, right) = ((-low / self.dx).ceil() as usize, (high / self.dx).ceil() as usize + 1);
        for k in self.left.len()..left {
            self.left.push(node(-(k as f64 + 1.0) * self.dx, self.dx, parts));
        }
        for k in self.right.len()..right {
            self.right.push(node(k as f64 * self.dx, self.dx, parts));
        }
        (self.left.get(..left).unwrap_or_default(), self.right.get(..right).unwrap_or_default())
    }
}

fn node(x: f64, dx: f64, parts: &[(f64, f64)]) -> Node {
    let exponent = |m: f64| m * x - 0.5 * m * m;
    // m carries 4 units, so m x and m^2/2 carry at most these.
    let exponent_error = |m: f64| 12.0 * E * (m * x.abs() + m * m);
    let largest = parts.iter().map(|(_, m)| exponent(*m)).fold(f64::NEG_INFINITY, f64::max);
    let adding = (8.0 + parts.len() as f64) * E;
    let (mut z, mut size, mut doubt) = (0.0, 0.0, 0.0);
    if largest < 30.0 {
        // w - 1, because the p sum to 1: nothing cancels where w is near 1.
        for (p, m) in parts.iter().filter(|(_, m)| *m > 0.0) {
            let u = exponent(*m);
            let term = p * u.exp_m1();
            z += term;
            size += term.abs();
            doubt += p * u.exp() * exponent_error(*m);
        }
    }
    let (loss, loss_error) = if largest < 30.0 && z > -0.5 {
        let loss = z.ln_1p();
        (loss, ((adding + 16.0 * E) * size + doubt) / (1.0 + z) + 4.0 * E * loss.abs())
    } else {
        let peak = parts.iter().map(|(p, m)| p.ln() + exponent(*m)).fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut errors) = (0.0, 0.0);
        for (p, m) in parts {
            let log = p.ln() + exponent(*m);
            let share = (log - peak).exp();
            sum += share;
            errors += share * (exponent_error(*m) + 4.0 * E * (p.ln().abs() + log.abs() + peak.abs()));
        }
        (peak + sum.ln(), errors / sum + adding + 16.0 * E * (1.0 + peak.abs()))
    };
    let (square, ln_step) = (0.5 * x * x, dx.ln() - LN_SQRT_2PI);
    Node { ln_weight: ln_step - square, ln_weight_error: 6.0 * E * (square + ln_step.abs()), loss, loss_error }
}
