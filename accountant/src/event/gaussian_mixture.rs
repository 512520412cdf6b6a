//! Gaussian noise on a sum to which one unit adds a random number of clipped vectors.

use serde::{Deserialize, Serialize};

use crate::parameters::{NoiseMultiplier, OutOfDomain, Probability, SamplingRate, Sensitivity};

/// A unit changes the sum by `sensitivities[i]` clip norms with probability `probabilities[i]`.
///
/// The dominating pair is the mixture of N(s_i, z^2) against N(0, z^2) (Ganesh 2024, theorem 3.1): a user with k
/// records under Poisson sampling at rate q has s_i = i and binomial probabilities, see [`Self::binomial`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct GaussianMixture {
    noise_multiplier: NoiseMultiplier,
    sensitivities: Vec<Sensitivity>,
    probabilities: Vec<Probability>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    noise_multiplier: NoiseMultiplier,
    sensitivities: Vec<Sensitivity>,
    probabilities: Vec<Probability>,
}

/// Covers the rounding of a binomial probability of up to 10,000 records.
const UP: f64 = 1.0 + 1e-10;

/// Probabilities may miss a sum of 1 by this much, for rounding.
const SUM_TOLERANCE: f64 = 1e-9;

impl GaussianMixture {
    /// The mixture, sorted by sensitivity, equal ones merged.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless both lists have the same length, at least one, and the probabilities sum to 1.
    pub fn new(
        noise_multiplier: NoiseMultiplier,
        sensitivities: Vec<Sensitivity>,
        probabilities: Vec<Probability>,
    ) -> Result<Self, OutOfDomain> {
        if sensitivities.len() != probabilities.len() || sensitivities.is_empty() {
            let value = probabilities.len() as f64;
            let allowed = "one probability for each sensitivity, at least one";
            return Err(OutOfDomain { name: "number of mixture probabilities", value, allowed });
        }
        let total: f64 = probabilities.iter().map(|p| p.get()).sum();
        if (total - 1.0).abs() > SUM_TOLERANCE {
            return Err(OutOfDomain { name: "sum of mixture probabilities", value: total, allowed: "1" });
        }
        let mut pairs: Vec<(Sensitivity, Probability)> = sensitivities.into_iter().zip(probabilities).collect();
        pairs.sort_by_key(|pair| pair.0);
        let mut merged: Vec<(Sensitivity, Probability)> = Vec::with_capacity(pairs.len());
        for (sensitivity, probability) in pairs {
            match merged.last_mut() {
                Some(last) if last.0 == sensitivity => {
                    last.1 = Probability::new((last.1.get() + probability.get()).min(1.0))?;
                }
                _ => merged.push((sensitivity, probability)),
            }
        }
        let (sensitivities, probabilities) = merged.into_iter().unzip();
        Ok(Self { noise_multiplier, sensitivities, probabilities })
    }

    /// A user with `records` records, each of which Poisson sampling takes at this rate.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless `1 <= records <= 10000`.
    pub fn binomial(noise_multiplier: NoiseMultiplier, rate: SamplingRate, records: u64) -> Result<Self, OutOfDomain> {
        if !(1..=10_000).contains(&records) {
            let value = records as f64;
            return Err(OutOfDomain { name: "records of one unit", value, allowed: "a whole number from 1 to 10000" });
        }
        let q = rate.get();
        if q == 1.0 {
            let all = Sensitivity::new(records as f64)?;
            return Self::new(noise_multiplier, vec![all], vec![Probability::new(1.0)?]);
        }
        // ln of the binomial probabilities by their ratios: no factorial overflows.
        let mut ln_p = records as f64 * (-q).ln_1p();
        let mut probabilities = Vec::new();
        for k in 0..=records {
            // Rounded up, each of them, and never to nothing.
            probabilities.push((ln_p.exp() * UP).max(f64::MIN_POSITIVE));
            ln_p += ((records - k) as f64 / (k + 1) as f64).ln() + q.ln() - (-q).ln_1p();
        }
        // What is too much is taken from the lowest: the probability of k or more records is nowhere less than the
        // binomial one, and more records cost more.
        let mut excess = probabilities.iter().sum::<f64>() - 1.0;
        for p in &mut probabilities {
            let taken = excess.clamp(0.0, *p);
            *p -= taken;
            excess -= taken;
        }
        let sensitivities = (0..=records).map(|k| Sensitivity::new(k as f64)).collect::<Result<_, _>>()?;
        let probabilities = probabilities.into_iter().map(Probability::new).collect::<Result<_, _>>()?;
        Self::new(noise_multiplier, sensitivities, probabilities)
    }

    /// Noise standard deviation over clip norm.
    #[must_use]
    pub fn noise_multiplier(&self) -> NoiseMultiplier {
        self.noise_multiplier
    }

    /// (sensitivity in clip norms, probability), sensitivities ascending.
    pub fn parts(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.sensitivities.iter().zip(&self.probabilities).map(|(s, p)| (s.get(), p.get()))
    }
}

impl TryFrom<Parts> for GaussianMixture {
    type Error = OutOfDomain;
    fn try_from(parts: Parts) -> Result<Self, OutOfDomain> {
        Self::new(parts.noise_multiplier, parts.sensitivities, parts.probabilities)
    }
}

impl From<GaussianMixture> for Parts {
    fn from(value: GaussianMixture) -> Self {
        Self {
            noise_multiplier: value.noise_multiplier,
            sensitivities: value.sensitivities,
            probabilities: value.probabilities,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn z() -> NoiseMultiplier {
        NoiseMultiplier::new(1.0).unwrap()
    }

    #[test]
    fn a_binomial_mixture_has_binomial_probabilities() {
        let mixture = GaussianMixture::binomial(z(), SamplingRate::new(0.25).unwrap(), 2).unwrap();
        let parts: Vec<(f64, f64)> = mixture.parts().collect();
        for ((s, p), (k, want)) in parts.iter().zip([(0.0, 0.5625), (1.0, 0.375), (2.0, 0.0625)]) {
            assert!(*s == k && (p - want).abs() < 1e-9, "{parts:?}");
        }
        assert!(parts[2].1 >= 0.0625 && parts[1].1 + parts[2].1 >= 0.4375, "rounded down: {parts:?}");
        let rare = GaussianMixture::binomial(z(), SamplingRate::new(1e-4).unwrap(), 100).unwrap();
        assert!(rare.parts().all(|(_, p)| p > 0.0), "a hundred records at once have become impossible");
        let sure = GaussianMixture::binomial(z(), SamplingRate::new(1.0).unwrap(), 3).unwrap();
        assert_eq!(sure.parts().collect::<Vec<_>>(), [(3.0, 1.0)]);
    }

    #[test]
    fn what_is_no_mixture_is_refused_with_the_number() {
        let s = |v| Sensitivity::new(v).unwrap();
        let p = |v| Probability::new(v).unwrap();
        let message = GaussianMixture::new(z(), vec![s(0.0), s(1.0)], vec![p(0.5), p(0.4)]).unwrap_err().to_string();
        assert!(message.contains("0.9"), "{message}");
        assert!(GaussianMixture::new(z(), vec![s(1.0)], vec![]).is_err());
        let merged = GaussianMixture::new(z(), vec![s(1.0), s(0.0), s(1.0)], vec![p(0.25), p(0.5), p(0.25)]).unwrap();
        assert_eq!(merged.parts().collect::<Vec<_>>(), [(0.0, 0.5), (1.0, 0.5)]);
    }
}
