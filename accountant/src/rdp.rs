//! Renyi differential privacy of Gaussian releases, Poisson-sampled or not, at any real order.

mod certificate;
mod closed_form;
mod conversion;
mod grid;
mod moment;
mod query;
mod search;

use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::{Mu, gaussian_delta, gaussian_epsilon};
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon, Order};
use crate::profile::{poisson_delta_at_least, poisson_epsilon_at_least};
use crate::relation::Relation;
use crate::terms::{Sampled, Terms};
use query::Query;

pub(crate) use grid::ln_ratio;
pub(crate) use search::minimise;

const NAME: &str = "rdp";

/// Upper bounds by Renyi differential privacy (Mironov 2017; Mironov, Talwar & Zhang 2019).
///
/// The divergence of each release is a quadrature with a certificate, so it is an upper bound at every real order. The
/// order is searched among the real numbers, and the conversion is that of Balle et al. 2020 and Canonne, Kamath &
/// Steinke 2020. `estimate` equals `upper`.
///
/// `lower` does not come from the divergences, which certify none. It is the exact profile of a part of the
/// composition: of all unsampled Gaussians together, or of one single sampled release, whichever says more. Leaving the
/// other releases out is post-processing, so the whole leaks at least as much. For many small steps it is far below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rdp {
    relation: Relation,
    orders: Vec<Order>,
}

impl Rdp {
    /// Searches all real orders.
    #[must_use]
    pub fn new(relation: Relation) -> Self {
        Self { relation, orders: Vec::new() }
    }

    /// Uses only these orders, to reproduce a tool with a fixed grid. An empty list means no restriction.
    #[must_use]
    pub fn with_orders(relation: Relation, orders: Vec<Order>) -> Self {
        Self { relation, orders }
    }

    /// A certified upper bound on the Renyi divergence of the event at this order; infinite beyond the range of `f64`.
    ///
    /// # Errors
    /// [`Unaccountable`] for events without a bound.
    pub fn divergence(&self, event: &Event, order: Order) -> Result<f64, Unaccountable> {
        let mut query = self.query(event)?;
        Ok(query.divergence(order))
    }

    /// The epsilon that this order alone gives at this delta, by the tight conversion.
    ///
    /// # Errors
    /// [`Unaccountable`] for events without a bound.
    pub fn epsilon_at(&self, event: &Event, order: Order, delta: Delta) -> Result<f64, Unaccountable> {
        Self::with_orders(self.relation, vec![order]).epsilon(event, delta).map(|bound| bound.upper())
    }

    /// The order that gives the smallest epsilon at this delta. For an event that releases nothing, any.
    ///
    /// # Errors
    /// [`Unaccountable`] for events without a bound.
    pub fn best_order(&self, event: &Event, delta: Delta) -> Result<Order, Unaccountable> {
        let mut query = self.query(event)?;
        Ok(query.least_epsilon(delta, &self.orders).0)
    }

    fn query(&self, event: &Event) -> Result<Query, Unaccountable> {
        Ok(Query::new(&Terms::of(event, NAME)?.gaussian_only(NAME)?, self.relation))
    }

    /// The largest lower bound among the parts with an exact profile.
    fn lower(&self, terms: &Terms, gaussian: impl Fn(Mu) -> f64, poisson: impl Fn(Sampled) -> f64) -> f64 {
        // Nothing is claimed of a mu beyond the range of f64: zero is a lower bound of everything.
        if terms.above {
            return 0.0;
        }
        let unsampled = match Mu::of(terms, self.relation, NAME) {
            Ok(mu) if mu.value > 0.0 => gaussian(mu),
            _ => 0.0,
        };
        terms.sampled.iter().map(|term| poisson(*term)).fold(unsampled, f64::max)
    }
}

impl Accountant for Rdp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        let terms = Terms::of(event, NAME)?.gaussian_only(NAME)?;
        if terms.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        let (_, upper) = Query::new(&terms, self.relation).least_epsilon(delta, &self.orders);
        let lower = self.lower(
            &terms,
            |mu| gaussian_epsilon(mu, delta.get()).0,
            |term| poisson_epsilon_at_least(term, self.relation, delta.get()),
        );
        Ok(Bound::new(lower, upper, upper, NAME)?)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let terms = Terms::of(event, NAME)?.gaussian_only(NAME)?;
        if terms.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        let upper = Query::new(&terms, self.relation).least_delta(epsilon, &self.orders);
        let lower = self.lower(
            &terms,
            |mu| gaussian_delta(mu, epsilon.get()).0,
            |term| poisson_delta_at_least(term, self.relation, epsilon.get()),
        );
        Ok(Bound::new(lower, upper, upper, NAME)?)
    }
}
