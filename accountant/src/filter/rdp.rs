//! The filter over Renyi divergences of one order.

use serde::{Deserialize, Serialize};

use super::{Decision, NoFilter, Purse};
use crate::accountant::Unaccountable;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon, Order, OutOfDomain};
use crate::rdp::Rdp;
use crate::relation::Relation;

/// Grants releases, chosen adaptively, while the sum of their Renyi divergences of one order stays within a budget.
///
/// Guarantee (Feldman & Zrnic 2021): everything granted together, however it was chosen, has a divergence of
/// at most `budget` at `order`, hence is (epsilon, delta) differentially private with [`Self::epsilon`]. Order and budget
/// must not depend on the data. The price of each release is rounded up, and so is the sum.
///
/// As JSON: `{"relation":"add-remove","order":8.0,"budget":1.5,"spent":0.2,"granted":17}`; a state that no filter could be
/// in is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct RdpFilter {
    relation: Relation,
    order: Order,
    purse: Purse,
    granted: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    relation: Relation,
    order: Order,
    budget: f64,
    spent: f64,
    granted: u64,
}

impl RdpFilter {
    /// A filter for this budget of divergence.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless the budget is finite and > 0.
    pub fn new(relation: Relation, order: Order, budget: f64) -> Result<Self, OutOfDomain> {
        Ok(Self { relation, order, purse: Purse::new("budget of Renyi divergence", budget, 0.0)?, granted: 0 })
    }

    /// A filter whose guarantee is epsilon at delta.
    ///
    /// # Errors
    /// [`NoFilter::Order`] when the conversion at this order alone costs as much.
    pub fn for_epsilon(relation: Relation, order: Order, epsilon: Epsilon, delta: Delta) -> Result<Self, NoFilter> {
        let budget = order.divergence(epsilon.get(), delta);
        if budget > 0.0 {
            Ok(Self::new(relation, order, budget)?)
        } else {
            Err(NoFilter::Order { order: order.get(), epsilon: epsilon.get(), delta: delta.get() })
        }
    }

    /// Pays for the release if the budget allows.
    ///
    /// # Errors
    /// [`Unaccountable`] for a release without a Renyi bound; nothing is spent.
    pub fn ask(&mut self, release: &Event) -> Result<Decision, Unaccountable> {
        let decision = self.purse.ask(Rdp::new(self.relation).divergence(release, self.order)?);
        self.granted = self.granted.saturating_add(u64::from(decision.is_granted()));
        Ok(decision)
    }

    /// Epsilon at this delta of everything that may ever be granted.
    #[must_use]
    pub fn epsilon(&self, delta: Delta) -> f64 {
        self.order.epsilon(self.purse.budget, delta)
    }

    /// The neighbouring relation.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// The order.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// The most divergence that is ever granted.
    #[must_use]
    pub fn budget(&self) -> f64 {
        self.purse.budget
    }

    /// The divergence granted so far, rounded up. It bounds what was released only if the moment to look at it was fixed in
    /// advance; the guarantee is the budget's.
    #[must_use]
    pub fn spent(&self) -> f64 {
        self.purse.spent
    }

    /// How many releases were granted.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }
}

impl TryFrom<State> for RdpFilter {
    type Error = OutOfDomain;
    fn try_from(state: State) -> Result<Self, OutOfDomain> {
        let State { relation, order, budget, spent, granted } = state;
        Ok(Self { relation, order, purse: Purse::new("budget of Renyi divergence", budget, spent)?, granted })
    }
}

impl From<RdpFilter> for State {
    fn from(filter: RdpFilter) -> Self {
        let RdpFilter { relation, order, purse, granted } = filter;
        Self { relation, order, budget: purse.budget, spent: purse.spent, granted }
    }
}
