//! The filter over Gaussian releases.

use serde::{Deserialize, Serialize};

use super::{Decision, NoFilter, Purse};
use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::Analytic;
use crate::calibrate;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon, NoiseMultiplier, OutOfDomain};
use crate::relation::Relation;
use crate::terms::{Terms, root_precision};

const NAME: &str = "gdp filter";

/// Grants Gaussian releases without sampling, chosen adaptively, while the sum of their mu^2 stays within mu^2.
///
/// Guarantee (Smith & Thakurta 2022; Koskela, Tobaben & Honkela 2023): everything granted together is mu-Gaussian
/// differentially private: no looser than the same releases fixed in advance. Mu must not depend on the data. Every cost
/// is rounded up, and so is their sum. A sampled release is refused: it is no Gaussian, and its limit is no bound.
///
/// As JSON: `{"relation":"add-remove","mu_squared":1.0,"spent":0.25,"granted":1}`; a state that no filter could be in is
/// refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct GdpFilter {
    relation: Relation,
    purse: Purse,
    granted: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    relation: Relation,
    mu_squared: f64,
    spent: f64,
    granted: u64,
}

impl GdpFilter {
    /// A filter for this mu.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless mu and its square are finite and > 0.
    pub fn new(relation: Relation, mu: f64) -> Result<Self, OutOfDomain> {
        if !(mu > 0.0 && mu.is_finite()) {
            return Err(OutOfDomain { name: "mu", value: mu, allowed: "a finite number > 0" });
        }
        // The square rounded down.
        Ok(Self { relation, purse: Purse::new("budget of mu^2", (mu * mu).next_down(), 0.0)?, granted: 0 })
    }

    /// A filter whose guarantee is epsilon at delta.
    ///
    /// # Errors
    /// [`NoFilter::Uncalibrated`] when no mu between 1e-8 and 1e4 has it.
    pub fn for_epsilon(relation: Relation, epsilon: Epsilon, delta: Delta) -> Result<Self, NoFilter> {
        let analytic = Analytic::new(Relation::AddRemove);
        let noise = calibrate::noise_multiplier(&analytic, Event::gaussian, epsilon, delta)?.value;
        Ok(Self::new(relation, (1.0 / noise.get()).next_down())?)
    }

    /// Pays for the release if the budget allows.
    ///
    /// # Errors
    /// [`Unaccountable`] for anything but Gaussian releases without sampling; nothing is spent.
    pub fn ask(&mut self, release: &Event) -> Result<Decision, Unaccountable> {
        let terms = Terms::of(release, NAME)?.gaussian_only(NAME)?;
        if !terms.sampled.is_empty() {
            return Err(Unaccountable::Unsupported {
                accountant: NAME,
                event: "a Poisson-sampled Gaussian".to_owned(),
                reason: "only releases without sampling add up to a Gaussian; use RdpFilter".to_owned(),
            });
        }
        // The root carries 8 + n units of 2^-53, its square twice as many.
        let mu = self.relation.sum_sensitivity() * root_precision(&terms.unsampled);
        let rounding = 1.0 + (12.0 + 2.0 * terms.unsampled.len() as f64) * f64::EPSILON;
        // A square that underflows is rounded up.
        let cost = if terms.is_empty() { 0.0 } else { (mu * mu * rounding).max(f64::MIN_POSITIVE) };
        let decision = self.purse.ask(cost);
        self.granted = self.granted.saturating_add(u64::from(decision.is_granted()));
        Ok(decision)
    }

    /// Epsilon at this delta of everything that may ever be granted.
    ///
    /// # Errors
    /// [`Unaccountable`] for a mu beyond the range of the closed form.
    pub fn epsilon(&self, delta: Delta) -> Result<f64, Unaccountable> {
        let overflow = Unaccountable::Overflow { accountant: NAME, quantity: "mu" };
        // The noise rounded down.
        let noise = NoiseMultiplier::new(1.0 / self.mu() * (1.0 - 4.0 * f64::EPSILON)).map_err(|_| overflow)?;
        Ok(Analytic::new(Relation::AddRemove).epsilon(&Event::gaussian(noise), delta)?.upper())
    }

    /// The neighbouring relation.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// The mu of everything that may ever be granted.
    #[must_use]
    pub fn mu(&self) -> f64 {
        self.purse.budget.sqrt()
    }

    /// The sum of the mu^2 granted so far, rounded up.
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

impl TryFrom<State> for GdpFilter {
    type Error = OutOfDomain;
    fn try_from(state: State) -> Result<Self, OutOfDomain> {
        let State { relation, mu_squared, spent, granted } = state;
        Ok(Self { relation, purse: Purse::new("budget of mu^2", mu_squared, spent)?, granted })
    }
}

impl From<GdpFilter> for State {
    fn from(filter: GdpFilter) -> Self {
        let GdpFilter { relation, purse, granted } = filter;
        Self { relation, mu_squared: purse.budget, spent: purse.spent, granted }
    }
}
