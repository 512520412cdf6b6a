//! Adaptive quantile clipping (Andrew, Thakkar, McMahan and Ramaswamy 2021, arXiv 1905.03871): the clip norm follows a quantile of the
//! gradient norms.
//!
//! Beside the sum, every step releases how many of its examples were within the clip norm: each counts +1/2 if its norm is at most
//! C_t and -1/2 if not, and N(0, sigma_b^2) is added. With m the expected batch,
//!
//! ```text
//! b = (sum of +-1/2 + N(0, sigma_b^2)) / m + 1/2,      C_(t+1) = C_t exp(-eta (b - gamma))
//! ```
//!
//! so that C_t moves to where a share gamma of the norms is below it.
//!
//! Guarantee: adding or removing an example moves the sum by at most C_t and the count by 1/2, replacing one moves them by at most
//! 2 C_t and 1: twice both, as the neighbouring relation says. The two releases are one Gaussian release of a vector with the
//! squared sensitivity `1 / z_Delta^2 + 1 / (2 sigma_b)^2` in units of the noise. With z the noise multiplier of the plan,
//!
//! ```text
//! z_Delta = (1 / z^2 - 1 / (2 sigma_b)^2)^(-1/2)
//! ```
//!
//! on the sum makes that `1 / z^2`: the pair costs what one release at z costs. Clip norms after the first are computed from releases
//! alone, so they may be published.

use super::ClipNorm;
use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier, NoiseScale};
use serde::{Deserialize, Serialize};

/// Which quantile the clip norm follows, how fast, and how exactly the examples within it are counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Adaptive {
    quantile: f64,
    rate: f64,
    count_noise: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    quantile: f64,
    rate: f64,
    count_noise: f64,
}

impl TryFrom<Stored> for Adaptive {
    type Error = Error;
    fn try_from(stored: Stored) -> Result<Self> {
        Self::new(stored.quantile, stored.rate, stored.count_noise)
    }
}

impl From<Adaptive> for Stored {
    fn from(rule: Adaptive) -> Self {
        Self { quantile: rule.quantile, rate: rule.rate, count_noise: rule.count_noise }
    }
}

/// Clip norms stay within this factor of the first one, 2^64, so that no run of unlucky counts takes them out of range.
const FARTHEST: f64 = 18_446_744_073_709_551_616.0;

impl Adaptive {
    /// gamma where none is given: the median.
    pub const QUANTILE: f64 = 0.5;
    /// eta where none is given (Andrew et al. 2021).
    pub const RATE: f64 = 0.2;
    /// The median at the rate 0.2 with the count noise for an expected batch of 200.
    pub const MEDIAN: Self = Self { quantile: Self::QUANTILE, rate: Self::RATE, count_noise: 10.0 };

    /// Follows the quantile `quantile` (gamma) at the rate `rate` (eta), with noise of the standard deviation `count_noise` (sigma_b) on
    /// the number of examples within the clip norm.
    ///
    /// # Errors
    /// When the quantile is not between 0 and 1, the rate not above 0 and at most 10, or the noise not from 0.1 to 1e12.
    pub fn new(quantile: f64, rate: f64, count_noise: f64) -> Result<Self> {
        if !(quantile > 0.0 && quantile < 1.0) {
            return Err(Error::value("clipping quantile", quantile, "a number above 0 and below 1"));
        }
        if !(rate > 0.0 && rate <= 10.0) {
            return Err(Error::value("clipping rate", rate, "a number above 0, up to 10"));
        }
        if !(0.1..=1e12).contains(&count_noise) {
            return Err(Error::value("clipping count noise", count_noise, "a number from 0.1 to 1e12"));
        }
        Ok(Self { quantile, rate, count_noise })
    }

    /// sigma_b where none is given: a twentieth of the expected batch (Andrew et al. 2021).
    pub fn count_noise_for(expected_batch: usize) -> f64 {
        expected_batch as f64 / 20.0
    }

    /// gamma, the share of examples that the clip norm is to be above.
    pub fn quantile(&self) -> f64 {
        self.quantile
    }

