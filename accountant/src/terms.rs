//! The normal form behind all accountants: Gaussians, Poisson-sampled Gaussians, and what is neither.

use crate::accountant::Unaccountable;
use crate::event::Event;
use crate::parts::CountOverflow;
use crate::tree;

/// A composition, equal parts merged: Gaussian releases, sampled or not, and the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Terms {
    /// (noise multiplier, count), no sampling.
    pub(crate) unsampled: Vec<(f64, u64)>,
    /// Poisson-sampled releases.
    pub(crate) sampled: Vec<Sampled>,
    /// (leaf, count): everything that is no Gaussian release, sampled or not.
    pub(crate) others: Vec<(Event, u64)>,
    /// Whether some noise multiplier is only known to be no larger than the true one: then nothing follows from the
    /// Gaussian releases about what the whole costs at least.
    pub(crate) above: bool,
    /// By how much, relatively, the noise multipliers without sampling may be rounded down at most.
    pub(crate) rounded: f64,
}

/// A Gaussian release on a Poisson sample, with 0 < rate < 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) rate: f64,
    pub(crate) noise_multiplier: f64,
    /// The true noise multiplier is at least the one above, and larger by at most this relative amount.
    pub(crate) doubt: f64,
    pub(crate) count: u64,
}

/// Samplers inside each other that are taken apart; a bound on the thread's stack.
const MOST_SAMPLERS: usize = 64;

