//! One question about one composition: its best order.

use super::conversion;
use super::curve::Curve;
use super::search::minimise;
use crate::accountant::Unaccountable;
use crate::analytic::Mu;
use crate::parameters::{Delta, Epsilon, Order};
use crate::relation::Relation;
use crate::terms::Terms;

/// The orders searched: ln(alpha - 1) within these ends.
const ENDS: (f64, f64) = (-34.0, 690.0);

/// Tolerance in ln(alpha - 1). Values are flat at the minimum: they are then good to about its square.
const TOLERANCE: f64 = 1e-5;

/// An order so close to 1 that its divergence is nearly the Kullback-Leibler divergence.
const NEARLY_ONE: f64 = 1e-6;

/// Where the search starts is first looked for at these ln(alpha - 1), if the composition is not of Gaussians alone.
const LOOKED_AT: std::ops::RangeInclusive<i32> = -8..=9;

#[derive(Debug)]
pub(super) struct Query {
    curve: Curve,
    /// A guess at mu^2 of the Gaussian part, to start the search.
    guess: f64,
}

impl Query {
    pub(super) fn new(terms: &Terms, relation: Relation) -> Result<Self, Unaccountable> {
        let mu = Mu::of(terms, relation, super::NAME).map_or(f64::INFINITY, |mu| mu.value);
        let k = relation.sum_sensitivity();
        let sampled = terms.sampled.iter().map(|term| {
            let precision = (k / term.noise_multiplier).powi(2);
            term.count as f64 * term.rate * term.rate * precision.min(30.0).exp_m1()
        });
        Ok(Self { guess: mu * mu + sampled.sum::<f64>(), curve: Curve::new(terms, relation)? })
    }

    /// An upper bound on (alpha - 1) times the divergence at this order, given that nothing is revealed.
    pub(super) fn log_moment(&mut self, order: f64) -> f64 {
        self.curve.log_moment(order)
    }

    /// An upper bound on the divergence at this order.
    pub(super) fn divergence(&mut self, order: Order) -> f64 {
        if self.curve.ln_hidden() < 0.0 {
            return f64::INFINITY;
        }
        let order = order.get();
        self.log_moment(order) / (order - 1.0) * (1.0 + 2.0 * f64::EPSILON)
    }

    /// The best order and its epsilon, clamped at 0. An empty list of orders means all.
    ///
    /// # Errors
    /// [`Unaccountable`] when more than delta is revealed: no epsilon is enough.
    pub(super) fn least_epsilon(&mut self, delta: Delta, orders: &[Order]) -> Result<(Order, f64), Unaccountable> {
        let delta = self.left_of(delta.get())?;
        let start = 0.5 * (-2.0 * delta.ln() / self.guess).ln();
        let value = |query: &mut Self, order: f64| conversion::epsilon(query.log_moment(order), order, delta);
        let (order, epsilon) = self.least(value, start, orders);
        // delta <= sqrt(1 - e^{-divergence}) at every epsilon, 0 included.
        if epsilon > 0.0 && self.delta_everywhere(orders) <= delta {
            return Ok((order, 0.0));
        }
        let most = if orders.is_empty() { self.curve.most() } else { f64::INFINITY };
        Ok((order, epsilon.max(0.0).min(most)))
    }

    /// The least delta over the orders, clamped at 1. An empty list of orders means all.
    pub(super) fn least_delta(&mut self, epsilon: Epsilon, orders: &[Order]) -> f64 {
        let epsilon = epsilon.get();
        // The saddle of a Gaussian of the same mu.
        let start = ((epsilon / self.guess - 0.5).max(0.5)).ln();
        let value = |query: &mut Self, order: f64| conversion::ln_delta(query.log_moment(order), order, epsilon);
        let (_, ln_delta) = self.least(value, start, orders);
        // exp errs by one unit, and by 2^-53 of a rounding of its argument; a delta is never 0 here.
        let delta = ln_delta.exp() * (1.0 + 4.0 * f64::EPSILON);
        let rest = delta.min(self.delta_everywhere(orders)).clamp(f64::MIN_POSITIVE, 1.0);
        // No loss exceeds this epsilon: the limit at order infinity.
        let rest = if orders.is_empty() && self.curve.most() <= epsilon { f64::MIN_POSITIVE } else { rest };
        // delta = d + (1 - d) rest grows with d, which is rounded up.
        let revealed = self.curve.revealed();
        if revealed > 0.0 { ((revealed + (1.0 - revealed) * rest) * (1.0 + 4.0 * f64::EPSILON)).min(1.0) } else { rest }
    }

    /// What is left of delta once the probability of revealing everything is taken off: (delta - d)/(1 - d), rounded
    /// down.
    fn left_of(&self, delta: f64) -> Result<f64, Unaccountable> {
        let revealed = self.curve.revealed();
        if revealed == 0.0 {
            return Ok(delta);
        }
        // 1 - d is at least as large as its rounded value less one unit.
        let left = (delta - revealed) / (1.0 - revealed) * (1.0 - 4.0 * f64::EPSILON);
        if left > 0.0 {
            return Ok(left);
        }
        Err(Unaccountable::Unsupported {
            accountant: super::NAME,
            event: "its (epsilon, delta) releases at so small a delta".to_owned(),
            reason: format!(
                "together they may reveal everything with probability {revealed:e}, so no epsilon exists at delta = \
                 {delta:e}; ask for a larger delta"
            ),
        })
    }

    /// The least value over the orders.
    ///
    /// Both conversions are ratios of a convex function of beta to a linear one (or convex themselves), because
    /// ln A is convex (a cumulant generating function) and so is the conversion's factor: one minimum, no local ones. A
    /// bound on ln A need not be convex; there the search starts at the best of a row of orders. Every value found is
    /// valid, the least or not.
    fn least(&mut self, value: impl Fn(&mut Self, f64) -> f64, start: f64, orders: &[Order]) -> (Order, f64) {
        let mut best: Option<(Order, f64)> = None;
        let mut keep = |order: f64, value: f64| {
            if let Ok(order) = Order::new(order)
                && best.is_none_or(|(_, least)| value < least)
            {
                best = Some((order, value));
            }
        };
        if orders.is_empty() {
            let mixed = self.curve.mixed();
            let start = match start {
                start if start.is_finite() => start,
                _ if mixed => 0.0,
                _ => ENDS.0,
            };
            let mut at = |ln_beta: f64| {
                let order = 1.0 + ln_beta.exp();
                let value = value(self, order);
                let value = if value.is_nan() { f64::INFINITY } else { value };
                keep(order, value);
                value
            };
            let mut start = (start, f64::INFINITY);
            for place in LOOKED_AT.filter(|_| mixed).map(f64::from) {
                let value = at(place);
                if value < start.1 {
                    start = (place, value);
                }
            }
            let (found, _) = minimise(&mut at, start.0, ENDS, TOLERANCE);
            // Bounds that are straight between whole orders are least at one of them.
            let whole = (1.0 + found.exp()).round();
            if mixed && (2.0..1e15).contains(&whole) {
                at((whole - 1.0).ln());
            }
        } else {
            for order in orders {
                keep(order.get(), value(self, order.get()));
            }
        }
        best.unwrap_or((Order::TWO, f64::INFINITY))
    }

    /// A delta that holds at every epsilon, from the least order at hand.
    fn delta_everywhere(&mut self, orders: &[Order]) -> f64 {
        let least = orders.iter().min().map_or(1.0 + NEARLY_ONE, |order| order.get());
        conversion::delta_everywhere(self.log_moment(least) / (least - 1.0))
    }
}