    /// eta, how fast the clip norm moves.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// sigma_b, the standard deviation of the noise on the count.
    pub fn count_noise(&self) -> f64 {
        self.count_noise
    }

    /// z_Delta: the noise multiplier of the sum for which sum and count together cost what one release at `together` costs.
    ///
    /// Rounded up: a larger one is more noise, so the pair never costs more than the single release. It is computed as
    /// `z (2 sigma_b / sqrt((2 sigma_b - z) (2 sigma_b + z)))`, in which doubling is exact and the difference is rounded once: five
    /// roundings count in full and those of difference, sum and product by half, less than 7 half epsilons in all, and 4 epsilons
    /// are added, one of which covers the rounding of that addition.
    ///
    /// # Errors
    /// When `together` is not below `2 sigma_b`: then the count alone costs more.
    pub fn sum_noise(&self, together: NoiseMultiplier) -> Result<NoiseMultiplier> {
        let (z, twice) = (together.get(), 2.0 * self.count_noise);
        if z >= twice {
            return Err(Error::Refused {
                reason: format!(
                    "the noise multiplier {z} of sum and count together is not below twice the count noise {}: the count alone \
                     would cost more; raise --clipping-count-noise above {}, or lower the noise multiplier",
                    self.count_noise,
                    z / 2.0
                ),
            });
        }
        let share = twice / ((twice - z) * (twice + z)).sqrt();
        Ok(NoiseMultiplier::new((z * share * (1.0 + 4.0 * f64::EPSILON)).max(z))?)
    }

    /// What sum and count together cost at the noise multiplier `together`, on the batch they are computed from.
    ///
    /// # Errors
    /// As [`Adaptive::sum_noise`].
    pub fn event(&self, together: NoiseMultiplier) -> Result<Event> {
        Ok(Event::AdaptiveClip {
            noise_multiplier: self.sum_noise(together)?,
            count_noise: NoiseScale::new(self.count_noise)?,
        })
    }

