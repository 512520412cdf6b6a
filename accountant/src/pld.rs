//! Privacy loss distributions: the accountant for any composition of releases, certified from both sides.
//!
//! Each release's law of losses is put on a lattice twice: by rounding, which dominates it, and by merging, which it
//! dominates ([`lattice`]). Both are composed by a tilted Fourier transform whose aliases and rounding are bounded
//! ([`transform`]).

mod allocation;
mod batches;
mod curve;
mod distribution;
mod grid;
mod lattice;
mod law;
mod mixtures;
mod pairs;
mod quadrature;
mod releases;
mod shuffle;
mod sketch;
mod transform;
mod view;

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};
use crate::relation::Relation;
use crate::terms::Terms;
use grid::Effort;
use lattice::Side;
use law::Law;
use releases::{Ask, Way, laws};
use sketch::Aim;

pub use distribution::{Incompatible, Malformed, PrivacyLossDistribution};

const NAME: &str = "pld";

/// Intervals for epsilon are to be no wider than this times max(1, epsilon), where memory and time allow it.
const EFFORT: Effort = Effort { width: 1e-6, size: 1 << 17, fine: (0.0, 0.0) };

/// What is done where that leaves an interval wider than this share.
const HARD: Effort = Effort { width: 1e-6, size: 1 << 19, fine: (0.0, 0.0) };
const WIDE: f64 = 1e-3;

const OUT_OF_REACH: Unaccountable = Unaccountable::Uncertified {
    accountant: NAME,
    reason: "the range of its privacy loss is beyond what a lattice of bounded size resolves",
};

/// A first look at a way that is likely not the costlier one.
const GLANCE: Effort = Effort { width: 1e-3, size: 1 << 14, fine: (0.0, 0.0) };

/// The share of delta that a release may have cut off.
const NEGLIGIBLE: f64 = 1e-13;

/// No less than this can be told from nothing.
const LEAST_TAIL: f64 = 1e-290;

/// The least delta that questions for a delta are prepared for.
const LEAST_DELTA: f64 = 1e-30;

/// Certified intervals for any composition of releases whose loss distributions are known, by discretised privacy loss
/// distributions (Koskela, Jalko & Honkela 2020; Doroshenko et al. 2022).
///
/// `upper` comes from laws that dominate, `lower` from laws that are dominated; both include the truncation, the aliasing
/// and the rounding of the transform. Their distance shrinks with the square of the step and is what it is: for long runs
/// it grows, and [`Moments`](crate::Moments) is narrower there. `estimate` weighs the two so that their leading errors
/// cancel. Where only an upper bound is known (claims of others, cut batches) `lower` says what is known of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pld {
    relation: Relation,
}

impl Pld {
    /// The accountant for this neighbouring relation.
    #[must_use]
    pub fn new(relation: Relation) -> Self {
        Self { relation }
    }

    /// The privacy loss distributions of an event, to be kept, composed and asked again: both sides of each of its
    /// releases, cut and spaced for questions at this delta.
    ///
    /// # Errors
    /// As for [`epsilon`](Accountant::epsilon).
    pub fn distribution(self, event: &Event, delta: Delta) -> Result<PrivacyLossDistribution, Unaccountable> {
        let plan = self.prepare(event, Way::of(self.relation), delta.get())?;
        PrivacyLossDistribution::of(self.relation, &plan, delta.get())
    }

    fn prepare(self, event: &Event, ways: &[Way], delta: f64) -> Result<Plan, Unaccountable> {
        let terms = Terms::of(event, NAME)?;
        let ways = if is_mirrored(&terms) && ways.is_empty() {
            &[Way::Remove]
        } else if ways.is_empty() {
            Way::of(self.relation)
        } else {
            ways
        };
        let tail = Some(delta * NEGLIGIBLE).filter(|tail| *tail > LEAST_TAIL);
        let ask = |way, side| laws(&terms, Ask { relation: self.relation, way, side, tail });
        let pairs = ways.iter().map(|way| Ok([ask(*way, Side::Upper)?, ask(*way, Side::Lower)?]));
        Ok(Plan { ways: pairs.collect::<Result<Vec<_>, Unaccountable>>()? })
    }
}

/// Whether P and Q may be exchanged in every release.
fn is_mirrored(terms: &Terms) -> bool {
    let mirrored = |event: &Event| {
        matches!(
            event,
            Event::Laplace { .. }
                | Event::DiscreteGaussian { .. }
                | Event::DiscreteLaplace { .. }
                | Event::EpsilonDelta { .. }
                | Event::ExponentialMechanism { .. }
        )
    };
    terms.sampled.is_empty() && terms.others.iter().all(|(event, _)| mirrored(event))
}

/// The laws on both sides, for each way.
struct Plan {
    ways: Vec<[Vec<(Law, u64)>; 2]>,
}

/// Lower and upper end.
type Ends = (f64, f64);

impl Plan {
    /// The larger of the answers of all ways, each composed on its own.
    fn largest(&self, aim: Aim, value: impl Fn(&curve::Curve) -> f64) -> Result<Ends, Unaccountable> {
        let mut ends = (0.0_f64, 0.0_f64);
        for [upper, lower] in &self.ways {
            if upper.is_empty() {
                continue;
            }
            // What is proved to be no more than the other way's lower end cannot change the maximum.
            if ends.0 > 0.0
                && grid::curve(upper, Side::Upper, aim, GLANCE).is_some_and(|glance| value(&glance) <= ends.0)
            {
                continue;
            }
            let both = |effort: Effort| {
                let one = |laws: &[(Law, u64)], side| grid::curve(laws, side, aim, effort).map(|curve| value(&curve));
                let high = one(upper, Side::Upper)?;
                Some((if lower.is_empty() { 0.0 } else { one(lower, Side::Lower).unwrap_or(0.0) }, high))
            };
            let (mut low, mut high) = both(EFFORT).ok_or(OUT_OF_REACH)?;
            let unit = if let Aim::Epsilon { .. } = aim { high.max(1.0) } else { high };
            // Both were proved: so is the better of each.
            for _ in 0..2 {
                if lower.is_empty() || high - low <= WIDE * unit {
                    break;
                }
                // With few steps at a small rate the tilt sees rare large losses, and delta those about epsilon.
                let fine = if let Aim::Delta { epsilon } = aim { (epsilon, epsilon) } else { (low, high) };
                let Some(again) = both(Effort { fine: (0.9 * fine.0, 1.1 * fine.1), ..HARD }) else { break };
                (low, high) = (low.max(again.0), high.min(again.1));
            }
            ends = (ends.0.max(low), ends.1.max(high));
        }
        Ok(ends)
    }
}

/// The interval as a bound. Rounding errs upwards by h^2/12 and merging downwards by h^2/24.
fn answer((lower, upper): Ends) -> Result<Bound, Unaccountable> {
    let estimate = if lower > 0.0 && upper.is_finite() { (2.0 * lower + upper) / 3.0 } else { upper };
    Ok(Bound::new(lower, if lower <= upper { estimate.clamp(lower, upper) } else { estimate }, upper, NAME)?)
}

impl Accountant for Pld {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        let delta = delta.get();
        let plan = self.prepare(event, &[], delta)?;
        answer(plan.largest(Aim::Epsilon { ln_delta: delta.ln() }, |curve| curve.epsilon(delta))?)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let epsilon = epsilon.get();
        // No delta was named: cut nothing that any delta in use would notice.
        let plan = self.prepare(event, &[], LEAST_DELTA)?;
        answer(plan.largest(Aim::Delta { epsilon }, |curve| curve.delta(epsilon))?)
    }
}
