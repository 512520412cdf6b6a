//! Renyi differential privacy of every event that has a bound, at any real order.

mod atoms;
mod certificate;
mod closed_form;
mod conversion;
mod curve;
mod difference;
mod grid;
mod laplace;
mod mixture;
mod mixture_nodes;
mod moment;
mod poisson;
mod query;
mod release;
mod rest;
mod search;
mod select;
mod whole_orders;
mod without_replacement;

use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::{Mu, Single, gaussian_delta, gaussian_epsilon};
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
/// The divergence of each release is a closed form, or a quadrature with a certificate, or a proved bound, so it is an
/// upper bound at every real order. The order is searched among the real numbers, and the conversion is that of Balle et
/// al. 2020 and Canonne, Kamath & Steinke 2020. `estimate` equals `upper`. Which theorem stands behind which event, and
/// which relations it is for, is in the crate's `docs/accountant/rdp.md`; what has no bound is refused with the reason.
///
/// A release with a delta of its own is one that reveals everything with probability delta: at a smaller total delta it
/// is refused, and its divergence is infinite.
///
/// `lower` does not come from the divergences, which certify none. It is the exact profile of a part of the
/// composition: of all unsampled Gaussians together, or of one single release that is a sampled Gaussian, Laplace noise,
/// randomized response or an (epsilon, delta) release, whichever says most. Leaving the
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

    /// A certified upper bound on the Renyi divergence of the event at this order; infinite beyond the range of `f64`,
    /// and where some release has a delta of its own.
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
        Ok(query.least_epsilon(delta, &self.orders)?.0)
    }

    fn query(&self, event: &Event) -> Result<Query, Unaccountable> {
        Query::new(&Terms::of(event, NAME)?, self.relation)
    }

    /// The largest lower bound among the parts with an exact profile.
    fn lower(
        &self,
        terms: &Terms,
        gaussian: impl Fn(Mu) -> f64,
        poisson: impl Fn(Sampled) -> f64,
        single: impl Fn(Single) -> f64,
    ) -> f64 {
        let leaves = terms.others.iter().filter_map(|(event, _)| Single::leaf(event, self.relation).ok().flatten());
        let least = leaves.map(single).fold(0.0, f64::max);
        if terms.above {
            return least;
        }
        // Nothing is claimed of a mu beyond the range of f64: zero is a lower bound of everything.
        let unsampled = match Mu::of(terms, self.relation, NAME) {
            Ok(mu) if mu.value > 0.0 => gaussian(mu),
            _ => 0.0,
        };
        terms.sampled.iter().map(|term| poisson(*term)).fold(unsampled.max(least), f64::max)
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
        let terms = Terms::of(event, NAME)?;
        if terms.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        let (_, upper) = Query::new(&terms, self.relation)?.least_epsilon(delta, &self.orders)?;
        let lower = self.lower(
            &terms,
            |mu| gaussian_epsilon(mu, delta.get()).0,
            |term| poisson_epsilon_at_least(term, self.relation, delta.get()),
            |single| single.epsilon(delta.get()).map_or(0.0, |(least, _)| least),
        );
        Ok(Bound::new(lower, upper, upper, NAME)?)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let terms = Terms::of(event, NAME)?;
        if terms.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        let upper = Query::new(&terms, self.relation)?.least_delta(epsilon, &self.orders);
        let lower = self.lower(
            &terms,
            |mu| gaussian_delta(mu, epsilon.get()).0,
            |term| poisson_delta_at_least(term, self.relation, epsilon.get()),
            |single| single.delta(epsilon.get()).0,
        );
        Ok(Bound::new(lower, upper, upper, NAME)?)
    }
}