    /// The clip norm after a step with the clip norm `now` whose released share of examples within it is `within`. It stays within
    /// a factor 2^64 of `first`, and within the limits of a clip norm.
    ///
    /// # Errors
    /// When `within` is not a number; the share that a mechanism releases always is.
    pub fn next(&self, first: ClipNorm, now: ClipNorm, within: f64) -> Result<ClipNorm> {
        // Both overflow and underflow of the exponential end at a limit.
        let moved = now.get() * (-self.rate * (within - self.quantile)).exp();
        let moved = moved.clamp(first.get() / FARTHEST, first.get() * FARTHEST);
        ClipNorm::new(moved.clamp(ClipNorm::LEAST, ClipNorm::LARGEST))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn rule(count_noise: f64) -> Adaptive {
        Adaptive::new(0.5, 0.2, count_noise).unwrap()
    }

    fn noise(z: f64) -> NoiseMultiplier {
        NoiseMultiplier::new(z).unwrap()
    }

    #[test]
    fn the_split_of_the_noise_has_the_published_values() {
        // z, expected batch m with sigma_b = m / 20, z_Delta to six decimals: from an independent calculation.
        for (z, batch, expected) in [
            (1.0, 100, 1.005038),
            (1.0, 1000, 1.000050),
            (0.5, 64, 0.501533),
            (2.0, 256, 2.006132),
            (1.0, 256, 1.000764),
            (1.5, 64, 1.542978),
        ] {
            let found = rule(Adaptive::count_noise_for(batch)).sum_noise(noise(z)).unwrap().get();
            assert!((found - expected).abs() <= 5.1e-7, "z = {z}, m = {batch}: {found}");
        }
    }

    #[test]
    fn together_the_two_are_never_noisier_than_told_nor_less_noisy() {
        // z_Delta^2 (T^2 - z^2) >= z^2 T^2 with T = 2 sigma_b is 1 / z_Delta^2 + 1 / T^2 <= 1 / z^2. It is decided in whole numbers: z and
        // T are multiples of 1/8, and z_Delta is a mantissa times a power of two.
        let unit = 0.125;
        for z in 1..600_u128 {
            for t in [z + 1, z + 2, z + 7, 2 * z + 1, 3 * z, 1500] {
                let found = rule(t as f64 * unit * 0.5).sum_noise(noise(z as f64 * unit)).unwrap().get();
                let mantissa = u128::from((found.to_bits() & ((1 << 52) - 1)) | (1 << 52));
                let exponent = (found.to_bits() >> 52) as i32 - 1075;
                let left = mantissa * mantissa * (t * t - z * z);
                let shift = u32::try_from(-2 * exponent - 6).unwrap();
                assert!(left >> shift >= z * z * t * t, "z = {z}, 2 sigma_b = {t}: {found}");
                let exact = ((z * z * t * t) as f64 / (t * t - z * z) as f64).sqrt() * unit;
                assert!(found <= exact * (1.0 + 3e-15), "z = {z}, 2 sigma_b = {t}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn a_count_that_alone_costs_too_much_is_refused_with_both_numbers() {
        for z in [10.0, 10.5] {
            let refusal = rule(5.0).sum_noise(noise(z)).unwrap_err().to_string();
            assert!(
                refusal.contains(&format!("noise multiplier {z} ")) && refusal.contains("count noise 5"),
                "{refusal}"
            );
        }
        let barely = rule(5.0).sum_noise(noise(10.0f64.next_down())).unwrap().get();
        assert!(barely.is_finite() && barely > 1e8, "{barely}");
    }

    #[test]
    fn without_noise_the_median_is_reached_as_published() {
        // Lognormal(1, 1) norms, median e, from 0.1: 62 rounds to within 5 %.
        let (e, mut c) = (std::f64::consts::E, ClipNorm::new(0.1).unwrap());
        let (first, rule) = (c, rule(5.0));
        let below = |c: f64| normal_below(c.ln() - 1.0);
        let mut rounds = 0;
        while (c.get() / e - 1.0).abs() > 0.05 {
            c = rule.next(first, c, below(c.get())).unwrap();
            rounds += 1;
        }
        assert_eq!(rounds, 62);
        for _ in 0..1000 {
            c = rule.next(first, c, below(c.get())).unwrap();
        }
        assert!((c.get() / e - 1.0).abs() < 1e-9, "{}", c.get());
    }

    /// The normal distribution function, by its integral: good to 1e-12 between -8 and 8.
    fn normal_below(x: f64) -> f64 {
        let (n, density) = (20_000, |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt());
        let h = (x + 10.0) / f64::from(n);
        h * (0..n).map(|i| density(-10.0 + (f64::from(i) + 0.5) * h)).sum::<f64>()
    }

    #[test]
    fn the_clip_norm_never_leaves_its_limits() {
        for start in [1e-20, 1e-3, 1.0, 1e20] {
            let first = ClipNorm::new(start).unwrap();
            for within in [-1e300, -1e3, 1e3, 1e300] {
                let mut c = first;
                for _ in 0..10 {
                    c = rule(5.0).next(first, c, within).unwrap();
                }
                let (end, far) = (c.get(), if within < 0.0 { start * FARTHEST } else { start / FARTHEST });
                assert_eq!(end, far.clamp(1e-20, 1e20), "from {start} with {within}");
            }
            assert_eq!(rule(5.0).next(first, first, 0.5).unwrap(), first);
        }
        assert!(rule(5.0).next(ClipNorm::new(1.0).unwrap(), ClipNorm::new(1.0).unwrap(), f64::NAN).is_err());
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_name_and_value() {
        for (quantile, rate, noise, words) in [
            (0.0, 0.2, 5.0, "clipping quantile = 0:"),
            (1.0, 0.2, 5.0, "clipping quantile = 1:"),
            (f64::NAN, 0.2, 5.0, "clipping quantile = NaN"),
            (0.5, 0.0, 5.0, "clipping rate = 0:"),
            (0.5, 11.0, 5.0, "clipping rate = 11:"),
            (0.5, 0.2, 0.0, "clipping count noise = 0:"),
            (0.5, 0.2, f64::INFINITY, "clipping count noise = inf"),
        ] {
            let refusal = Adaptive::new(quantile, rate, noise).unwrap_err().to_string();
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
