//! Poisson sampling: every record takes part in every step independently with probability q.

use super::{Batch, Sampling};
use crate::seed::{Key, Role};
use dp_accountant::{Event, SamplingRate};
use rand_chacha::rand_core::RngCore;

/// Each record is in each batch with probability q, independently of every other record and step.
///
/// The coin is exact: a 64-bit draw against the threshold floor(q 2^64), so the rate really used is at most q and less
/// than 2^-64 below it. A smaller rate only strengthens the guarantee.
#[derive(Debug)]
pub struct Poisson {
    records: usize,
    rate: SamplingRate,
    key: Key,
    step: u32,
}

impl Poisson {
    /// A sampler over `records` records at `rate` whose next batch is that of `step`.
    pub fn new(records: usize, rate: SamplingRate, key: Key, step: u32) -> Self {
        Self { records, rate, key, step }
    }
}

impl Sampling for Poisson {
    fn next_batch(&mut self) -> Batch {
        let step = self.step;
        // A plan has fewer than 2^32 steps; one more would be no new draw, so the last one stays.
        self.step = self.step.saturating_add(1);
        let rows = taken(0..self.records, self.rate, &mut self.key.stream(Role::Sampler, step));
        Batch::shuffled(step, rows, &mut self.key.stream(Role::Order, step))
    }

    /// Of one release on its own, the same on a Poisson sample. Whatever else there is, wherever it stands in the event, could hold
    /// releases of several steps, which each have a sample of their own.
    fn amplify(&self, event: Event) -> Event {
        match event {
            Event::Gaussian { .. } | Event::AdaptiveClip { .. } | Event::NonPrivate { .. } => {
                event.poisson_sampled(self.rate)
            }
            other => Event::unsupported(format!("{} on Poisson samples", other.kind())),
        }
    }
}

/// Those of `rows` that are taken, each by a [`coin`] of its own.
pub(super) fn taken(rows: impl Iterator<Item = usize>, rate: SamplingRate, rng: &mut impl RngCore) -> Vec<usize> {
    rows.filter(|_| coin(rate, rng)).collect()
}

/// Heads with probability `rate`: a draw against floor(rate 2^64). At a rate of 1 always, without a draw.
pub(crate) fn coin(rate: SamplingRate, rng: &mut impl RngCore) -> bool {
    // Scaling by a power of two is exact and the conversion drops the fraction: never above the rate.
    rate.get() >= 1.0 || rng.next_u64() < (rate.get() * 18_446_744_073_709_551_616.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(records: usize, rate: f64, seed: u64) -> Poisson {
        Poisson::new(records, SamplingRate::new(rate).unwrap(), Key::from_seed(seed), 0)
    }

    /// Chi-square-like check of the mean and variance of the batch size and of pair independence.
    fn looks_like_poisson_sampling(batches: &[Vec<usize>], records: usize, rate: f64) -> Result<(), String> {
        let t = batches.len() as f64;
        let sizes: Vec<f64> = batches.iter().map(|b| b.len() as f64).collect();
        let mean = sizes.iter().sum::<f64>() / t;
        let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (t - 1.0);
        let (expected, expected_variance) = (records as f64 * rate, records as f64 * rate * (1.0 - rate));
        // Five standard errors on each: false alarm below 1.2e-6 for the three checks together (normal tails).
        if (mean - expected).abs() > 5.0 * (expected_variance / t).sqrt() {
            return Err(format!("mean batch size {mean}, expected {expected}"));
        }
        if (variance - expected_variance).abs() > 5.0 * expected_variance * (2.0 / t).sqrt() {
            return Err(format!("variance of the batch size {variance}, expected {expected_variance}"));
        }
        let both = batches.iter().filter(|b| b.contains(&0) && b.contains(&1)).count() as f64;
        let p = rate * rate;
        if (both - t * p).abs() > 5.0 * (t * p * (1.0 - p)).sqrt() {
            return Err(format!("records 0 and 1 together in {both} batches, expected {}", t * p));
        }
        Ok(())
    }

    #[test]
    fn batches_are_poisson_and_the_check_can_fail() {
        let (records, rate, t) = (200, 0.1, 20_000);
        let mut sampler = sampler(records, rate, 11);
        let batches: Vec<_> = (0..t).map(|_| sampler.next_batch().rows).collect();
        looks_like_poisson_sampling(&batches, records, rate).unwrap();
        // Negative controls: a fixed batch size, and a rate a tenth too small.
        let fixed: Vec<Vec<usize>> = (0..t).map(|i| (0..20).map(|j| (i * 20 + j) % records).collect()).collect();
        assert!(looks_like_poisson_sampling(&fixed, records, rate).is_err());
        let mut slow = self::sampler(records, rate * 0.9, 11);
        let batches: Vec<_> = (0..t).map(|_| slow.next_batch().rows).collect();
        assert!(looks_like_poisson_sampling(&batches, records, rate).is_err());
    }

    #[test]
    fn batches_are_frozen_by_seed_and_resume_at_any_step() {
        let mut sampler = sampler(1000, 0.005, 3);
        let batches: Vec<_> = (0..4).map(|_| sampler.next_batch().rows).collect();
        assert_eq!(batches[0], FROZEN_FIRST_BATCH);
        let mut resumed = Poisson::new(1000, SamplingRate::new(0.005).unwrap(), Key::from_seed(3), 2);
        assert_eq!(resumed.next_batch().rows, batches[2]);
        assert_eq!(resumed.next_batch().rows, batches[3]);
    }

    /// As first released; a change would break every resumed run.
    const FROZEN_FIRST_BATCH: &[usize] = &[834, 337, 922];

    #[test]
    fn only_one_release_of_independent_noise_is_amplified() {
        use dp_accountant::{NoiseMultiplier, NoiseScale, Participation};
        let (sampler, rate) = (sampler(10, 0.1, 1), SamplingRate::new(0.1).unwrap());
        let z = NoiseMultiplier::new(2.0).unwrap();
        let gaussian = Event::gaussian(z);
        let clip = Event::AdaptiveClip { noise_multiplier: z, count_noise: NoiseScale::new(5.0).unwrap() };
        for event in [gaussian.clone(), clip, Event::non_private("no noise")] {
            assert_eq!(sampler.amplify(event.clone()), event.poisson_sampled(rate));
        }
        let tree = Event::TreeAggregation { noise_multiplier: z, participation: Participation::new(4, 1, 0).unwrap() };
        for other in [
            tree.clone(),
            tree.clone().repeated(2),
            Event::composed([tree, gaussian.clone()]),
            gaussian.clone().repeated(2),
            gaussian.poisson_sampled(rate),
            Event::laplace(z),
            Event::nothing(),
        ] {
            assert_eq!(sampler.amplify(other.clone()).kind(), "unsupported", "{other:?}");
        }
    }

    #[test]
    fn the_whole_data_set_at_rate_one_and_empty_batches_at_small_rates() {
        let mut all = sampler(5, 1.0, 0).next_batch().rows;
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        let mut rare = sampler(5, 1e-6, 0);
        assert!((0..50).all(|_| rare.next_batch().is_empty()));
    }
}
