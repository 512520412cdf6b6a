//! The moment at one real order, and the loss under the measure tilted to that order.
//!
//! log M(c) of one release, from E e^{-L} = 1: M(c) - 1 = E g(L), g(L) = e^{cL} - 1 + c (e^{-L} - 1) >= 0. No term is
//! negative, so a count of 10^9 multiplies a small number with a small relative error, not a difference from 1.

use super::nodes::{Node, Nodes};
use super::part::Part;

const E: f64 = f64::EPSILON;

/// ln M(c) of one release and a bound on its absolute error; infinite or NaN beyond the range of `f64`.
pub(super) fn log_moment(nodes: &Nodes, c: f64) -> (f64, f64) {
    if nodes.part.label.low > f64::NEG_INFINITY {
        return log_positive(nodes, c);
    }
    let peak = nodes.list.iter().map(|node| node.ln_weight + c * node.loss).fold(0.0, f64::max);
    // Terms above e^300 are summed relative to the largest one.
    let scale = if peak > 300.0 { peak } else { 0.0 };
    let (mut sum, mut error) = (0.0, 0.0);
    let ln_most = c.ln_1p();
    for node in &nodes.list {
        // e^-120 is nothing beside any error here.
        if node.ln_weight - scale + (c * node.loss).max(ln_most).max(ln_most - node.loss) < -120.0 {
            continue;
        }
        let (value, rounding) = excess(node, c, scale);
        sum += value;
        error += rounding;
    }
    error += nodes.list.len() as f64 * (E * sum + (-120.0_f64).exp());
    // What the label takes away of 1 + c (E_Q 1 - E_P 1).
    let (beyond, surplus, doubt) = nodes.part.beyond();
    let shrink = (-scale).exp();
    let missing = (beyond + c * surplus) * shrink;
    error += (1.0 + c) * doubt * shrink + 4.0 * E * missing;
    let total = sum + shrink - missing;
    // The rule errs by e^-depth in each of e^{cL} (of M or 1, whichever is more), 1, and c |e^-L - 1| (2 c q); what is outside of the
    // ends counts once in e^{cL}, 1 + c times in 1 and c times in e^-L.
    let rule = (1.0 + (3.0 + 3.0 * c * nodes.part.term.rate) * shrink / total) * (-nodes.depth).exp()
        + (2.0 + 2.0 * c) * (nodes.ln_outside(c) - scale).exp() / total;
    if scale > 0.0 {
        (scale + total.ln(), 2.0 * error / total + rule + 4.0 * E * scale)
    } else {
        let value = (sum - missing).max(-1.0).ln_1p();
        (value, 2.0 * error / total + rule + 4.0 * E * value.abs())
    }
}

/// The same for a label with two ends, as a sum of positive terms: no accuracy near M = 1 is needed there.
fn log_positive(nodes: &Nodes, c: f64) -> (f64, f64) {
    let peak = nodes.list.iter().map(|node| node.ln_weight + c * node.loss).fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut error) = (0.0, 0.0);
    for node in &nodes.list {
        let exponent = node.ln_weight + c * node.loss;
        let term = (exponent - peak).exp();
        let sizes = 8.0 + node.ln_weight.abs() + (c * node.loss).abs() + peak.abs();
        sum += term;
        error += term * (node.ln_weight_error + c * node.loss_error + 2.0 * E * sizes);
    }
    let value = peak + sum.ln();
    // Of B or P(B), whichever is more.
    let rule =
        (-nodes.depth).exp() * (1.0 + (nodes.part.ln_mass() - value).exp()) + (nodes.ln_outside(c) - value).exp();
    (value, 1.01 * error / sum + nodes.list.len() as f64 * E + 2.0 * rule + 4.0 * E * value.abs())
}

/// P g(L) e^{-scale} at a node, and its rounding error.
fn excess(node: &Node, c: f64, scale: f64) -> (f64, f64) {
    let (l, ln_weight) = (node.loss, node.ln_weight - scale);
    let cl = c * l;
    if scale > 0.0 || cl.abs().max(l.abs()) > 300.0 {
        // Exponentials that would overflow without their weight; there g is far from its cancellation.
        let (up, down, one) = ((ln_weight + cl).exp(), c * (ln_weight - l).exp(), (1.0 + c) * ln_weight.exp());
        let size = up + down + one;
        let arguments = 8.0 + ln_weight.abs() + scale + cl.abs() + l.abs();
        let inputs = node.ln_weight_error * size + node.loss_error * (c * up + down);
        return (up + down - one, 2.0 * E * arguments * size + inputs);
    }
    let weight = ln_weight.exp();
    let slope = c * (cl.exp() - (-l).exp()).abs();
    let (g, rounding) = if cl.abs() < 0.1 && l.abs() < 0.1 {
        let g = series(c, l);
        (g, 24.0 * E * g)
    } else {
        let (head, rest) = (cl.exp_m1(), c * (-l).exp_m1());
        (head + rest, 4.0 * E * (head.abs() + rest.abs()) + 2.0 * E * cl.abs() * (head.abs() + 1.0))
    };
    let relative = node.ln_weight_error + E * (4.0 + ln_weight.abs());
    (weight * g, weight * (rounding + g.abs() * relative + slope * node.loss_error))
}

