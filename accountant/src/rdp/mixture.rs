//! A certified upper bound on the moments of a mixture of Gaussians against its null component, both directions.
//!
//! In units of the noise, Q = N(0, 1) and P = sum of p_i N(m_i, 1) with m_i >= 0; w = P/Q = sum of p_i e^{m_i x - m_i^2/2}.
//! A - 1 = integral of Q g(ln w) (REMOVE) or of P g(-ln w) (ADD), g as in [`moment`](super::moment), by the trapezoid
//! rule over all multiples of dx. On the lines Im x = +-t the phases of the terms of w lie in [0, t m_max], so |w| is at
//! most its real value and at least cos(t m_max/2) times it, and the density grows by e^{t^2/2}: the rule errs by at most
//! kappa (A + 1 + 2 alpha (1 - p_0)),
//!
//! kappa = 2 e^{t^2/2} cos(t m_max/2)^{-beta} / (e^{2 pi t/dx} - 1)   for every 0 < t < pi/m_max (no cosine for REMOVE).

use std::f64::consts::{LN_2, PI};

use super::grid::Node;
use super::mixture_nodes::Nodes;
use super::moment::Sum;
use crate::event::GaussianMixture;
use crate::normal::{LN_SQRT_2PI, ln_tail};

const E: f64 = f64::EPSILON;

/// How far the nodes reach beyond the mass: P(X > 15) is 4e-51.
const REACH: f64 = 15.0;

/// More exponentials than this are not computed for one grid; closed forms answer instead.
const MOST_EXPONENTIALS: f64 = 1e6;
const MOST_NODES: f64 = 16_384.0;

/// Halvings of the step that are tried before the certificate is taken as it is.
const LEVELS: i32 = 5;

#[derive(Debug)]
pub(super) struct Mixture {
    /// (p, m) with p > 0, m ascending. p is good to 8 units of 2^-52, m to 4.
    parts: Vec<(f64, f64)>,
    /// An upper bound on 1 - p_0, half of E |P/Q - 1| at most.
    moved: f64,
    grids: Vec<Nodes>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    Remove,
    Add,
}

impl Mixture {
    /// The mixture on a Poisson sample of this rate: a null component takes the remaining probability.
    pub(super) fn new(mixture: &GaussianMixture, rate: f64) -> Self {
        let sigma = mixture.noise_multiplier().get();
        let total: f64 = mixture.parts().map(|(_, p)| p).sum();
        let mut parts: Vec<(f64, f64)> = mixture
            .parts()
            .filter(|(_, p)| *p > 0.0)
            .map(|(s, p)| ((rate * p / total).max(if s > 0.0 { f64::MIN_POSITIVE } else { 0.0 }), s / sigma))
            .filter(|(p, _)| *p > 0.0)
            .collect();
        if rate < 1.0 {
            match parts.first_mut() {
                Some((p, m)) if *m == 0.0 => *p += 1.0 - rate,
                _ => parts.insert(0, (1.0 - rate, 0.0)),
            }
        }
        let moved: f64 = parts.iter().filter(|(_, m)| *m > 0.0).map(|(p, _)| p).sum();
        Self { parts, moved: (moved * (1.0 + 16.0 * E)).min(1.0), grids: Vec::new() }
    }

