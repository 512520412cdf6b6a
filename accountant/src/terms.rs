//! The normal form behind both accountants: unsampled Gaussians, and Poisson-sampled Gaussians with their rates.

use crate::accountant::Unaccountable;
use crate::event::Event;
use crate::parts::{CountOverflow, Leaf};

/// A composition of Gaussian releases, sampled or not, equal ones merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Terms {
    /// (noise multiplier, count), no sampling.
    pub(crate) unsampled: Vec<(f64, u64)>,
    /// Poisson-sampled releases.
    pub(crate) sampled: Vec<Sampled>,
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

impl Terms {
    /// Takes an event apart, or says why this cannot be done.
    pub(crate) fn of(event: &Event, accountant: &'static str) -> Result<Self, Unaccountable> {
        let mut terms = Self::default();
        for (leaf, count) in event.parts()? {
            match leaf {
                Leaf::Gaussian { noise_multiplier } => terms.unsampled.push((noise_multiplier.get(), count)),
                Leaf::PoissonSampled { sampling_rate, event } => {
                    let inner = Self::of(event, accountant)?;
                    if sampling_rate.get() == 1.0 {
                        terms.add_all(&inner, count)?;
                        continue;
                    }
                    if !inner.sampled.is_empty() {
                        return Err(Unaccountable::Unsupported {
                            accountant,
                            event: "Poisson sampling inside Poisson sampling".to_owned(),
                            reason: "the inner draws share the outer sample, so their costs do not simply compose; \
                                     if one draw is meant, state it once with the product of the rates"
                                .to_owned(),
                        });
                    }
                    if !inner.unsampled.is_empty() {
                        // Releases of one and the same sample are one release of a vector: its likelihood ratio is
                        // that of a single Gaussian with the summed precision.
                        let mu = root_precision(&inner.unsampled);
                        let (noise_multiplier, doubt) = effective(&inner.unsampled, mu, accountant)?;
                        terms.sampled.push(Sampled { rate: sampling_rate.get(), noise_multiplier, doubt, count });
                    }
                }
                Leaf::NonPrivate { reason } => return Err(Unaccountable::NonPrivate { reason: reason.to_owned() }),
                Leaf::Unsupported { reason } => {
                    return Err(Unaccountable::Unsupported {
                        accountant,
                        event: format!("a release marked as unsupported ({reason})"),
                        reason: "no bound for it is known here; take it out or replace it by an event with a bound"
                            .to_owned(),
                    });
                }
            }
        }
        Ok(terms.merged()?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsampled.is_empty() && self.sampled.is_empty()
    }

    fn add_all(&mut self, other: &Self, count: u64) -> Result<(), CountOverflow> {
        for (noise_multiplier, inner) in &other.unsampled {
            self.unsampled.push((*noise_multiplier, inner.checked_mul(count).ok_or(CountOverflow)?));
        }
        for term in &other.sampled {
            let count = term.count.checked_mul(count).ok_or(CountOverflow)?;
            self.sampled.push(Sampled { count, ..*term });
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
        Ok(Self { unsampled, sampled })
    }
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
    use crate::parameters::{NoiseMultiplier, SamplingRate};

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
    fn releases_of_one_sample_add_their_precisions() {
        let event = Event::composed([gaussian(5.0), gaussian(5.0 / 3_f64.sqrt())]).poisson_sampled(rate(0.1));
        let sampled = Terms::of(&event, "x").unwrap().sampled;
        assert_eq!(sampled.len(), 1);
        let sigma = sampled[0].noise_multiplier;
        assert!((sigma - 2.5).abs() < 1e-13 && sigma <= 2.5, "{sigma}");
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
