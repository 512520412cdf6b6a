//! The moments accountant at complex orders: the exact profile of a composition by a contour integral.
//!
//! With the moment generating function M(s) = E_P e^{sL} of the composed privacy loss,
//!
//! delta(eps) = E_P (1 - e^{eps - L})_+ = (1 / 2 pi i) integral over Re s = c of M(s) e^{-s eps} / (s (s+1)) ds, c > 0,
//!
//! because the bilateral Laplace transform of (1 - e^{-x})_+ is 1/(s (s+1)). ln M of a composition is the sum of those
//! of its releases, and on the real axis it is s times the Renyi divergence of order s + 1.

mod aliasing;
mod arm;
mod beyond;
mod chernoff;
mod composition;
mod contour;
mod cut;
mod direction;
#[cfg(test)]
mod domain;
mod label;
mod left_out;
mod moment;
mod nodes;
mod part;
mod place;
mod profile;
mod sample;
mod search;
mod strip;
mod tilt;
mod turns;
mod value;

use crate::accountant::{Accountant, Unaccountable};
use crate::analytic::Mu;
use crate::bound::Bound;
use crate::event::Event;
use crate::exponentials::ln_add;
use crate::parameters::{Delta, Epsilon};
use crate::profile::poisson_delta_at_least;
use crate::relation::Relation;
use crate::terms::{Sampled, Terms};
use chernoff::Chernoff;
use composition::Composition;
use direction::Direction;
use search::Interval;

const NAME: &str = "moments";

/// An interval for epsilon wider than this times max(1, epsilon), or for delta than this times delta, is no answer.
const USEFUL: f64 = 1e-3;

/// Certified intervals for compositions of Gaussian releases, Poisson-sampled or not, at any number of steps.
///
/// `lower` and `upper` account for the step and the cut of the contour, for the quadrature behind each sample and for
/// floating point; they typically differ by less than 1e-9. Both directions of add/remove and zero-out are composed on
/// their own, and the larger answer is taken at the very end (Zhu, Dong & Wang 2022). `estimate` is the sum itself.
///
/// Where the contours would need too many samples the answer is [`Unaccountable::Uncertified`]: with noise multipliers from
/// 0.3 to 1000, rates from 1e-7 and deltas to 1e-100 hardly ever for epsilon under add/remove and zero-out; for one question
/// in five, at the smallest rates, for delta and under replace. [`Pld`](crate::Pld) and [`Rdp`](crate::Rdp) answer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moments {
    relation: Relation,
}

impl Moments {
    /// The accountant for this neighbouring relation.
    #[must_use]
    pub fn new(relation: Relation) -> Self {
        Self { relation }
    }

    /// The larger of the answers of all directions; `None` when it is not known well enough.
    ///
    /// `certify` answers for one direction from its best real order. `bound` is what that order alone proves, `most` what
    /// holds without any computation. Outcomes that do not matter at a delta of e^`ln_delta` are left out.
    fn largest(
        self,
        (terms, mu): (&Terms, Mu),
        ln_delta: f64,
        chernoff: impl Fn(&mut Composition) -> Option<Chernoff>,
        most: impl Fn(&Composition) -> f64,
        bound: impl Fn(Chernoff) -> f64,
        certify: impl Fn(&mut Composition, Chernoff) -> Option<Interval>,
    ) -> Option<Interval> {
        let mut largest: Option<Interval> = None;
        for direction in Direction::of(self.relation) {
            let mut composition = Composition::new(terms, mu, *direction, ln_delta);
            let lower = largest.map_or(f64::NEG_INFINITY, |known| known.lower);
            let most = most(&composition);
            // What cannot exceed the other direction's lower bound cannot change the maximum.
            if most <= lower {
                continue;
            }
            let real = chernoff(&mut composition);
            let simple = most.min(real.map_or(f64::INFINITY, &bound));
            if simple <= lower {
                continue;
            }
            let here = match real.and_then(|real| certify(&mut composition, real)) {
                Some(certified) => certified,
                // The other direction's answer stands, if what is known of this one does not widen it too much.
                None if largest.is_some() => Interval { lower: 0.0, estimate: 0.0, upper: simple },
                None => return None,
            };
            let here = Interval { upper: here.upper.min(simple), ..here };
            let joined = largest.map_or(here, |known| Interval {
                lower: known.lower.max(here.lower),
                estimate: known.estimate.max(here.estimate),
                upper: known.upper.max(here.upper),
            });
            largest = Some(joined);
            if terms.sampled.is_empty() {
                // A Gaussian against its shift is its own mirror image.
                break;
            }
        }
        largest
    }

    fn prepare(self, event: &Event) -> Result<(Terms, Mu), Unaccountable> {
        let terms = Terms::of(event, NAME)?.gaussian_only(NAME)?;
        if terms.above {
            return Err(Unaccountable::Unsupported {
                accountant: NAME,
                event: "tree aggregation whose sensitivity is known only from above".to_owned(),
                reason: "it could not certify a lower end; use accountant auto".to_owned(),
            });
        }
        let mu = Mu::of(&terms, self.relation, NAME)?;
        Ok((terms, mu))
    }
}

/// The interval as a bound, or the refusal.
fn answer(interval: Option<Interval>, useful: impl Fn(Interval) -> bool) -> Result<Bound, Unaccountable> {
    let refusal = Unaccountable::Uncertified {
        accountant: NAME,
        reason: "the privacy loss is out of range, or so uneven that the contour integral would need too many samples",
    };
    let Some(found) = interval.filter(|found| useful(*found)) else { return Err(refusal) };
    // No clamp: ends in the wrong order are for `Bound` to report.
    let estimate = found.estimate.max(found.lower).min(found.upper);
    Ok(Bound::new(found.lower, estimate, found.upper, NAME)?)
}

impl Accountant for Moments {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        let (terms, mu) = self.prepare(event)?;
        if terms.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        let delta = delta.get();
        let interval = self.largest(
            (&terms, mu),
            delta.ln(),
            |composition| chernoff::epsilon(composition, delta),
            Composition::largest_loss,
            |real| real.value.max(0.0),
            |composition, real| search::epsilon(composition, delta, real),
        );
        answer(interval, |found| found.upper - found.lower <= USEFUL * found.upper.max(1.0))
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let (terms, mu) = self.prepare(event)?;
        if terms.is_empty() {
            return Ok(Bound::zero(NAME));
        }
        let epsilon = epsilon.get();
        // The whole leaks at least what one release does; that only decides what is negligible.
        let single = |term: &Sampled| poisson_delta_at_least(*term, self.relation, epsilon);
        let ln_delta = terms.sampled.iter().map(single).fold(f64::MIN_POSITIVE, f64::max).ln();
        let interval = self.largest(
            (&terms, mu),
            ln_delta,
            |composition| {
                let real = chernoff::delta(composition, epsilon, None, chernoff::TOLERANCE)?;
                Some(Chernoff { value: ln_add(real.value, composition.ln_far()), ..real })
            },
            // No loss exceeds epsilon: delta is 0.
            |composition| if composition.largest_loss() <= epsilon { 0.0 } else { 1.0 },
            // An upper bound never underflows to zero.
            |real| (real.value.min(0.0).exp() * (1.0 + 4.0 * f64::EPSILON)).max(f64::MIN_POSITIVE),
            |composition, real| search::delta(composition, epsilon, real),
        );
        // A delta below all ordinary numbers is known to be one.
        answer(interval, |found| found.upper - found.lower <= USEFUL * found.upper.max(1e-290))
    }
}
