//! A certified upper bound on the moment A(alpha) = E_Q (P/Q)^alpha of one Poisson-sampled Gaussian.
//!
//! Add/remove and zero-out: Q = N(0, s^2), P = (1-q) N(0, s^2) + q N(1, s^2). That is the REMOVE direction; at every
//! order above 1 its divergence is at least that of the ADD direction (Mironov, Talwar & Zhang 2019), which a test
//! confirms numerically. Replace: P as above, Q = (1-q) N(0, s^2) + q N(-1, s^2); the two directions are mirror images.
//!
//! With the loss l = ln P/Q and beta = alpha - 1, and because E_Q (P/Q) = 1,
//!
//! A - 1 = integral of Q(x) g(l(x)) dx,   g(l) = e^{alpha l} - 1 - alpha (e^l - 1) = e^l (e^{beta l} - 1) - beta (e^l - 1).
//!
//! g is never negative, so nothing cancels between nodes: no alternating series, at any real order.
//!
//! The trapezoid rule over all multiples of dx differs from the integral by at most kappa (A + 1 + 2 alpha q),
//!
//! kappa = 2 exp(s^2 t^2/2 [- beta ln cos(t/2) under replace]) / (exp(2 pi s^2 t / dx) - 1)   for every 0 < t <= pi,
//!
//! because the integrand is analytic for |Im x| <= t s^2 < pi s^2: there |density| grows by e^{s^2 t^2/2}, |1 - q +
//! q e^u| is at most its value at Re x and, as a denominator, at least cos(t/2) times it; the three terms of g
//! contribute A, 1 and alpha E|P/Q - 1| <= 2 alpha q (Trefethen & Weideman 2014, theorem 5.1).
//!
//! What the nodes leave out at both ends and what floating point does to the sum are bounded below and added.

use super::certificate::{ln_ends, ln_kappa};
use super::closed_form;
use super::grid::{Grid, Node};
use super::rest::binomial_rest;
use crate::relation::Relation;
use crate::terms::Sampled;

const E: f64 = f64::EPSILON;

/// Halvings of the step that are tried before the certificate is taken as it is.
const LEVELS: usize = 6;

/// The moments of one term, with its nodes kept from one order to the next.
#[derive(Debug)]
pub(super) struct Moment {
    term: Sampled,
    relation: Relation,
    grids: Vec<Grid>,
}

/// A sum over nodes, scaled by e^{-scale}.
pub(super) struct Sum {
    scale: f64,
    /// sum of Q g, and a bound on its floating-point error.
    value: f64,
    error: f64,
}

impl Moment {
    pub(super) fn new(term: Sampled, relation: Relation) -> Self {
        Self { term, relation, grids: Vec::new() }
    }

    /// Gives the memory of the nodes back; the next order computes them anew.
    pub(super) fn forget(&mut self) {
        self.grids.clear();
    }

