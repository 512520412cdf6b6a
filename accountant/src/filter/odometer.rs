//! The odometer over Renyi divergences: what adaptively chosen releases have cost, at any moment.

use serde::{Deserialize, Serialize};

use crate::accountant::Unaccountable;
use crate::event::Event;
use crate::parameters::{Delta, Order, OutOfDomain};
use crate::rdp::Rdp;
use crate::relation::Relation;

/// Shows, at any moment, a bound on the privacy loss of everything recorded so far. There is no budget; what is recorded,
/// and when one looks or stops, may depend on all that was released before.
///
/// **Theorem.** Let r_t(a) be the divergences of order a recorded up to step t and a_1 .. a_m the orders, fixed in advance.
/// For neighbouring data sets and their laws P, Q of the transcript let L_t = ln P/Q of its first t releases. Then
///
/// P( exists t: L_t > min over i of r_t(a_i) + ln(m/delta)/(a_i - 1) ) <= delta.
///
/// *Proof.* Given the first t - 1 releases, step t is a mechanism whose divergence of order a is at most its part of r_t,
/// so E_P e^{(a-1)(L_t - L_{t-1})} <= e^{(a-1)(r_t - r_{t-1})}, and e^{(a-1)(L_t - r_t(a))} is a non-negative
/// supermartingale that starts at 1. By Ville's inequality it ever exceeds m/delta with probability delta/m at most; the
/// m orders together with probability delta.
///
/// This is an odometer in the sense of Rogers, Roth, Ullman & Vadhan 2016; the argument is that of Whitehouse, Ramdas,
/// Rogers & Wu 2023. Consequently, if releases stop at any moment at which [`Self::epsilon`] is at most some fixed number,
/// everything released is (that number, delta) differentially private. The price beside a [`super::RdpFilter`], which is
/// for one order and a budget, is ln m and the looser conversion.
///
/// As JSON: `{"relation":"add-remove","delta":1e-5,"orders":[2.0,4.0],"spent":[0.1,0.2],"recorded":3}`; a state that no
/// odometer could be in is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct Odometer {
    relation: Relation,
    delta: Delta,
    /// Each order with the divergence recorded, rounded up; the largest number where it is beyond all numbers.
    orders: Vec<(Order, f64)>,
    recorded: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    relation: Relation,
    delta: Delta,
    orders: Vec<Order>,
    spent: Vec<f64>,
    recorded: u64,
}

impl Odometer {
    /// An odometer over the 29 orders 1 + 2^(k/2)/4, k from 0 to 28: for plans about which nothing is known. The best order
    /// of what is foreseen, alone, shows less.
    #[must_use]
    pub fn new(relation: Relation, delta: Delta) -> Self {
        let orders = (0..29).flat_map(|k| Order::new(1.0 + 0.25 * (0.5 * f64::from(k)).exp2()));
        Self { relation, delta, orders: orders.map(|order| (order, 0.0)).collect(), recorded: 0 }
    }

    /// An odometer over these orders. They must not depend on the data; few good ones are better than many.
    ///
    /// # Errors
    /// [`OutOfDomain`] for an empty list.
    pub fn with_orders(relation: Relation, delta: Delta, mut orders: Vec<Order>) -> Result<Self, OutOfDomain> {
        orders.sort_unstable();
        orders.dedup();
        if orders.is_empty() {
            return Err(OutOfDomain { name: "number of orders", value: 0.0, allowed: "a whole number >= 1" });
        }
        Ok(Self { relation, delta, orders: orders.into_iter().map(|order| (order, 0.0)).collect(), recorded: 0 })
    }

    /// Writes down a release. To be called before the release: an event that cannot be priced must not happen.
    ///
    /// # Errors
    /// [`Unaccountable`] for an event without a Renyi bound; nothing is recorded.
    pub fn record(&mut self, release: &Event) -> Result<(), Unaccountable> {
        let orders = self.after(release)?;
        self.orders = orders;
        self.recorded = self.recorded.saturating_add(1);
        Ok(())
    }

    /// The epsilon that would be shown after this release; nothing is recorded.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    pub fn epsilon_after(&self, release: &Event) -> Result<f64, Unaccountable> {
        Ok(self.least(&self.after(release)?))
    }

    /// The bound on the privacy loss of everything recorded: it holds at all moments together with probability 1 - delta.
    #[must_use]
    pub fn epsilon(&self) -> f64 {
        self.least(&self.orders)
    }

    /// The delta.
    #[must_use]
    pub fn delta(&self) -> Delta {
        self.delta
    }

    /// The neighbouring relation.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// How many releases were recorded.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    fn after(&self, release: &Event) -> Result<Vec<(Order, f64)>, Unaccountable> {
        let rdp = Rdp::new(self.relation);
        let add = |(order, spent): &(Order, f64)| {
            let cost = rdp.divergence(release, *order)?;
            // Never less than the exact sum.
            let total = if cost == 0.0 { *spent } else { (spent + cost).next_up() };
            // Also for NaN. JSON has no infinity.
            Ok((*order, if total < f64::MAX { total } else { f64::MAX }))
        };
        self.orders.iter().map(add).collect()
    }

    fn least(&self, orders: &[(Order, f64)]) -> f64 {
        if orders.iter().all(|(_, spent)| *spent == 0.0) {
            return 0.0;
        }
        let ln_delta = self.delta.get().ln() - (orders.len() as f64).ln();
        let known = orders.iter().filter(|(_, spent)| *spent < f64::MAX);
        let each = known.map(|(order, spent)| (spent + order.excess(ln_delta)).next_up());
        each.fold(f64::INFINITY, f64::min)
    }
}

impl TryFrom<State> for Odometer {
    type Error = OutOfDomain;
    fn try_from(state: State) -> Result<Self, OutOfDomain> {
        let State { relation, delta, orders, spent, recorded } = state;
        if orders.len() != spent.len() {
            let value = spent.len() as f64;
            return Err(OutOfDomain { name: "number of divergences", value, allowed: "one for each order" });
        }
        if let Some(value) = spent.iter().copied().find(|value| !(*value >= 0.0 && value.is_finite())) {
            return Err(OutOfDomain { name: "what is spent", value, allowed: "a finite number >= 0" });
        }
        if !orders.is_sorted_by(|a, b| a < b) {
            let value = orders.len() as f64;
            return Err(OutOfDomain { name: "number of orders", value, allowed: "distinct orders, ascending" });
        }
        let fresh = Self::with_orders(relation, delta, orders)?;
        let orders = fresh.orders.iter().zip(spent).map(|((order, _), spent)| (*order, spent)).collect();
        Ok(Self { orders, recorded, ..fresh })
    }
}

impl From<Odometer> for State {
    fn from(odometer: Odometer) -> Self {
        let Odometer { relation, delta, orders, recorded } = odometer;
        let (orders, spent) = orders.into_iter().unzip();
        Self { relation, delta, orders, spent, recorded }
    }
}
