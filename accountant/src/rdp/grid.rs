//! The nodes on which the moments of one sampled Gaussian are computed, shared by all orders.

use crate::normal::LN_SQRT_2PI;
use crate::relation::Relation;
use crate::terms::Sampled;

/// How far the nodes reach beyond the mass, in standard deviations: P(X > 15) is 4e-51.
pub(super) const REACH: f64 = 15.0;

/// A grid that would need more nodes than this is not built; closed forms answer instead.
const MOST_NODES: f64 = 65_536.0;

/// Noise multipliers whose squares and their inverses are ordinary numbers.
const ORDINARY: std::ops::Range<f64> = 1e-100..1e100;

/// One node x of the trapezoid rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// ln of Q's density times the step.
    pub(super) ln_weight: f64,
    /// Absolute error of `ln_weight`.
    pub(super) ln_weight_error: f64,
    /// The privacy loss ln P/Q.
    pub(super) loss: f64,
    /// Absolute error of `loss`, that of x and of its rounding included.
    pub(super) loss_error: f64,
}

/// The nodes k dx, k from `first`, extended to the right as larger orders ask for them.
#[derive(Debug)]
pub(super) struct Grid {
    term: Sampled,
    relation: Relation,
    /// Distance between nodes.
    pub(super) dx: f64,
    first: i64,
    nodes: Vec<Node>,
}

/// The nodes that one order needs.
pub(super) struct Window<'a> {
    pub(super) nodes: &'a [Node],
    /// First and last x.
    pub(super) ends: (f64, f64),
}

impl Grid {
    /// The coarsest grid halved `level` times.
    ///
    /// The step s/10 suits the Gaussian factor, pi s^2/14 the period 2 pi s^2 of the loss along the imaginary axis;
    /// whether it is enough is for the certificate of each order to say.
    pub(super) fn new(term: Sampled, relation: Relation, level: i32) -> Self {
        let s = term.noise_multiplier;
        let dx = (s / 10.0).min(std::f64::consts::PI * s * s / 14.0) * 0.5_f64.powi(level);
        // Under replace Q has a component around -1.
        let left = match relation {
            Relation::Replace => 1.0,
            Relation::AddRemove | Relation::ZeroOut => 0.0,
        };
        let first = (-(left + REACH * s) / dx).floor();
        // Only a grid that is never built could saturate here.
        Self { term, relation, dx, first: first as i64, nodes: Vec::new() }
    }

    /// Where the mass of the integrand ends for this order: its logarithm has slope (.. - x)/s^2 at most.
    pub(super) fn centre(relation: Relation, order: f64) -> f64 {
        match relation {
            Relation::Replace => 2.0 * order - 1.0,
            Relation::AddRemove | Relation::ZeroOut => order,
        }
    }

