//! The Gaussian mechanism on a ChaCha20 stream.

use super::{Mechanism, Release};
use crate::clip::ClippedSum;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;

/// Adds independent N(0, (z C)^2) to every element of the sum and divides by the expected batch, z the noise multiplier
/// and C the bound of the sum.
///
/// The noise of step t is a function of (key, t) alone: two mechanisms with one key that release *different* sums at one step
/// use the same noise twice, and the difference of the releases is the difference of the sums. One key serves one run.
///
/// Elements are numbered through all parameters in name order and cut into blocks of 4096, each with its own stretch of the
/// stream, so the noise does not depend on the number of threads.
///
/// Noise is drawn in f64 and added in f64 before the sum is rounded to the parameters' type. The sampler is a ziggurat over
/// 64-bit draws; what this does and does not promise about floating point is in `SECURITY.md`.
#[derive(Debug)]
pub struct Gaussian {
    noise_multiplier: NoiseMultiplier,
    expected_batch: f64,
    key: Key,
    step: u32,
}

/// Elements that share one stretch of a noise stream.
const BLOCK: usize = 4096;
/// Words of the stream reserved for a block: 4096 draws of two words with room for 2^12 times as many rejections.
const WORDS_PER_BLOCK: u128 = 1 << 25;

impl Gaussian {
    /// A mechanism whose next release is that of `step`. `expected_batch` is the public constant q N that sums are
    /// divided by.
    ///
    /// # Errors
    /// When the expected batch is not finite and positive.
    pub fn new(noise_multiplier: NoiseMultiplier, expected_batch: f64, key: Key, step: u32) -> Result<Self> {
        if !(expected_batch.is_finite() && expected_batch > 0.0) {
            return Err(Error::value("expected batch", expected_batch, "a finite number above 0"));
        }
        Ok(Self { noise_multiplier, expected_batch, key, step })
    }

    /// The generator of block `block` of the current step.
    fn block(&self, block: usize) -> ChaCha20Rng {
        let mut rng = self.key.stream(Role::Noise, self.step);
        rng.set_word_pos(block as u128 * WORDS_PER_BLOCK);
        rng
    }

    /// `(values + deviation * noise) / expected batch`, with noise numbered from `first`, a multiple of [`BLOCK`].
    fn add_noise(&self, values: &mut [f64], deviation: f64, first: usize) {
        values.par_chunks_mut(BLOCK).enumerate().for_each(|(i, values)| {
            let mut rng = self.block(first / BLOCK + i);
            for value in values {
                let noise: f64 = rng.sample(StandardNormal);
                *value = (*value + deviation * noise) / self.expected_batch;
            }
        });
    }
}

impl Mechanism for Gaussian {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let deviation = self.noise_multiplier.get() * sum.bound();
        if !deviation.is_finite() {
            return Err(Error::Refused {
                reason: format!(
                    "noise of {} times the bound {} of the sum is not finite; clip it, or lower the noise multiplier",
                    self.noise_multiplier.get(),
                    sum.bound()
                ),
            });
        }
        let mut first = 0;
        let gradient = sum.release(|values| {
            self.add_noise(values, deviation, first);
            first += values.len().div_ceil(BLOCK) * BLOCK;
        })?;
        let next = self.step.checked_add(1);
        self.step = next.ok_or_else(|| Error::value("step", self.step, "fewer than 2^32: no noise is used twice"))?;
        Ok((Release { gradient }, self.event()))
    }

    fn event(&self) -> Event {
        Event::gaussian(self.noise_multiplier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(z: f64, count: usize, seed: u64, step: u32) -> Vec<f64> {
        let mechanism = Gaussian::new(NoiseMultiplier::new(z).unwrap(), 1.0, Key::from_seed(seed), step).unwrap();
        let mut values = vec![0.0; count];
        mechanism.add_noise(&mut values, z, 0);
        values
    }

    /// Kolmogorov-Smirnov distance to N(0, deviation^2) against its 1e-6 critical value, and the fourth moment.
    fn is_normal(mut values: Vec<f64>, deviation: f64) -> bool {
        let n = values.len() as f64;
        let fourth = values.iter().map(|x| (x / deviation).powi(4)).sum::<f64>() / n;
        values.sort_by(f64::total_cmp);
        let cdf = |x: f64| 0.5 * (1.0 + erf(x / deviation / std::f64::consts::SQRT_2));
        let distance = values
            .iter()
            .enumerate()
            .map(|(i, x)| (cdf(*x) - i as f64 / n).abs().max((cdf(*x) - (i + 1) as f64 / n).abs()))
            .fold(0.0, f64::max);
        // P(sqrt(n) D > 2.7) = 2 exp(-2 2.7^2) = 9.3e-7; the fourth moment is 3 with variance 96 / n, five deviations: 6e-7.
        n.sqrt() * distance < 2.7 && (fourth - 3.0).abs() < 5.0 * (96.0 / n).sqrt()
    }

    /// Abramowitz and Stegun 7.1.26, good to 1.5e-7: far below what the test resolves.
    fn erf(x: f64) -> f64 {
        let t = 1.0 / (1.0 + 0.3275911 * x.abs());
        let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
        (1.0 - poly * (-x * x).exp()).copysign(x)
    }

    #[test]
    fn noise_is_normal_at_its_scale_and_half_of_it_is_caught() {
        let values = noise(2.0, 100_000, 1, 0);
        assert!(is_normal(values.clone(), 2.0));
        // Negative controls: half the noise, five per cent less, uniform noise of the right variance.
        assert!(!is_normal(values.iter().map(|x| x / 2.0).collect(), 2.0));
        assert!(!is_normal(values.iter().map(|x| x * 0.95).collect(), 2.0));
        let uniform = (0..100_000).map(|i| 2.0 * 3f64.sqrt() * (2.0 * (f64::from(i) + 0.5) / 1e5 - 1.0)).collect();
        assert!(!is_normal(uniform, 2.0));
    }

    #[test]
    fn noise_is_frozen_by_seed_and_step_and_independent_of_where_a_tensor_ends() {
        let values = noise(1.0, 3 * BLOCK, 2, 7);
        assert_eq!(values[..4], FROZEN);
        assert_eq!(values[BLOCK..BLOCK + 10], {
            let mechanism = Gaussian::new(NoiseMultiplier::new(1.0).unwrap(), 1.0, Key::from_seed(2), 7).unwrap();
            let mut second = vec![0.0; 10];
            mechanism.add_noise(&mut second, 1.0, BLOCK);
            second
        });
        assert_ne!(values[..4], noise(1.0, 4, 2, 8)[..]);
        assert_ne!(values[..4], noise(1.0, 4, 3, 7)[..]);
    }

    /// As first released; a change would break every resumed run.
    const FROZEN: [f64; 4] = [1.2805599766803561, -0.3369993013174187, 0.7375075095379666, 0.4757557551213941];

    #[test]
    fn blocks_and_steps_are_uncorrelated() {
        let n = 50_000;
        let (a, b) = (noise(1.0, n, 4, 0), noise(1.0, n, 4, 1));
        let pairs = [(&a[..n], &b[..]), (&a[..n - BLOCK], &a[BLOCK..]), (&a[..n - 1], &a[1..])];
        for (x, y) in pairs {
            // A mean of n products of independent standard normals has deviation 1 / sqrt(n); six of them: 2e-9 each.
            let correlation = x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / x.len() as f64;
            assert!(correlation.abs() < 6.0 / (x.len() as f64).sqrt(), "{correlation}");
        }
    }
}