    /// An upper bound on the larger of the two ln A(order).
    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        [Direction::Remove, Direction::Add]
            .into_iter()
            .map(|direction| {
                let closed = self.closed_form(order, direction);
                self.quadrature(order, direction).map_or(closed, |value| value.min(closed))
            })
            .fold(0.0, f64::max)
    }

    fn furthest(&self) -> f64 {
        self.parts.last().map_or(0.0, |(_, m)| *m)
    }

    /// Joint convexity: A <= sum of p_i e^{alpha beta m_i^2/2}. REMOVE, Minkowski's inequality: A^{1/alpha} <= sum of
    /// p_i e^{beta m_i^2/2}. ADD: Q/P <= 1/p_0.
    fn closed_form(&self, order: f64, direction: Direction) -> f64 {
        let beta = order - 1.0;
        let convex = self.ln_average(order * beta);
        match direction {
            Direction::Remove => convex.min(order * self.ln_average(beta) * (1.0 + 2.0 * E)),
            Direction::Add => convex.min(-beta * (-self.moved).ln_1p() * (1.0 + 4.0 * E)),
        }
    }

    /// ln of the sum of p_i e^{c m_i^2/2}, rounded up.
    fn ln_average(&self, c: f64) -> f64 {
        let growth = |m: f64| (0.5 * c * m * m) * (1.0 + 16.0 * E);
        let adding = 1.0 + (24.0 + self.parts.len() as f64) * E;
        if growth(self.furthest()) < 600.0 {
            let sum: f64 = self.parts.iter().map(|(p, m)| p * growth(*m).exp_m1()).sum();
            return (sum * adding * (1.0 + 1e3 * E)).ln_1p() * (1.0 + 2.0 * E) + f64::MIN_POSITIVE;
        }
        let logs = self.parts.iter().map(|(p, m)| p.ln() + growth(*m));
        let peak = logs.clone().fold(0.0, f64::max);
        if peak == f64::INFINITY {
            return peak;
        }
        let sum: f64 = logs.map(|log| (log - peak).exp()).sum();
        peak * (1.0 + 8.0 * E) + (sum * adding).ln()
    }

    fn quadrature(&mut self, order: f64, direction: Direction) -> Option<f64> {
        let furthest = self.furthest();
        if furthest == 0.0 {
            return Some(0.0);
        }
        let beta = order - 1.0;
        let (low, high) = match direction {
            Direction::Remove => (-REACH, order * furthest + REACH),
            Direction::Add => (-beta * furthest - REACH, furthest + REACH),
        };
        let mut best: Option<f64> = None;
        for level in 0..LEVELS {
            let dx = (PI / (14.0 * furthest)).min(0.1) * 0.5_f64.powi(level);
            let count = (high - low) / dx;
            // Written so that NaN and infinities are refused too.
            if !(count <= MOST_NODES && count * self.parts.len() as f64 <= MOST_EXPONENTIALS) {
                break;
            }
            if self.grids.len() == level as usize {
                self.grids.push(Nodes::new(dx));
            }
            let nodes = self.grids.get_mut(level as usize)?;
            let (left, right) = nodes.reach(low, high, &self.parts);
            let all = left.iter().rev().chain(right);
            let ends = (-(left.len() as f64) * dx, (right.len() as f64 - 1.0) * dx);
            let (sum, ln_ends) = match direction {
                Direction::Remove => {
                    let last = all.clone().next_back().map_or(f64::INFINITY, |node| node.ln_weight + order * node.loss);
                    // Right: ln(Q w^alpha) has slope alpha m_max - x at most. Left: w < 1, and Q g <= alpha Q (1 - w).
                    let right = ln_beyond(last, ends.1 - order * furthest, dx);
                    let left = (order * self.moved).ln() + ln_tail(-ends.0);
                    (Sum::over(all.copied(), order), right.max(left))
                }
                Direction::Add => {
                    let first = all.clone().next().map_or(f64::INFINITY, |node| node.ln_weight - beta * node.loss);
                    // Left: ln(Q w^{-beta}) has slope -beta m_max - x at least. Right: w > 1, and P g <= beta Q (w - 1),
                    // at most beta (1 - p_0) times the furthest component.
                    let left = ln_beyond(first, -ends.0 - beta * furthest, dx);
                    let right = (beta * self.moved).ln() + ln_tail(ends.1 - furthest);
                    (Sum::over(all.map(Node::mirrored), order), right.max(left))
                }
            };
            // Twice the larger end bounds the sum; a hundredth covers the rounding of the logarithms.
            let kappa = ln_kappa(beta, direction, furthest, dx);
            let (value, negligible) = sum.log_moment(ln_ends + LN_2 + 0.01, kappa, order, self.moved);
            // A value that floating point could not form is no bound.
            if !value.is_nan() {
                best = Some(best.map_or(value, |known| known.min(value)));
            }
            if negligible {
                break;
            }
        }
        best
    }
}

/// ln of a bound on the sum beyond a node at distance d > 0 from the centre of a normal density that the integrand, e^last
/// at the node, stays below a multiple of.
fn ln_beyond(last: f64, d: f64, dx: f64) -> f64 {
    last - dx.ln() + LN_SQRT_2PI + 0.5 * d * d + ln_tail(d)
}

