//! Users with several records: what a guarantee for one unit says about a group of at most `size` units.
//!
//! [`event`] says what happens to the group, where that is known exactly; every accountant that can account for the
//! result then answers tightly. [`by_lemma`] holds for every event and every accountant, and is much looser.

use std::num::NonZeroU64;

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::event::{Event, GaussianMixture};
use crate::parameters::{Delta, Epsilon, NoiseMultiplier, NoiseScale, OutOfDomain, Rho, SamplingRate, Sensitivity};
use crate::relation::Relation;

/// Why an event has no exact form for groups.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Ungrouped {
    /// No exact form is known.
    #[error("{event} has no exact form for a group of {size} under {relation}: {reason}; use group::by_lemma")]
    Unknown {
        /// The part of the event.
        event: &'static str,
        /// Units in the group.
        size: u64,
        /// The relation.
        relation: Relation,
        /// Why.
        reason: &'static str,
    },
    /// A parameter leaves its domain.
    #[error(transparent)]
    OutOfDomain(#[from] OutOfDomain),
}

/// The event whose guarantee for one unit is that of `event` for a group of `size` units under the relation.
///
/// * What is released under additive noise changes by `size` times as much: Gaussian, Laplace and discrete noise, the
///   pair of adaptive clipping, correlated noise, trees.
/// * A Poisson-sampled Gaussian becomes a mixture: the number of the group's records in the sample is binomial (Ganesh
///   2024, theorem 3.1; add/remove and zero-out).
/// * Pure differential privacy: epsilon times `size`. Zero-concentrated: rho times its square (Bun & Steinke 2016,
///   proposition 1.9).
/// * Repetitions and compositions: part by part.
///
/// Quotients are rounded to less noise, products to more cost.
///
/// # Errors
/// [`Ungrouped`] for every other event, and where a number leaves its domain.
pub fn event(event: &Event, relation: Relation, size: NonZeroU64) -> Result<Event, Ungrouped> {
    if size.get() == 1 {
        return Ok(event.clone());
    }
    let unknown = |reason| Err(Ungrouped::Unknown { event: event.kind(), size: size.get(), relation, reason });
    let k = size.get() as f64;
    let noise = |z: NoiseMultiplier| NoiseMultiplier::new((z.get() / k).next_down());
    let times = |sensitivity: NonZeroU64| sensitivity.checked_mul(size);
    Ok(match event {
        Event::Gaussian { noise_multiplier } => Event::gaussian(noise(*noise_multiplier)?),
        Event::Laplace { noise_multiplier } => Event::laplace(noise(*noise_multiplier)?),
        Event::DiscreteGaussian { scale, sensitivity } => match times(*sensitivity) {
            Some(sensitivity) => Event::DiscreteGaussian { scale: *scale, sensitivity },
            None => return unknown("its sensitivity exceeds the largest whole number"),
        },
        Event::DiscreteLaplace { scale, sensitivity } => match times(*sensitivity) {
            Some(sensitivity) => Event::DiscreteLaplace { scale: *scale, sensitivity },
            None => return unknown("its sensitivity exceeds the largest whole number"),
        },
        Event::AdaptiveClip { noise_multiplier, count_noise } => Event::AdaptiveClip {
            noise_multiplier: noise(*noise_multiplier)?,
            count_noise: NoiseScale::new((count_noise.get() / k).next_down())?,
        },
        Event::CorrelatedNoise { noise_multiplier, sensitivity } => Event::CorrelatedNoise {
            noise_multiplier: *noise_multiplier,
            sensitivity: Sensitivity::new((sensitivity.get() * k).next_up())?,
        },
        Event::TreeAggregation { noise_multiplier, participation } => {
            Event::TreeAggregation { noise_multiplier: noise(*noise_multiplier)?, participation: *participation }
        }
        Event::EpsilonDelta { epsilon, delta } if delta.get() == 0.0 => {
            Event::EpsilonDelta { epsilon: Epsilon::new((epsilon.get() * k).next_up())?, delta: *delta }
        }
        Event::ZeroConcentrated { rho } => {
            Event::ZeroConcentrated { rho: Rho::new((rho.get() * k * k * (1.0 + 2.0 * f64::EPSILON)).next_up())? }
        }
        Event::PoissonSampled { sampling_rate, event: inner } => match (&**inner, sampling_rate.get()) {
            (inner, 1.0) => self::event(inner, relation, size)?.poisson_sampled(*sampling_rate),
            (Event::Gaussian { noise_multiplier }, _) if relation != Relation::Replace => {
                sampled(*noise_multiplier, *sampling_rate, size)?
            }
            (Event::Gaussian { .. }, _) => return unknown("the mixture is proved for add/remove and zero-out"),
            _ => return unknown("of the sampled releases only a single Gaussian has one"),
        },
        Event::Repeated { count, event: inner } => self::event(inner, relation, size)?.repeated(*count),
        Event::Composed { events } => {
            let parts: Result<Vec<Event>, Ungrouped> =
                events.iter().map(|part| self::event(part, relation, size)).collect();
            Event::composed(parts?)
        }
        // No privacy, and none that is known, for a group either.
        Event::NonPrivate { .. } | Event::Unsupported { .. } => event.clone(),
        Event::EpsilonDelta { .. } => return unknown("with a delta it is a matter of that lemma itself"),
        Event::RandomizedResponse(_)
        | Event::ExponentialMechanism { .. }
        | Event::GaussianMixture(_)
        | Event::CyclicPoisson { .. }
        | Event::TruncatedPoisson { .. }
        | Event::WithoutReplacement { .. }
        | Event::Shuffled { .. }
        | Event::RandomAllocation { .. }
        | Event::RepeatAndSelect { .. } => return unknown("none is known here"),
    })
}

