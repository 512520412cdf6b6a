//! The loss of one release under the measure tilted to an order.

use super::nodes::{Node, Nodes};
use super::part::Part;
use super::turns::Rounding;

const E: f64 = f64::EPSILON;

/// Sums are taken in chunks, so that their rounding does not grow with all the nodes.
const CHUNK: usize = 32;

/// One release under the tilted measure p_c proportional to P e^{c L}.
#[derive(Debug)]
pub(super) struct Tilt {
    pub(super) part: Part,
    pub(super) count: f64,
    /// ln M(c) of one release, and its error.
    pub(super) log_moment: (f64, f64),
    /// Mean and variance of the loss. The mean need not be exact: it is only the origin of `losses`.
    pub(super) mean: f64,
    pub(super) variance: f64,
    /// Nodes of more than negligible probability: probability, and loss less its mean.
    pub(super) nodes: Vec<(f64, f64)>,
    /// Bounds on how far sum of p (e^{iy l} - 1) is from its true value: `flat + min(two_sided, height y) + slope y`.
    flat: f64,
    /// Relative error of the sum that the probabilities were divided by, in units of 2^-52.
    scaling: f64,
    spread: f64,
    relative: (f64, f64),
    loss_error: f64,
}

impl Tilt {
    /// The moment is given, as it comes from nodes of its own.
    pub(super) fn new(nodes: &Nodes, c: f64, log_moment: (f64, f64)) -> Self {
        let peak = nodes.list.iter().map(|node| node.ln_weight + c * node.loss).fold(f64::NEG_INFINITY, f64::max);
        let weight = |node: &Node| (node.ln_weight + c * node.loss - peak).exp();
        let total: f64 = nodes.list.chunks(CHUNK).map(|chunk| chunk.iter().map(weight).sum::<f64>()).sum();
        // Nodes whose probabilities together are below the error of the rule are left out.
        let least = (-nodes.depth).exp() / nodes.list.len() as f64;
        let kept = || nodes.list.iter().map(|node| (weight(node) / total, node)).filter(|(p, _)| *p > least);
        let mean: f64 = kept().map(|(p, node)| p * node.loss).sum();
        let mut tilt = Self {
            part: nodes.part,
            count: nodes.part.term.count as f64,
            log_moment,
            mean,
            variance: 0.0,
            nodes: Vec::with_capacity(nodes.list.len()),
            // The rule at y and at 0 with their ends, and the nodes left out here.
            flat: 6.0 * (-nodes.depth).exp() + 3.0 * (nodes.ln_outside(c) - log_moment.0).exp(),
            scaling: (CHUNK + nodes.list.len() / CHUNK + 2) as f64,
            spread: 0.0,
            relative: (0.0, 0.0),
            loss_error: 0.0,
        };
        for (p, node) in kept() {
            let l = node.loss - mean;
            tilt.nodes.push((p, l));
            tilt.variance += p * l * l;
            tilt.spread += p * l.abs();
            // The relative error of p: of its logarithm, and of the exponential.
            let exponent = node.ln_weight.abs() + (c * node.loss).abs() + peak.abs() + 4.0;
            let error = node.ln_weight_error + c * node.loss_error + 2.0 * E * exponent;
            tilt.relative.0 += p * error;
            tilt.relative.1 += p * error * l.abs();
            tilt.loss_error += p * (node.loss_error + 4.0 * E * (node.loss.abs() + l.abs()));
        }
        tilt
    }

    /// A bound on the error of phi(y) - 1 = sum of p (e^{iy l} - 1) as summed by [`turns`](super::turns) with its
    /// `rounding`.
    ///
    /// |e^{iy l} - 1| <= min(2, y |l|). An error of p that is common to all nodes cancels in the normalisation; the rest
    /// is at most sum p error |e^{iy l} - 1| plus the mean error times |phi - 1|. A loss that is off by e turns the term
    /// by y e.
    pub(super) fn error(&self, y: f64, rounding: Rounding) -> f64 {
        let size = (y * self.spread).min(2.0);
        let summed = rounding.units * ((y + rounding.reach) * self.spread).min(2.0);
        let weights = (y * self.relative.1 + size * self.relative.0).min(4.0 * self.relative.0);
        self.flat + 1.01 * (weights + y * self.loss_error + (summed + self.scaling * size) * E)
    }
}