/// g(l) for |c l| < 0.1 and |l| < 0.1 by its Taylor series: c (c^{j-1} + (-1)^j) l^j / j!, j = 2, 3, ..
fn series(c: f64, l: f64) -> f64 {
    let (mut up, mut down) = (c * l, -l);
    let mut sum = 0.0;
    for j in 2..14 {
        let j = f64::from(j);
        up *= c * l / j;
        down *= -l / j;
        sum += up + c * down;
        // The two may cancel in one term (at c = 1 in every other) and not in the next.
        if up.abs() + c * down.abs() < 1e-18 * sum {
            break;
        }
    }
    sum
}

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

    /// A bound on the error of phi(y) - 1 = sum of p (e^{iy l} - 1) as summed by [`turns`](super::turns), which adds
    /// `summation` units in the last place.
    ///
    /// |e^{iy l} - 1| <= min(2, y |l|). An error of p that is common to all nodes cancels in the normalisation; the rest
    /// is at most sum p error |e^{iy l} - 1| plus the mean error times |phi - 1|. A loss that is off by e turns the term
    /// by y e.
    pub(super) fn error(&self, y: f64, summation: f64) -> f64 {
        let size = (y * self.spread).min(2.0);
        let weights = (y * self.relative.1 + size * self.relative.0).min(4.0 * self.relative.0);
        self.flat + 1.01 * (weights + y * self.loss_error + (summation + self.scaling) * E * size)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::moments::composition::for_all;
    use crate::moments::direction::Direction;
    use crate::moments::label::Label;
    use crate::moments::part::Part;
    use crate::terms::Sampled;

    fn at(direction: Direction, s: f64, q: f64, c: f64) -> (f64, f64) {
        let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
        // A label that takes nothing away at these orders.
        let high = 20.0 * s + if direction == Direction::Add { 2.0 } else { c + 1.0 };
        let part = Part { term, direction, label: Label::below(high, 0.5 * s.min(s * s), 17.0) };
        log_moment(&for_all(part, c, 60.0).unwrap(), c)
    }

    #[test]
    fn whole_orders_have_finite_sums() {
        // REMOVE at c = 1: 1 + q^2 (e^{1/s^2} - 1). At c = 2: 1 + 3 q^2 (1-q) (e^{1/s^2} - 1) + q^3 (e^{3/s^2} - 1).
        for (s, q) in [(1.0, 0.01), (0.3, 0.5), (20.0, 1e-6), (0.1, 1e-7), (3.0, 0.99)] {
            let e = |k: f64| f64::exp_m1(k / (s * s));
            for (c, want) in [
                (1.0, (q * q * e(1.0)).ln_1p()),
                (2.0, (3.0 * q * q * (1.0 - q) * e(1.0) + q * q * q * e(3.0)).ln_1p()),
            ] {
                let (got, error) = at(Direction::Remove, s, q, c);
                assert!((got - want).abs() <= error + 1e-13 * want, "({s}, {q}, {c}): {got} +- {error}, want {want}");
                assert!(error < 1e-10 * want, "({s}, {q}, {c}): {error} {want}");
            }
        }
    }

    #[test]
    fn forty_digits_are_met_under_replace() {
        // c times the divergence at order c + 1, E[w_+^a w_-^(1-a)] in 40-digit arithmetic (mpmath).
        for (s, q, a, divergence) in [
            (1.0, 0.01, 8.5, 0.002_254_168_832_810_182),
            (4.0, 0.01, 10.0, 0.000_125_005_343_714_979_37),
            (0.7, 0.1, 1.5, 0.068_959_169_582_221_48),
        ] {
            let (got, error) = at(Direction::Replace, s, q, a - 1.0);
            let want = (a - 1.0) * divergence;
            assert!(
                (got - want).abs() <= error + 4e-15 * want && error < 1e-11 * want,
                "{got} +- {error}, want {want}"
            );
        }
    }

    #[test]
    fn add_never_exceeds_its_largest_loss() {
        for (s, q) in [(1.0, 0.01), (0.6, 0.3), (50.0, 1e-4)] {
            for c in [0.01, 1.0, 30.0, 500.0] {
                let (add, error) = at(Direction::Add, s, q, c);
                let (remove, _) = at(Direction::Remove, s, q, c);
                assert!(
                    add > 0.0 && add <= -c * (-q).ln_1p() && add <= remove + error,
                    "({s}, {q}, {c}): {add} {remove}"
                );
            }
        }
    }
}
