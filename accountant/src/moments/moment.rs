//! The moment at one real order.
//!
//! From E e^{-L} = 1: M(c) - 1 = E g(L), g(L) = e^{cL} - 1 + c (e^{-L} - 1) >= 0. No term is negative, so a count of 10^9
//! multiplies a small number with a small relative error, not a difference from 1.

use super::nodes::{Node, Nodes, goal, step};
use super::part::Part;
use super::strip::{self, Orders};

const E: f64 = f64::EPSILON;

/// From this many nodes on a finer bound on the step is tried: it costs about as much as a few hundred of them.
pub(super) const WORTH: f64 = 250.0;

/// One release at all orders up to the one that its nodes were built for.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) nodes: Nodes,
    /// The weight of each node and e^{-loss} - 1, which are the same at every order; none for a label with two ends.
    fixed: Vec<(f64, f64)>,
    /// [`Part::beyond`] and ln of the mass of the part.
    beyond: (f64, f64, f64),
    ln_mass: f64,
}

impl Moment {
    pub(super) fn new(nodes: Nodes) -> Self {
        let fixed = |node: &Node| (node.ln_weight.exp(), (-node.loss).exp_m1());
        let one_end = nodes.part.label.low == f64::NEG_INFINITY;
        let fixed = if one_end { nodes.list.iter().map(fixed).collect() } else { Vec::new() };
        let (beyond, ln_mass) = (nodes.part.beyond(), nodes.part.ln_mass());
        Self { nodes, fixed, beyond, ln_mass }
    }

    /// For all orders up to this one.
    pub(super) fn up_to(part: Part, order: f64, depth: f64) -> Option<Self> {
        let plain = step(&part, order, 0.0, depth);
        let (left, right) = part.ends(order, goal(&part, order, depth));
        let dx = if right - left > WORTH * plain {
            // M is not much below 1, B not much below its mass; what is missing is part of the error of the moment.
            plain.max(strip::step(&part, (order, Orders::UpTo), part.ln_mass().min(0.0), 0.0, depth))
        } else {
            plain
        };
        Nodes::with_step(part, order, dx, depth).map(Self::new)
    }

    /// ln M(c) of one release and a bound on its absolute error; infinite or NaN beyond the range of `f64`.
    pub(super) fn ln(&self, c: f64) -> (f64, f64) {
        let nodes = &self.nodes;
        if nodes.part.label.low > f64::NEG_INFINITY {
            return self.ln_positive(c);
        }
        let peak = nodes.list.iter().map(|node| node.ln_weight + c * node.loss).fold(0.0, f64::max);
        // Terms above e^300 are summed relative to the largest one.
        let scale = if peak > 300.0 { peak } else { 0.0 };
        let (mut sum, mut error) = (0.0, 0.0);
        let ln_most = c.ln_1p();
        for (node, fixed) in nodes.list.iter().zip(&self.fixed) {
            // e^-120 is nothing beside any error here.
            if node.ln_weight - scale + (c * node.loss).max(ln_most).max(ln_most - node.loss) < -120.0 {
                continue;
            }
            let (value, rounding) = excess(node, *fixed, c, scale);
            sum += value;
            error += rounding;
        }
        error += nodes.list.len() as f64 * (E * sum + (-120.0_f64).exp());
        // What the label takes away of 1 + c (E_Q 1 - E_P 1).
        let (beyond, surplus, doubt) = self.beyond;
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
    fn ln_positive(&self, c: f64) -> (f64, f64) {
        let nodes = &self.nodes;
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
        let rule = (-nodes.depth).exp() * (1.0 + (self.ln_mass - value).exp()) + (nodes.ln_outside(c) - value).exp();
        (value, 1.01 * error / sum + nodes.list.len() as f64 * E + 2.0 * rule + 4.0 * E * value.abs())
    }
}

/// P g(L) e^{-scale} at a node, and its rounding error.
///
/// The weight is `fixed.0`, e^{-L} - 1 is `fixed.1`.
fn excess(node: &Node, (weight, back): (f64, f64), c: f64, scale: f64) -> (f64, f64) {
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
    let (g, rounding, slope) = if cl.abs() < 0.1 && l.abs() < 0.1 {
        let g = series(c, l);
        // |e^{cl} - e^{-l}| <= e^0.1 (c + 1) |l|
        (g, 24.0 * E * g, 1.2 * c * (1.0 + c) * l.abs())
    } else {
        let (head, rest) = (cl.exp_m1(), c * back);
        let rounding = 4.0 * E * (head.abs() + rest.abs()) + 2.0 * E * cl.abs() * (head.abs() + 1.0);
        (head + rest, rounding, c * (head - back).abs())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::moments::direction::Direction;
    use crate::moments::label::Label;
    use crate::terms::Sampled;

    fn at(direction: Direction, s: f64, q: f64, c: f64) -> (f64, f64) {
        let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
        // A label that takes nothing away at these orders.
        let high = 20.0 * s + if direction == Direction::Add { 2.0 } else { c + 1.0 };
        let part = Part { term, direction, label: Label::below(high, 0.5 * s.min(s * s), 17.0) };
        Moment::up_to(part, c, 60.0).unwrap().ln(c)
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