    /// An upper bound on ln A(order), for one release. Infinite when nothing finite is known.
    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        let (closed, exact) = closed_form::log_moment(self.term, self.relation, order);
        if exact { closed } else { self.quadrature(order).map_or(closed, |value| value.min(closed)) }
    }

    /// ln A by quadrature, on the coarsest grid whose certificate is negligible.
    fn quadrature(&mut self, order: f64) -> Option<f64> {
        let Self { term, relation, grids } = self;
        let mut best: Option<f64> = None;
        for level in 0..LEVELS {
            if grids.len() == level {
                grids.push(Grid::new(*term, *relation, level as i32));
            }
            let grid = grids.get_mut(level)?;
            let dx = grid.dx;
            let Some(window) = grid.window(order) else { break };
            let sum = Sum::over(window.nodes.iter().copied(), order);
            let ends = ln_ends(*term, *relation, order, &window, dx);
            let (value, negligible) = sum.log_moment(ends, ln_kappa(*term, *relation, order, dx), order, term.rate);
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

impl Sum {
    /// The sum over these nodes; any pair (P, Q) will do.
    pub(super) fn over(nodes: impl Iterator<Item = Node> + Clone, order: f64) -> Self {
        let beta = order - 1.0;
        // Terms above e^300 are summed relative to the largest one.
        let peak = nodes.clone().map(|node| node.ln_weight + order * node.loss).fold(0.0, f64::max);
        let scale = if peak > 300.0 { peak } else { 0.0 };
        let (mut value, mut error, mut count) = (0.0, 0.0, 0.0);
        for node in nodes {
            count += 1.0;
            let (l, ln_weight) = (node.loss, node.ln_weight - scale);
            let weight = ln_weight.exp();
            let excess = l.exp_m1();
            // Q e^l (e^{beta l} - 1), which times alpha is also the derivative of Q g in l.
            let head = if beta * l > 600.0 {
                (ln_weight + order * l).exp()
            } else {
                (ln_weight + l).exp() * (beta * l).exp_m1()
            };
            let (term, rounding) = if (order * excess).abs() < 0.1 {
                let g = weight * binomial_rest(order, excess);
                (g, 24.0 * E * g)
            } else {
                let rest = if l > 1.0 { beta * ((ln_weight + l).exp() - weight) } else { beta * weight * excess };
                // Every exponential carries 2^-52 of its argument.
                let arguments = 8.0 + ln_weight.abs() + order * l.abs();
                (head - rest, 2.0 * E * arguments * (head.abs() + rest.abs()))
            };
            value += term;
            error += rounding + term.abs() * node.ln_weight_error + order * head.abs() * node.loss_error;
        }
        // Adding n numbers one after the other errs by at most n units of the final sum of their sizes.
        let adding = count * E * (value.abs() + error);
        Self { scale, value, error: error + adding }
    }

    /// ln A from the sum, the ends, kappa and a bound q on half of E_Q |P/Q - 1|; and whether the certificate is
    /// negligible beside the value.
    pub(super) fn log_moment(&self, ln_ends: f64, ln_kappa: f64, order: f64, q: f64) -> (f64, bool) {
        let kappa = ln_kappa.exp();
        // A - 1 <= sum + ends + kappa ((A - 1) + 2 + 2 alpha q), solved for A - 1.
        let known = self.value + self.error + (ln_ends - self.scale).exp();
        let certificate = (ln_kappa - self.scale).exp() * (2.0 + 2.0 * order * q);
        if kappa >= 0.5 {
            return (f64::INFINITY, false);
        }
        let excess = (known + certificate) / (1.0 - kappa) * (1.0 + 4.0 * E);
        let value = if self.scale > 0.0 {
            // A scale above 300: the 1 in A = 1 + excess is below rounding, and is added all the same.
            self.scale + (excess + (-self.scale).exp()).ln() + 8.0 * E * self.scale
        } else {
            excess.ln_1p()
        };
        (value * (1.0 + 4.0 * E) + f64::MIN_POSITIVE, certificate <= 1e-14 * self.value && kappa < 1e-14)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ln A at a whole order: A - 1 = sum over i >= 2 of C(k, i) (1-q)^(k-i) q^i (e^{(i^2-i)/(2 s^2)} - 1), every term
    /// positive (Mironov, Talwar & Zhang 2019, section 3.3, with the terms of (1 - q + q)^k taken out).
    fn at_whole_order(q: f64, s: f64, k: u32) -> f64 {
        let mut ln_binomial = 0.0;
        let mut logs = Vec::new();
        for i in 1..=k {
            ln_binomial += f64::from(k - i + 1).ln() - f64::from(i).ln();
            let exponent = f64::from(i) * f64::from(i - 1) * 0.5 / (s * s);
            let ln_growth = if exponent > 30.0 { exponent } else { exponent.exp_m1().ln() };
            logs.push(ln_binomial + f64::from(k - i) * (-q).ln_1p() + f64::from(i) * q.ln() + ln_growth);
        }
        let peak = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let excess: f64 = logs.iter().map(|log| (log - peak).exp()).sum();
        if peak < 300.0 { (peak.exp() * excess).ln_1p() } else { peak + excess.ln() }
    }

    fn term(q: f64, s: f64) -> Sampled {
        Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 }
    }

    proptest! {
        #[test]
        fn whole_orders_agree_with_the_finite_sum(
            ln_q in 1e-9_f64.ln()..0.99_f64.ln(),
            ln_s in 0.05_f64.ln()..100_f64.ln(),
            k in 2_u32..200,
        ) {
            let (q, s) = (ln_q.exp(), ln_s.exp());
            let got = Moment::new(term(q, s), Relation::AddRemove).log_moment(f64::from(k));
            let want = at_whole_order(q, s, k);
            prop_assert!(got >= want * (1.0 - 1e-11), "below the truth: {got}, want {want}");
            prop_assert!(got <= want * (1.0 + 1e-9), "loose: {got}, want {want}");
        }

        /// REMOVE dominates ADD at every order. ADD: E (1+z)^(1-alpha) - 1 + (alpha-1) z, by a plain fine sum.
        #[test]
        fn the_remove_direction_is_the_larger_one(
            ln_q in 1e-3_f64.ln()..0.99_f64.ln(),
            s in 0.5_f64..10.0,
            beta in 0.05_f64..30.0,
        ) {
            let q = ln_q.exp();
            let dx = s / 40.0;
            let reach = ((beta + 12.0 * s) / dx).ceil() as i32;
            let add: f64 = (-reach..=reach)
                .map(|k| {
                    let x = f64::from(k) * dx;
                    let z = q * ((2.0 * x - 1.0) * 0.5 / (s * s)).exp_m1();
                    let density = (-0.5 * (x / s).powi(2) - crate::normal::LN_SQRT_2PI).exp() / s;
                    density * dx * ((-beta * z.ln_1p()).exp_m1() + beta * z)
                })
                .sum();
            let remove = Moment::new(term(q, s), Relation::AddRemove).log_moment(1.0 + beta);
            prop_assert!(add.ln_1p() <= remove * (1.0 + 1e-9) + 1e-13, "add {}, remove {remove}", add.ln_1p());
        }
    }

    #[test]
    fn the_certificate_covers_a_step_that_is_too_coarse() {
        for (q, s, k) in [(0.3, 0.3, 3), (0.1, 1.0, 4), (0.5, 5.0, 20)] {
            let want = at_whole_order(q, s, k);
            let order = f64::from(k);
            let mut visibly_wrong = 0;
            for level in -6..=0 {
                let mut grid = Grid::new(term(q, s), Relation::AddRemove, level);
                let dx = grid.dx;
                let window = grid.window(order).unwrap();
                let sum = Sum::over(window.nodes.iter().copied(), order);
                let ends = ln_ends(term(q, s), Relation::AddRemove, order, &window, dx);
                let kappa = ln_kappa(term(q, s), Relation::AddRemove, order, dx);
                let (upper, _) = sum.log_moment(ends, kappa, order, q);
                assert!(upper >= want * (1.0 - 1e-12), "level {level}: {upper}, want {want}");
                visibly_wrong += u32::from(sum.value.ln_1p() < want * (1.0 - 1e-9));
            }
            assert!(visibly_wrong > 0, "no step was coarse enough to test anything");
        }
    }

    #[test]
    fn closed_forms_are_bounds_too() {
        for (q, s, k) in [(0.3, 0.3, 3), (0.01, 1.0, 30), (0.5, 5.0, 20), (1e-6, 0.2, 2)] {
            let want = at_whole_order(q, s, k);
            let (closed, exact) = closed_form::log_moment(term(q, s), Relation::AddRemove, f64::from(k));
            assert!(closed >= want * (1.0 - 1e-14), "{closed}, want {want}");
            assert!(!exact || closed <= want * (1.0 + 1e-12), "not exact: {closed}, want {want}");
        }
        // Far out, where quadrature would need ever more nodes.
        let (closed, exact) = closed_form::log_moment(term(0.01, 0.1), Relation::AddRemove, 100.0);
        assert!(exact && (closed / at_whole_order(0.01, 0.1, 100) - 1.0).abs() < 1e-12);
    }
}