fn sampled(noise: NoiseMultiplier, rate: SamplingRate, size: NonZeroU64) -> Result<Event, OutOfDomain> {
    Ok(Event::GaussianMixture(GaussianMixture::binomial(noise, rate, size.get())?))
}

/// Epsilon for a group of at most `size` units at this delta, by the group lemma.
///
/// An (e, d) guarantee for one unit gives a group of k the guarantee (k e, d (e^{k e} - 1)/(e^e - 1)) (Vadhan 2017, lemma
/// 2.2). The largest unit delta d found whose group delta, computed from the accountant's `upper` at d, does not exceed
/// `delta` gives the answer; every such d is valid. `lower` is the unit's own: a group of one is a group.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses the event, or when no unit delta above 1e-300 is small enough.
pub fn by_lemma(
    accountant: &dyn Accountant,
    event: &Event,
    size: NonZeroU64,
    delta: Delta,
) -> Result<Bound, Unaccountable> {
    let unit = accountant.epsilon(event, delta)?;
    let target = delta.get().ln();
    // The group's epsilon and whether its delta is within the target, for the unit delta e^{target - depth}.
    let at = |depth: f64| -> Result<Option<Bound>, Unaccountable> {
        let Ok(unit_delta) = Delta::new((target - depth).exp()) else { return Ok(None) };
        let bound = match accountant.epsilon(event, unit_delta) {
            Err(Unaccountable::Uncertified { .. }) => return Ok(None),
            answer => answer?,
        };
        // The logarithms carry a few units of their own size.
        let ln_group = unit_delta.get().ln() + ln_sum(bound.upper(), size);
        let rounding = 8.0 * f64::EPSILON * (1.0 + target.abs() + unit_delta.get().ln().abs());
        Ok((ln_group + rounding <= target).then_some(bound))
    };
    if size.get() == 1 {
        return Ok(unit);
    }
    // Depths from ln k on; the first that holds, then the least that holds between it and the one before.
    let (mut no, mut depth) = (0.0, (size.get() as f64).ln());
    let mut found = at(depth)?;
    while found.is_none() {
        no = depth;
        depth = (1.5 * depth).max(1.0);
        if target - depth < DEEPEST {
            return Err(Unaccountable::Unsupported {
                accountant: accountant.name(),
                event: format!("a group of {size}"),
                reason: "the group lemma would need a delta for one unit below 1e-300; use group::event or more noise"
                    .to_owned(),
            });
        }
        found = at(depth)?;
    }
    while depth - no > 1e-7 * depth {
        let middle = 0.5 * (no + depth);
        match at(middle)? {
            Some(bound) => (found, depth) = (Some(bound), middle),
            None => no = middle,
        }
    }
    let one = found.unwrap_or(unit);
    let upper = size.get() as f64 * one.upper() * (1.0 + 2.0 * f64::EPSILON);
    Ok(Bound::new(unit.lower().min(upper), upper, upper, one.accountant())?)
}

/// ln of the least unit delta tried.
const DEEPEST: f64 = -690.0;

/// Delta for a group of at most `size` units at this epsilon, by the group lemma: d (e^{k e} - 1)/(e^e - 1) with e the
/// epsilon over k and d the unit's delta there.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses the event.
pub fn delta_by_lemma(
    accountant: &dyn Accountant,
    event: &Event,
    size: NonZeroU64,
    epsilon: Epsilon,
) -> Result<Bound, Unaccountable> {
    let unit = accountant.delta(event, epsilon)?;
    if size.get() == 1 {
        return Ok(unit);
    }
    // Rounded down: a smaller epsilon has a larger delta.
    let share = (epsilon.get() / size.get() as f64).next_down().max(0.0);
    let Ok(share) = Epsilon::new(share) else { return Ok(Bound::new(unit.lower(), 1.0, 1.0, unit.accountant())?) };
    let one = accountant.delta(event, share)?;
    // What one unit cannot change, a group cannot.
    let ln_group = one.upper().ln() + ln_sum(share.get(), size);
    let upper = if one.upper() == 0.0 { 0.0 } else { (ln_group.exp() * (1.0 + 1e-12)).min(1.0) };
    let upper = upper.max(unit.lower());
    Ok(Bound::new(unit.lower(), upper, upper, one.accountant())?)
}

/// ln (e^{k e} - 1)/(e^e - 1) = (k-1) e + ln((1 - e^{-k e})/(1 - e^{-e})), rounded up: no exponential can overflow.
fn ln_sum(epsilon: f64, size: NonZeroU64) -> f64 {
    let k = size.get() as f64;
    let ratio = if epsilon == 0.0 { k } else { (-k * epsilon).exp_m1() / (-epsilon).exp_m1() };
    let value = (k - 1.0) * epsilon + ratio.ln();
    value + 8.0 * f64::EPSILON * (1.0 + value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_geometric_and_never_overflows() {
        let size = |k| NonZeroU64::new(k).unwrap();
        let direct = |e: f64, k: i32| (0..k).map(|i| (f64::from(i) * e).exp()).sum::<f64>().ln();
        for (e, k) in [(0.0, 4), (1e-9, 3), (0.3, 7), (4.0, 2)] {
            let got = ln_sum(e, size(k as u64));
            assert!(got >= direct(e, k) && got - direct(e, k) < 1e-13, "{e} {k}: {got}");
        }
        assert!((ln_sum(1e5, size(100)) - 9.9e6).abs() < 1.0);
        assert!((ln_sum(1e300, size(2)) / 1e300 - 1.0).abs() < 1e-14);
    }
}