/// ln kappa, minimised over the shift of the contour.
fn ln_kappa(beta: f64, direction: Direction, furthest: f64, dx: f64) -> f64 {
    const TRIALS: i32 = 24;
    let widest = (PI / furthest).min(2.0 * PI / dx);
    let at = |trial: i32| {
        let t = widest * f64::from(trial) / f64::from(TRIALS);
        let growth = match direction {
            Direction::Remove => 0.0,
            Direction::Add => -beta * (0.5 * t * furthest).cos().ln(),
        };
        let decay = 2.0 * PI * t / dx;
        LN_2 + 0.5 * t * t + growth - decay - (-(-decay).exp_m1()).ln()
    };
    // Every shift is valid, so one that cannot be evaluated is left out; a hundredth covers rounding.
    (1..=TRIALS).map(at).filter(|value| !value.is_nan()).fold(f64::INFINITY, f64::min) + 0.01
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::parameters::{NoiseMultiplier, Probability, Sensitivity};
    use crate::relation::Relation;
    use crate::terms::Sampled;

    fn mixture(sigma: f64, parts: &[(f64, f64)]) -> GaussianMixture {
        GaussianMixture::new(
            NoiseMultiplier::new(sigma).unwrap(),
            parts.iter().map(|(s, _)| Sensitivity::new(*s).unwrap()).collect(),
            parts.iter().map(|(_, p)| Probability::new(*p).unwrap()).collect(),
        )
        .unwrap()
    }

    #[test]
    fn both_directions_agree_with_a_plain_fine_sum() {
        let cases = [
            (1.0, vec![(0.0, 0.2), (1.0, 0.6), (2.0, 0.2)]),
            (2.0, vec![(0.0, 0.33), (2.0, 0.34), (3.0, 0.33)]),
            (3.0, vec![(1.0, 0.5), (2.5, 0.5)]),
            (1.5, vec![(0.0, 0.99), (1.0, 0.009), (4.0, 0.001)]),
        ];
        for (sigma, parts) in cases {
            let mut got = Mixture::new(&mixture(sigma, &parts), 1.0);
            for order in [1.1, 2.0, 3.7, 12.0] {
                let dx = 1e-3;
                let (mut remove, mut add) = (0.0, 0.0);
                for k in -40_000..=40_000 {
                    let x = f64::from(k) * dx;
                    let w: f64 = parts.iter().map(|(s, p)| p * (s / sigma * x - 0.5 * (s / sigma).powi(2)).exp()).sum();
                    let ln_q = -0.5 * x * x - LN_SQRT_2PI + dx.ln();
                    remove += (ln_q + order * w.ln()).exp();
                    add += (ln_q - (order - 1.0) * w.ln()).exp();
                }
                for (direction, want) in [(Direction::Remove, remove.ln()), (Direction::Add, add.ln())] {
                    let value = got.quadrature(order, direction).unwrap();
                    let relative = value / want - 1.0;
                    assert!(
                        (-1e-11..1e-8).contains(&relative),
                        "{direction:?} {parts:?} {order}: {value}, want {want}"
                    );
                    assert!(got.closed_form(order, direction) >= want * (1.0 - 1e-12), "{direction:?} {order}");
                }
            }
        }
    }

    #[test]
    fn two_components_are_a_sampled_gaussian() {
        for (q, sigma, order) in [(0.01, 1.0, 2.5), (0.3, 0.7, 8.0), (1e-6, 2.0, 30.0)] {
            let term = Sampled { rate: q, noise_multiplier: sigma, doubt: 0.0, count: 1 };
            let want = super::super::moment::Moment::new(term, Relation::AddRemove).log_moment(order);
            let whole = mixture(sigma, &[(1.0, 1.0)]);
            for got in [
                Mixture::new(&mixture(sigma, &[(0.0, 1.0 - q), (1.0, q)]), 1.0).log_moment(order),
                Mixture::new(&whole, q).log_moment(order),
            ] {
                assert!((got / want - 1.0).abs() < 1e-9, "({q}, {sigma}, {order}): {got}, want {want}");
            }
        }
    }

    #[test]
    fn a_component_whose_probability_underflows_keeps_its_cost() {
        // A probability of 1e-300 at a rate of 1e-30 became 0, and with it the term p^a e^{a (a-1) s^2/2}: its logarithm
        // at a = 50, s = 1000 over a - 1 is 25e6 - 50/49 330 ln 10.
        let mut rare = Mixture::new(&mixture(1.0, &[(0.0, 1.0), (1000.0, 1e-300)]), 1e-30);
        let (divergence, want) = (rare.log_moment(50.0) / 49.0, 24_999_224.639_713_58);
        assert!(divergence >= want && divergence < want + 60.0, "{divergence}, want {want}");
    }

    #[test]
    fn too_wide_a_mixture_falls_back_on_its_closed_form() {
        let mut far = Mixture::new(&mixture(1e-3, &[(0.0, 0.5), (1.0, 0.5)]), 1.0);
        let value = far.log_moment(10.0);
        let least = 45e6 + 10.0 * 0.5_f64.ln();
        assert!(value.is_finite() && value >= least && value < least + 50.0, "{value}");
    }
}
