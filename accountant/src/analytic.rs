//! The exact accountant: compositions of Gaussian releases without sampling, and a few single releases.

mod single;

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon};
use crate::profile::{bisect, ln_gaussian_delta};
use crate::relation::Relation;
use crate::terms::{Terms, root_precision};
pub(crate) use single::Single;

const NAME: &str = "analytic";

/// Exact answers for Gaussian releases without sampling (or with a Poisson rate of exactly 1).
///
/// Their composition is one Gaussian of parameter mu with mu^2 = sensitivity^2 times the sum of count / sigma^2 (Dong,
/// Roth & Su 2022), and its profile is known in closed form (Balle & Wang 2018). Lower and upper differ by the rounding
/// error alone.
///
/// Also for one single release of these kinds: Laplace noise, randomized response, and an (epsilon, delta) release, whose
/// answer is that of the worst mechanism with its guarantee. Everything else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Analytic {
    relation: Relation,
}

impl Analytic {
    /// The exact accountant for this neighbouring relation.
    #[must_use]
    pub fn new(relation: Relation) -> Self {
        Self { relation }
    }

    /// The mu, and whether it is also what the event costs at least.
    fn mu(self, terms: Terms) -> Result<(Mu, bool), Unaccountable> {
        let terms = terms.gaussian_only(NAME)?;
        if terms.sampled.is_empty() {
            Ok((Mu::of(&terms, self.relation, NAME)?, !terms.above))
        } else {
            Err(Unaccountable::Unsupported {
                accountant: NAME,
                event: "a Poisson-sampled Gaussian".to_owned(),
                reason: "its composition has no closed form; use accountant auto or rdp".to_owned(),
            })
        }
    }
}

impl Accountant for Analytic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relation(&self) -> Relation {
        self.relation
    }

    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        let terms = Terms::of(event, NAME)?;
        if let Some(single) = Single::of(&terms, self.relation)? {
            let (lower, upper) = single.epsilon(delta.get())?;
            return Ok(Bound::new(lower, 0.5 * (lower + upper), upper, NAME)?);
        }
        let (mu, exact) = self.mu(terms)?;
        if mu.value == 0.0 {
            return Ok(Bound::zero(NAME));
        }
        let (lower, upper) = gaussian_epsilon(mu, delta.get());
        let lower = if exact { lower } else { 0.0 };
        Ok(Bound::new(lower, if exact { 0.5 * (lower + upper) } else { upper }, upper, NAME)?)
    }

    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let terms = Terms::of(event, NAME)?;
        if let Some(single) = Single::of(&terms, self.relation)? {
            let (lower, upper) = single.delta(epsilon.get());
            return Ok(Bound::new(lower, 0.5 * (lower + upper), upper, NAME)?);
        }
        let (mu, exact) = self.mu(terms)?;
        if mu.value == 0.0 {
            return Ok(Bound::zero(NAME));
        }
        let (lower, upper) = gaussian_delta(mu, epsilon.get());
        let lower = if exact { lower } else { 0.0 };
        Ok(Bound::new(lower, if exact { 0.5 * (lower + upper) } else { upper }, upper, NAME)?)
    }
}

/// The parameter of a Gaussian, with a bound on its relative error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mu {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

impl Mu {
    /// mu of the unsampled part of a composition; 0 when there is none.
    pub(crate) fn of(terms: &Terms, relation: Relation, accountant: &'static str) -> Result<Self, Unaccountable> {
        // The root carries 8 + n units of 2^-53; one spare each.
        let error = (5.0 + 0.5 * terms.unsampled.len() as f64) * f64::EPSILON + terms.rounded;
        if terms.unsampled.is_empty() {
            return Ok(Self { value: 0.0, error });
        }
        let mu = relation.sum_sensitivity() * root_precision(&terms.unsampled);
        // Beyond 1e150 the square overflows.
        if mu < 1e150 {
            Ok(Self { value: mu.max(f64::MIN_POSITIVE), error })
        } else {
            Err(Unaccountable::Overflow { accountant, quantity: "mu, the root of the summed count / sigma^2," })
        }
    }

    fn largest(self) -> f64 {
        self.value * (1.0 + self.error)
    }

    fn least(self) -> f64 {
        self.value * (1.0 - self.error)
    }
}

/// The least mu that the formulas can square; less is rounded up to it for upper bounds, and to 0 for lower ones.
const LEAST_MU: f64 = 1e-150;

/// Covers the handful of roundings after the last certified step.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// (lower, upper) of epsilon at this delta.
pub(crate) fn gaussian_epsilon(mu: Mu, delta: f64) -> (f64, f64) {
    if mu.value < LEAST_MU {
        return (0.0, gaussian_epsilon(Mu { value: LEAST_MU, ..mu }, delta).1);
    }
    let target = delta.ln();
    // The logarithm of delta is itself rounded.
    let slack = 4.0 * f64::EPSILON * (1.0 - target);
    // The search runs over t = epsilon/mu - mu/2, in which nothing cancels however large mu is. Epsilon >= 0 means
    // t >= -mu/2, and delta <= P(X > t) <= exp(-t^2/2) bounds t from above.
    let (start, end) = (-0.5 * mu.largest(), (-2.0 * target).sqrt() + 1.0);
    let upper_holds = |mu: f64, t: f64| {
        let (ln_delta, error) = ln_gaussian_delta(mu, t);
        ln_delta + error + slack <= target
    };
    let lower_holds = |mu: f64, t: f64| {
        let (ln_delta, error) = ln_gaussian_delta(mu, t);
        ln_delta - error - slack >= target
    };
    // At a fixed t both delta and the epsilon = mu (mu/2 + t) that belongs to it grow with mu, so the end of mu's
    // interval is used in both places.
    let (big, small) = (mu.largest(), mu.least());
    let upper = if upper_holds(big, -0.5 * big) {
        0.0
    } else {
        epsilon_at(big, bisect(start, end, |t| upper_holds(big, t)).1) * (1.0 + ROUNDING)
    };
    let lower = if lower_holds(small, -0.5 * small) {
        epsilon_at(small, bisect(start, end, |t| !lower_holds(small, t)).0) * (1.0 - ROUNDING)
    } else {
        0.0
    };
    (lower.clamp(0.0, upper), upper)
}

