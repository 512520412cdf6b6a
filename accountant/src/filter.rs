//! Spending privacy as one goes: releases chosen one after the other, each after seeing what came out before.
//!
//! A composition theorem for a plan fixed in advance says nothing about this. What holds:
//!
//! * [`RdpFilter`]: Renyi divergences of **one order fixed in advance** may be chosen adaptively; as long as their sum
//!   stays within the budget, all releases together have that divergence (Feldman & Zrnic 2021).
//! * [`GdpFilter`]: Gaussian releases may be chosen adaptively; as long as the sum of their mu^2 stays within mu^2, all
//!   together are mu-Gaussian differentially private (Smith & Thakurta 2022; Koskela, Tobaben & Honkela 2023).
//! * [`Odometer`]: no budget; at every moment, with probability 1 - delta for all moments at once, the privacy loss so far
//!   is at most the epsilon it shows.
//!
//! A filter that composes *privacy profiles* and stops when they cross a budget is **invalid** in general (arXiv
//! 2602.06756), so there is none for the other accountants: [`Filter::new`] refuses them with [`NoFilter`]. They are for
//! schedules fixed in advance ([`schedule`](crate::schedule)).
//!
//! All three spend before the release: ask, and release only what was granted. Their state reads back from JSON, and is
//! checked where it is read.

mod gdp;
mod odometer;
mod rdp;

use serde::{Deserialize, Serialize};

use crate::accountant::{Accountant, Unaccountable};
use crate::calibrate::Uncalibrated;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon, OutOfDomain};
use crate::rdp::Rdp;

pub use gdp::GdpFilter;
pub use odometer::Odometer;
pub use rdp::RdpFilter;

/// What a filter answers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "only what was granted may be released"]
pub enum Decision {
    /// It is paid for: release it, once.
    Granted,
    /// It would exceed the budget and nothing was spent. Something cheaper may still be granted.
    Refused {
        /// What it would cost, in the filter's own unit.
        cost: f64,
        /// What is left, in the same unit.
        left: f64,
    },
}

impl Decision {
    /// Whether the release is paid for.
    #[must_use]
    pub fn is_granted(self) -> bool {
        self == Self::Granted
    }
}

/// Why there is no filter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoFilter {
    /// The accountant composes privacy profiles.
    #[error(
        "accountant {0} composes privacy profiles, and a filter that stops when a composed profile crosses a budget is \
         invalid in general (arXiv 2602.06756): choose releases adaptively with accountant rdp (RdpFilter, one order \
         fixed in advance) or, for Gaussian releases without sampling, analytic (GdpFilter); or fix the schedule in advance"
    )]
    Profiles(&'static str),
    /// The order leaves nothing to spend.
    #[error(
        "at Renyi order {order} epsilon = {epsilon} at delta = {delta} is spent before the first release: choose a larger \
         order, for instance the best one of the plan foreseen"
    )]
    Order {
        /// The order.
        order: f64,
        /// The epsilon asked for.
        epsilon: f64,
        /// The delta asked for.
        delta: f64,
    },
    /// The accountant refused the plan foreseen.
    #[error(transparent)]
    Unaccountable(#[from] Unaccountable),
    /// No Gaussian reaches the target.
    #[error(transparent)]
    Uncalibrated(#[from] Uncalibrated),
    /// A budget outside its domain.
    #[error(transparent)]
    OutOfDomain(#[from] OutOfDomain),
}

/// A filter of either kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Renyi divergences of one order.
    Rdp(RdpFilter),
    /// Squares of mu.
    Gdp(GdpFilter),
}

impl Filter {
    /// The filter that belongs to the accountant, with a budget of epsilon at delta: for `rdp` at the order that is best
    /// for `foreseen`, for `analytic` the one for Gaussian releases. What is released in the end may differ from what
    /// was foreseen; that costs tightness and no validity.
    ///
    /// # Errors
    /// [`NoFilter`]: every other accountant, a plan that the accountant refuses, a target that cannot be met.
    pub fn new(
        accountant: &dyn Accountant,
        foreseen: &Event,
        epsilon: Epsilon,
        delta: Delta,
    ) -> Result<Self, NoFilter> {
        let relation = accountant.relation();
        match accountant.name() {
            "rdp" => {
                // The order depends on nothing but the plan, which was there before the data.
                let order = Rdp::new(relation).best_order(foreseen, delta)?;
                Ok(Self::Rdp(RdpFilter::for_epsilon(relation, order, epsilon, delta)?))
            }
            "analytic" => {
                accountant.epsilon(foreseen, delta)?;
                Ok(Self::Gdp(GdpFilter::for_epsilon(relation, epsilon, delta)?))
            }
            other => Err(NoFilter::Profiles(other)),
        }
    }

    /// Pays for the release if the budget allows.
    ///
    /// # Errors
    /// [`Unaccountable`] for a release that the filter cannot price; nothing is spent.
    pub fn ask(&mut self, release: &Event) -> Result<Decision, Unaccountable> {
        match self {
            Self::Rdp(filter) => filter.ask(release),
            Self::Gdp(filter) => filter.ask(release),
        }
    }

    /// Epsilon at this delta of everything that may ever be granted.
    ///
    /// # Errors
    /// [`Unaccountable`] for a budget beyond the range of `f64`.
    pub fn epsilon(&self, delta: Delta) -> Result<f64, Unaccountable> {
        match self {
            Self::Rdp(filter) => Ok(filter.epsilon(delta)),
            Self::Gdp(filter) => filter.epsilon(delta),
        }
    }
}

/// What is spent out of a budget, rounded up.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Purse {
    budget: f64,
    spent: f64,
}

impl Purse {
    /// A purse, checked: also where its state is read from a file.
    fn new(name: &'static str, budget: f64, spent: f64) -> Result<Self, OutOfDomain> {
        if !(budget > 0.0 && budget.is_finite()) {
            return Err(OutOfDomain { name, value: budget, allowed: "a finite number > 0" });
        }
        if !(0.0..=budget).contains(&spent) {
            return Err(OutOfDomain { name: "what is spent", value: spent, allowed: "0 <= spent <= budget" });
        }
        Ok(Self { budget, spent })
    }

    fn ask(&mut self, cost: f64) -> Decision {
        // A sum that is rounded to the nearest number is moved to the next one: never less than the exact sum.
        let total = if cost == 0.0 { self.spent } else { (self.spent + cost).next_up() };
        // NaN is not within any budget.
        if cost >= 0.0 && total <= self.budget {
            self.spent = total;
            Decision::Granted
        } else {
            Decision::Refused { cost, left: self.left() }
        }
    }

    fn left(&self) -> f64 {
        self.budget - self.spent
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_purse_is_never_overdrawn() {
        let mut purse = Purse::new("budget", 1.0, 0.0).unwrap();
        // 0.1 is a little more than a tenth: nine fit.
        let granted = (0..20).filter(|_| purse.ask(0.1).is_granted()).count();
        assert_eq!(granted, 9);
        assert!(purse.spent <= 1.0);
        assert!(purse.ask(0.0).is_granted());
        assert!(!purse.ask(f64::NAN).is_granted() && !purse.ask(f64::INFINITY).is_granted());
        for (budget, spent) in [(0.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, 0.0), (1.0, 1.5), (1.0, -0.1)] {
            assert!(Purse::new("budget", budget, spent).is_err(), "{budget} {spent}");
        }
    }
}
