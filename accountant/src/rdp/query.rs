//! One question about one composition: its total moment at any order, and the best order.

use super::conversion;
use super::moment::Moment;
use super::search::minimise;
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

/// With more distinct terms than this, nodes are not kept between orders: they would fill the memory.
const KEPT: usize = 256;

#[derive(Debug)]
pub(super) struct Query {
    /// mu^2/2 of the unsampled part: its divergence is this times the order.
    rho: f64,
    sampled: Vec<(Moment, u64)>,
    /// A guess at mu^2 of the whole, to start the search.
    guess: f64,
}

impl Query {
    pub(super) fn new(terms: &Terms, relation: Relation) -> Self {
        // Beyond the range of f64 the divergence is infinite: still an upper bound.
        let (mu, error) = Mu::of(terms, relation, super::NAME).map_or((f64::INFINITY, 0.0), |mu| (mu.value, mu.error));
        let k = relation.sum_sensitivity();
        let guess = terms.sampled.iter().map(|term| {
            let precision = (k / term.noise_multiplier).powi(2);
            term.count as f64 * term.rate * term.rate * precision.min(30.0).exp_m1()
        });
        // Twice the relative error of mu for its square, and the roundings here. A square that underflows is rounded up.
        let rho = 0.5 * mu * mu * (1.0 + 2.0 * error + 4.0 * f64::EPSILON);
        let rho = if mu > 0.0 { rho.max(f64::MIN_POSITIVE) } else { 0.0 };
        Self {
            rho,
            guess: mu * mu + guess.sum::<f64>(),
            sampled: terms.sampled.iter().map(|term| (Moment::new(*term, relation), term.count)).collect(),
        }
    }

    /// An upper bound on (alpha - 1) times the divergence at this order.
    fn log_moment(&mut self, order: f64) -> f64 {
        let many = self.sampled.len() > KEPT;
        let start = if self.rho > 0.0 { order * (order - 1.0) * self.rho } else { 0.0 };
        let total = self.sampled.iter_mut().fold(start, |total, (moment, count)| {
            let one = moment.log_moment(order);
            if many {
                moment.forget();
            }
            total + *count as f64 * one
        });
        // One unit for each product and each sum.
        let rounding = 1.0 + (4 + self.sampled.len()) as f64 * f64::EPSILON;
        total * rounding
    }

    /// An upper bound on the divergence at this order.
    pub(super) fn divergence(&mut self, order: Order) -> f64 {
        let order = order.get();
        self.log_moment(order) / (order - 1.0) * (1.0 + 2.0 * f64::EPSILON)
    }

    /// The best order and its epsilon, clamped at 0. An empty list of orders means all.
    pub(super) fn least_epsilon(&mut self, delta: Delta, orders: &[Order]) -> (Order, f64) {
        let delta = delta.get();
        let start = 0.5 * (-2.0 * delta.ln() / self.guess).ln();
        let value = |query: &mut Self, order: f64| conversion::epsilon(query.log_moment(order), order, delta);
        let (order, epsilon) = self.least(value, start, orders);
        // delta <= sqrt(1 - e^{-divergence}) at every epsilon, 0 included.
        if epsilon > 0.0 && self.delta_everywhere(orders) <= delta {
            return (order, 0.0);
        }
        (order, epsilon.max(0.0))
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
        delta.min(self.delta_everywhere(orders)).clamp(f64::MIN_POSITIVE, 1.0)
    }

    /// The least value over the orders.
    ///
    /// Both conversions are ratios of a convex function of beta to a linear one (or convex themselves), because
    /// ln A is convex (a cumulant generating function) and so is the conversion's factor: one minimum, no local ones.
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
            let start = if start.is_finite() { start } else { ENDS.0 };
            let at = |ln_beta: f64| {
                let order = 1.0 + ln_beta.exp();
                let value = value(self, order);
                let value = if value.is_nan() { f64::INFINITY } else { value };
                keep(order, value);
                value
            };
            minimise(at, start, ENDS, TOLERANCE);
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