fn epsilon_at(mu: f64, t: f64) -> f64 {
    (mu * (0.5 * mu + t)).max(0.0)
}

/// (lower, upper) of delta at this epsilon.
pub(crate) fn gaussian_delta(mu: Mu, epsilon: f64) -> (f64, f64) {
    if mu.value < LEAST_MU {
        return (0.0, gaussian_delta(Mu { value: LEAST_MU, ..mu }, epsilon).1);
    }
    let t = epsilon / mu.value - 0.5 * mu.value;
    if t > 1e6 {
        // exp(-t^2/2) is far below the least positive number.
        return (0.0, f64::MIN_POSITIVE);
    }
    // At a fixed epsilon t falls by (epsilon/mu + mu/2) times the relative change of mu; its own roundings are two units
    // of 2^-53 of the same sum. Delta falls with t.
    let doubt = (mu.error + 2.0 * f64::EPSILON) * (epsilon / mu.value + mu.value);
    let (ln_delta, error) = ln_gaussian_delta(mu.largest(), t - doubt);
    let upper = (ln_delta + error).exp() * (1.0 + ROUNDING);
    let (ln_delta, error) = ln_gaussian_delta(mu.least(), t + doubt);
    let lower = (ln_delta - error).exp() * (1.0 - ROUNDING);
    // An underflow to zero, or NaN from quantities beyond the range of f64, must not pass for a small delta.
    let upper = if upper.is_nan() { 1.0 } else { upper.clamp(f64::MIN_POSITIVE, 1.0) };
    // Below the normal numbers a rounding is no longer relative: nothing is claimed there.
    (if lower.is_nan() || lower < f64::MIN_POSITIVE { 0.0 } else { lower.min(upper) }, upper)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::parameters::{NoiseMultiplier, Sensitivity};

    fn exactly(value: f64) -> Mu {
        Mu { value, error: 4.0 * f64::EPSILON }
    }

    #[test]
    fn the_bracket_is_tight_and_right_at_both_ends_of_the_range() {
        // epsilon = mu^2/2 + mu t with P(X > t) nearly delta: at mu = 1e6 the second tail is below 1e-6 of the first.
        // t for 1e-5: 4.264890793922825 (mpmath).
        let (lower, upper) = gaussian_epsilon(exactly(1e6), 1e-5);
        let want = 5e11 + 4.264_890_793_9e6;
        assert!(lower <= want * (1.0 + 1e-10) && upper >= want * (1.0 - 1e-10), "{lower} {upper}");
        for mu in [1e-6, 1e-3, 0.49, 0.51, 7.0, 1e3, 1e30, 1e140] {
            let (lower, upper) = gaussian_epsilon(exactly(mu), 1e-9);
            assert!(upper > 0.0 && upper - lower <= 1e-11 * upper, "mu = {mu}: {lower} {upper}");
        }
    }

    #[test]
    fn much_noise_needs_no_epsilon() {
        // delta(0) = 2 Phi(mu/2) - 1, about mu / sqrt(2 pi).
        assert_eq!(gaussian_epsilon(exactly(1e-6), 1e-6), (0.0, 0.0));
        let (lower, upper) = gaussian_delta(exactly(1e-6), 0.0);
        let want = 3.989_422_804_014_327e-7;
        assert!((lower / want - 1.0).abs() < 1e-12 && (upper / want - 1.0).abs() < 1e-12, "{lower} {upper}");
        assert_eq!(gaussian_delta(exactly(1e-200), 1.0), (0.0, f64::MIN_POSITIVE));
    }

    #[test]
    fn the_error_of_mu_covers_the_rounding_of_a_sensitivity() {
        // Noise over sensitivity was rounded down by more than mu was said to be wrong: its least value lay above the truth.
        let scaled = |z: f64, sensitivity: f64| Event::CorrelatedNoise {
            noise_multiplier: NoiseMultiplier::new(z).unwrap(),
            sensitivity: Sensitivity::new(sensitivity).unwrap(),
        };
        let event = Event::composed([
            scaled(1.005_529_603_097_160_3, 1.004_868_755_605_429),
            scaled(1.029_964_340_492_535, 1.027_041_856_936_174).repeated(7),
        ]);
        let mu = Mu::of(&Terms::of(&event, NAME).unwrap(), Relation::AddRemove, NAME).unwrap();
        // mu as the nearest number and what it lacks (mpmath, 50 digits); the differences are exact.
        let (head, rest) = (2.821_173_144_408_961_6, -7.521_451_249e-17);
        assert!(mu.least() - head < rest && mu.largest() - head > rest, "{mu:?}");
    }

    #[test]
    fn too_little_noise_is_refused() {
        let terms = Terms { unsampled: vec![(1e-160, 1)], ..Terms::default() };
        assert!(matches!(Mu::of(&terms, Relation::AddRemove, NAME), Err(Unaccountable::Overflow { .. })));
    }
}