impl Terms {
    /// Takes an event apart, or says why this cannot be done.
    pub(crate) fn of(event: &Event, accountant: &'static str) -> Result<Self, Unaccountable> {
        if depth(event) > MOST_SAMPLERS {
            return Err(Unaccountable::Unsupported {
                accountant,
                event: format!("more than {MOST_SAMPLERS} samplers inside each other"),
                reason: "nobody samples like that; state what was done with fewer".to_owned(),
            });
        }
        let mut terms = Self::default();
        for (leaf, count) in event.parts()? {
            match leaf {
                Event::Gaussian { noise_multiplier } => terms.unsampled.push((noise_multiplier.get(), count)),
                Event::AdaptiveClip { noise_multiplier, count_noise } => {
                    // The count moves by 1/2 where the sum moves by the clip norm; doubling is exact.
                    terms.unsampled.push((noise_multiplier.get(), count));
                    terms.unsampled.push((2.0 * count_noise.get(), count));
                }
                Event::CorrelatedNoise { noise_multiplier, sensitivity } => {
                    terms.add_scaled(noise_multiplier.get(), sensitivity.get(), count);
                }
                Event::TreeAggregation { noise_multiplier, participation } => {
                    let (square, attained) = tree::sensitivity_squared(*participation);
                    terms.above |= !attained;
                    terms.add_scaled(noise_multiplier.get(), square.sqrt(), count);
                }
                Event::GaussianMixture(mixture) if mixture.parts().count() == 1 => {
                    let sensitivity = mixture.parts().map(|(sensitivity, _)| sensitivity).sum();
                    terms.add_scaled(mixture.noise_multiplier().get(), sensitivity, count);
                }
                Event::CyclicPoisson { sampling_rate, bands, steps, noise_multiplier } => {
                    // One unit's group is in turn every `bands` steps, with fresh noise each time (Choquette-Choo et al.
                    // 2023, theorem 4).
                    let turns = steps.get().div_ceil(bands.get());
                    let inner = Event::gaussian(*noise_multiplier).poisson_sampled(*sampling_rate);
                    terms.add_all(Self::of(&inner, accountant)?, turns.checked_mul(count).ok_or(CountOverflow)?)?;
                }
                Event::PoissonSampled { sampling_rate, event } => {
                    let inner = Self::of(event, accountant)?;
                    if sampling_rate.get() == 1.0 {
                        terms.add_all(inner, count)?;
                    } else if inner.others.is_empty() {
                        terms.add_sampled(&inner, sampling_rate.get(), count, accountant)?;
                    } else {
                        terms.others.push((leaf.clone(), count));
                    }
                }
                Event::WithoutReplacement { batches, event } if batches.share().get() == 1.0 => {
                    terms.add_all(Self::of(event, accountant)?, count)?;
                }
                Event::Shuffled { steps, event } if steps.get() == 1 => {
                    terms.add_all(Self::of(event, accountant)?, count)?;
                }
                Event::RandomAllocation { allocation, event } if allocation.steps() == allocation.participations() => {
                    let count = count.checked_mul(allocation.steps()).ok_or(CountOverflow)?;
                    terms.add_all(Self::of(event, accountant)?, count)?;
                }
                Event::NonPrivate { reason } => return Err(Unaccountable::NonPrivate { reason: reason.clone() }),
                Event::Unsupported { reason } => {
                    return Err(Unaccountable::Unsupported {
                        accountant,
                        event: format!("a release marked as unsupported ({reason})"),
                        reason: "no bound for it is known here; take it out or replace it by an event with a bound"
                            .to_owned(),
                    });
                }
                // The walk has taken these two apart already.
                Event::Repeated { .. } | Event::Composed { .. } => {}
                Event::Laplace { .. }
                | Event::DiscreteGaussian { .. }
                | Event::DiscreteLaplace { .. }
                | Event::RandomizedResponse(_)
                | Event::EpsilonDelta { .. }
                | Event::ZeroConcentrated { .. }
                | Event::ExponentialMechanism { .. }
                | Event::GaussianMixture(_)
                | Event::TruncatedPoisson { .. }
                | Event::WithoutReplacement { .. }
                | Event::Shuffled { .. }
                | Event::RandomAllocation { .. }
                | Event::RepeatAndSelect { .. } => terms.others.push((leaf.clone(), count)),
            }
        }
        Ok(terms.merged()?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsampled.is_empty() && self.sampled.is_empty() && self.others.is_empty()
    }

    /// These terms, if none is other than Gaussian.
    pub(crate) fn gaussian_only(self, accountant: &'static str) -> Result<Self, Unaccountable> {
        match self.others.first() {
            None => Ok(self),
            Some((event, _)) => Err(Unaccountable::Unsupported {
                accountant,
                event: event.kind().to_owned(),
                reason: "it accounts for Gaussian releases only; use accountant auto or pld".to_owned(),
            }),
        }
    }

    /// A Gaussian release whose sensitivity is so many clip norms; its noise is rounded down.
    fn add_scaled(&mut self, noise_multiplier: f64, sensitivity: f64, count: u64) {
        // Nothing depends on the unit where the sensitivity is 0.
        if sensitivity > 0.0 {
            let ratio = noise_multiplier / sensitivity * (1.0 - 4.0 * f64::EPSILON);
            // Beyond the largest number there is a little more noise than is stated here; a ratio that underflows is a mu
            // beyond f64.
            self.above |= !(f64::MIN_POSITIVE..f64::INFINITY).contains(&ratio);
            self.unsampled.push((ratio.clamp(f64::MIN_POSITIVE, f64::MAX), count));
            // Four units and three roundings: of the sensitivity, of the quotient and of the product.
            self.rounded = 6.0 * f64::EPSILON;
        }
    }

    /// The terms on one Poisson sample of rate < 1.
    fn add_sampled(
        &mut self,
        inner: &Self,
        rate: f64,
        count: u64,
        accountant: &'static str,
    ) -> Result<(), Unaccountable> {
        if !inner.sampled.is_empty() {
            return Err(Unaccountable::Unsupported {
                accountant,
                event: "Poisson sampling inside Poisson sampling".to_owned(),
                reason: "the inner draws share the outer sample, so their costs do not simply compose; if one draw is \
                         meant, state it once with the product of the rates"
                    .to_owned(),
            });
        }
        self.above |= inner.above;
        if !inner.unsampled.is_empty() {
            // Releases of one and the same sample are one release of a vector: its likelihood ratio is that of a single
            // Gaussian with the summed precision.
            let mu = root_precision(&inner.unsampled);
            let (noise_multiplier, doubt) = effective(&inner.unsampled, mu, accountant)?;
            self.sampled.push(Sampled { rate, noise_multiplier, doubt: doubt + inner.rounded, count });
        }
        Ok(())
    }

    fn add_all(&mut self, other: Self, count: u64) -> Result<(), CountOverflow> {
        self.above |= other.above;
        self.rounded = self.rounded.max(other.rounded);
        let times = |inner: u64| inner.checked_mul(count).ok_or(CountOverflow);
        for (noise_multiplier, inner) in other.unsampled {
            self.unsampled.push((noise_multiplier, times(inner)?));
        }
        for term in other.sampled {
            self.sampled.push(Sampled { count: times(term.count)?, ..term });
        }
        for (event, inner) in other.others {
            self.others.push((event, times(inner)?));
        }
        Ok(())
    }

    /// Sorts and adds up the counts of equal terms, so that the order of a composition changes no bit of its cost.
    fn merged(mut self) -> Result<Self, CountOverflow> {
        let mut unsampled: Vec<(f64, u64)> = Vec::with_capacity(self.unsampled.len());
        self.unsampled.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (noise_multiplier, count) in self.unsampled {
            match unsampled.last_mut() {
                Some((known, total)) if *known == noise_multiplier => {
                    *total = total.checked_add(count).ok_or(CountOverflow)?;
                }
                _ => unsampled.push((noise_multiplier, count)),
            }
        }
        let mut sampled: Vec<Sampled> = Vec::with_capacity(self.sampled.len());
        self.sampled.sort_by(|a, b| a.noise_multiplier.total_cmp(&b.noise_multiplier).then(a.rate.total_cmp(&b.rate)));
        for term in self.sampled {
            match sampled.last_mut() {
                Some(known) if known.rate == term.rate && known.noise_multiplier == term.noise_multiplier => {
                    known.count = known.count.checked_add(term.count).ok_or(CountOverflow)?;
                    known.doubt = known.doubt.max(term.doubt);
                }
                _ => sampled.push(term),
            }
        }
        let mut others: Vec<(Event, u64)> = Vec::with_capacity(self.others.len());
        // Events have no order of their own; any fixed one will do.
        self.others.sort_by_cached_key(|(event, _)| format!("{event:?}"));
        for (event, count) in self.others {
            match others.last_mut() {
                Some((known, total)) if *known == event => {
                    *total = total.checked_add(count).ok_or(CountOverflow)?;
                }
                _ => others.push((event, count)),
            }
        }
        Ok(Self { unsampled, sampled, others, above: self.above, rounded: self.rounded })
    }
}

/// How many samplers lie inside each other at most. An explicit stack: a deep event must not exhaust the thread's own.
fn depth(event: &Event) -> usize {
    let (mut most, mut pending) = (0, vec![(event, 0)]);
    while let Some((event, depth)) = pending.pop() {
        most = most.max(depth);
        match event {
            Event::Repeated { event, .. } => pending.push((&**event, depth)),
            Event::Composed { events } => pending.extend(events.iter().map(|event| (event, depth))),
            Event::PoissonSampled { event, .. }
            | Event::TruncatedPoisson { event, .. }
            | Event::WithoutReplacement { event, .. }
            | Event::Shuffled { event, .. }
            | Event::RandomAllocation { event, .. }
            | Event::RepeatAndSelect { event, .. } => pending.push((&**event, depth + 1)),
            _ => {}
        }
    }
    most
}

/// sqrt(sum of count / sigma^2): the root of the summed precisions, free of overflow short of its own.
///
/// Relative rounding error at most 8 + n units of 2^-53 for n terms; 0 only for an empty list or by underflow.
pub(crate) fn root_precision(terms: &[(f64, u64)]) -> f64 {
    let roots = terms.iter().map(|(sigma, count)| (*count as f64).sqrt() / sigma);
    let largest = roots.clone().fold(0.0, f64::max);
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    largest * roots.map(|root| (root / largest).powi(2)).sum::<f64>().sqrt()
}

/// The single noise multiplier equivalent to several releases of one sample, rounded down (less noise, more cost), and
/// by how much at most.
fn effective(terms: &[(f64, u64)], mu: f64, accountant: &'static str) -> Result<(f64, f64), Unaccountable> {
    if let [(sigma, 1)] = terms {
        return Ok((*sigma, 0.0));
    }
    let slack = (10.0 + terms.len() as f64) * f64::EPSILON;
    let sigma = 1.0 / mu * (1.0 - slack);
    if sigma.is_finite() && sigma > 0.0 {
        // The root carries less than the slack, in either direction.
        Ok((sigma, 2.5 * slack))
    } else {
        Err(Unaccountable::Overflow { accountant, quantity: "the precision of the releases of one sample" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::parameters::{NoiseMultiplier, SamplingRate, Sensitivity};

    fn gaussian(z: f64) -> Event {
        Event::gaussian(NoiseMultiplier::new(z).unwrap())
    }

    fn rate(q: f64) -> SamplingRate {
        SamplingRate::new(q).unwrap()
    }

    #[test]
    fn a_rate_of_one_is_no_sampling() {
        let event = gaussian(2.0).repeated(3).poisson_sampled(rate(1.0)).repeated(5);
        assert_eq!(Terms::of(&event, "x").unwrap().unsampled, [(2.0, 15)]);
    }

    #[test]
    fn samplers_inside_each_other_do_not_exhaust_the_stack() {
        let nested = |depth| (0..depth).fold(gaussian(1.0), |event, _| event.poisson_sampled(rate(1.0)));
        assert_eq!(Terms::of(&nested(60), "x").unwrap().unsampled, [(1.0, 1)]);
        assert!(matches!(Terms::of(&nested(1000), "x"), Err(Unaccountable::Unsupported { .. })));
    }

    #[test]
    fn releases_of_one_sample_add_their_precisions() {
        let event = Event::composed([gaussian(5.0), gaussian(5.0 / 3_f64.sqrt())]).poisson_sampled(rate(0.1));
        let sampled = Terms::of(&event, "x").unwrap().sampled;
        assert_eq!(sampled.len(), 1);
        let sigma = sampled[0].noise_multiplier;
        assert!((sigma - 2.5).abs() < 1e-13 && sigma <= 2.5, "{sigma}");
    }

    #[test]
    fn noise_beyond_all_numbers_is_the_largest_number() {
        // It became infinite, and what had a cost cost exactly nothing.
        let scaled = |z: f64, sensitivity: f64| {
            let noise_multiplier = NoiseMultiplier::new(z).unwrap();
            Event::CorrelatedNoise { noise_multiplier, sensitivity: Sensitivity::new(sensitivity).unwrap() }
        };
        for (event, want) in [(scaled(1e10, 1e-299), f64::MAX), (scaled(1e-10, 1e300), f64::MIN_POSITIVE)] {
            let terms = Terms::of(&event, "x").unwrap();
            assert!(terms.unsampled == [(want, 1)] && terms.above, "{terms:?}");
            let terms = Terms::of(&event.poisson_sampled(rate(0.1)), "x").unwrap();
            assert!(terms.sampled[0].noise_multiplier == want && terms.above, "{terms:?}");
        }
        assert!(!Terms::of(&scaled(3.0, 2.0), "x").unwrap().above);
    }

    #[test]
    fn the_doubt_covers_how_far_noise_was_rounded_down() {
        // It did not grow with the releases of a sample, nor count the rounding of a quotient.
        let many = Event::composed((0..1500).map(|i| gaussian(f64::from(1000 + i) / 100.0)));
        let noise_multiplier = NoiseMultiplier::new(1.0).unwrap();
        let scaled = Event::CorrelatedNoise { noise_multiplier, sensitivity: Sensitivity::new(3.0).unwrap() };
        // 1/sqrt(sum of z^-2) by mpmath, 50 digits.
        for (event, want) in [
            (many, 0.408_105_425_517_512_66),
            (gaussian(40.0).repeated(1500), 1.032_795_558_988_644_5),
            (scaled, 1.0 / 3.0),
        ] {
            let term = Terms::of(&event.poisson_sampled(rate(0.1)), "x").unwrap().sampled[0];
            let Sampled { noise_multiplier: least, doubt, .. } = term;
            assert!(least < want && want < least * (1.0 + doubt) && doubt < 1e-12, "{least} {doubt}, want {want}");
        }
    }

    #[test]
    fn what_has_no_bound_is_refused_with_the_reason() {
        let nested = gaussian(1.0).poisson_sampled(rate(0.5)).poisson_sampled(rate(0.5));
        assert!(Terms::of(&nested, "x").unwrap_err().to_string().contains("product of the rates"));
        let bare = Event::composed([gaussian(1.0), Event::non_private("loss curve")]);
        assert!(Terms::of(&bare, "x").unwrap_err().to_string().contains("loss curve"));
        let odd = Event::unsupported("shuffled batches").repeated(4);
        assert!(Terms::of(&odd, "x").unwrap_err().to_string().contains("shuffled batches"));
    }
}