    /// The nodes up to `REACH` beyond the mass of the integrand, or nothing when they are too many.
    pub(super) fn window(&mut self, order: f64) -> Option<Window<'_>> {
        let right = Self::centre(self.relation, order) + REACH * self.term.noise_multiplier;
        let (dx, first) = (self.dx, self.first as f64);
        let count = (right / dx).ceil() - first + 1.0;
        // Written so that NaN and infinities are refused too.
        if !(count <= MOST_NODES && ORDINARY.contains(&self.term.noise_multiplier)) {
            return None;
        }
        let count = count as usize;
        for index in self.nodes.len()..count {
            let x = (first + index as f64) * dx;
            self.nodes.push(self.node(x));
        }
        let last = (first + (count - 1) as f64) * dx;
        Some(Window { nodes: self.nodes.get(..count)?, ends: (first * dx, last) })
    }

    fn node(&self, x: f64) -> Node {
        const E: f64 = f64::EPSILON;
        let Sampled { rate: q, noise_multiplier: s, .. } = self.term;
        let h = 0.5 / (s * s);
        let square = x * x * h;
        let ln_step = (self.dx / s).ln() - LN_SQRT_2PI;
        // u = (+-2x - 1) h: x, the sum and h each carry a rounding.
        let u_error = 4.0 * E * (2.0 * x.abs() + 1.0) * h;
        let (plus, plus_error) = ln_ratio(q, (2.0 * x - 1.0) * h, u_error);
        match self.relation {
            Relation::AddRemove | Relation::ZeroOut => Node {
                ln_weight: ln_step - square,
                ln_weight_error: 6.0 * E * (square + ln_step.abs()),
                loss: plus,
                loss_error: plus_error,
            },
            Relation::Replace => {
                let (minus, minus_error) = ln_ratio(q, (-2.0 * x - 1.0) * h, u_error);
                // P/Q - 1 = q (e^{u+} - e^{u-}) / w-, without cancellation where it is small.
                let excess = q * (-h - minus).exp() * 2.0 * (2.0 * x * h).sinh();
                let loss = if excess.abs() < 0.5 { excess.ln_1p() } else { plus - minus };
                Node {
                    ln_weight: ln_step - square + minus,
                    ln_weight_error: 6.0 * E * (square + ln_step.abs() + minus.abs()) + minus_error,
                    loss,
                    loss_error: plus_error + minus_error + 8.0 * E * (plus.abs() + minus.abs() + loss.abs()),
                }
            }
        }
    }
}

/// ln(1 - q + q e^u) and its absolute error, when u is known to `u_error`.
pub(crate) fn ln_ratio(q: f64, u: f64, u_error: f64) -> (f64, f64) {
    const E: f64 = f64::EPSILON;
    if u < 30.0 {
        let excess = q * u.exp_m1();
        // Below -1/2 the rounding of the excess would be divided by a small w; there q > 1/2, 1 - q is exact, and a sum of
        // two positive numbers keeps their relative accuracy.
        let (value, rounding) =
            if excess > -0.5 { (excess.ln_1p(), 0.0) } else { (((1.0 - q) + q * u.exp()).ln(), 4.0 * E) };
        // The derivative in u is q e^u / w, at most 1.
        let slope = (q.ln() + u - value).exp().min(1.0);
        (value, 8.0 * E * value.abs() + rounding + slope * u_error)
    } else {
        let value = q.ln() + u + ((1.0 - q) / q * (-u).exp()).ln_1p();
        (value, 4.0 * E * (u - q.ln()) + u_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_keeps_its_error_up_to_a_rate_of_one() {
        // mpmath, 60 digits, of the binary numbers themselves.
        for (q, u, want) in [
            (0.9, -2.5, -1.74941000901143),
            (0.9, -0.7, -0.6034403549688767),
            (0.9, -30.0, -2.302585092993204),
            (0.99, -40.0, -4.60517018598809),
            (0.99, -2.5, -2.393997244975702),
            (0.99, -0.7, -0.6899135129960015),
            (0.99, -30.0, -4.605170185978826),
            (0.99999, -40.0, -11.51292546497435),
            (0.99999, -2.5, -2.499888181312336),
            (0.99999, -0.7, -0.6999898625243097),
            (0.99999, -30.0, -11.51292545561725),
            (0.9999999999973407, -40.0, -26.65295011618775),
            (0.9999999999973407, -2.5, -2.499999999970262),
            (0.9999999999973407, -0.7, -0.6999999999973041),
            (0.9999999999973407, -30.0, -26.61836859717438),
            (0.9999999999999998, -40.0, -36.02470123450657),
            (0.9999999999999998, -2.5, -2.499999999999998),
            (0.9999999999999998, -0.7, -0.6999999999999997),
            (0.9999999999999998, -30.0, -29.99762993679347),
        ] {
            let (got, error) = ln_ratio(q, u, 0.0);
            assert!((got - want).abs() <= error && error < 1e-13, "ln w({q}, {u}) = {got} +- {error}, want {want}");
        }
    }
}
