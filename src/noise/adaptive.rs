//! The pair of adaptive clipping: a clipped sum and the number of examples within the clip norm.

use super::{Gaussian, Mechanism, Release, StandardNormals};
use crate::Result;
use crate::clip::{Adaptive, ClippedSum};
use crate::seed::{Key, Role};
use dp_accountant::{Event, NoiseMultiplier};

/// Releases the sum as [`Gaussian`] does, at the noise multiplier that [`Adaptive::sum_noise`] leaves for it, and beside it the share
/// of the expected batch that was within the clip norm, [`Release::within`], with noise from a stream of its own.
///
/// Both cost together what [`Gaussian`] costs at the noise multiplier given.
#[derive(Debug)]
pub struct AdaptiveGaussian {
    rule: Adaptive,
    sum: Gaussian,
    event: Event,
}

impl AdaptiveGaussian {
    /// A mechanism whose next release is that of `step`. `together` is the noise multiplier of sum and count together.
    ///
    /// # Errors
    /// When `together` is not below twice the count noise, or the expected batch is not a positive number.
    pub fn new(rule: Adaptive, together: NoiseMultiplier, expected_batch: f64, key: Key, step: u32) -> Result<Self> {
        let sum = Gaussian::new(rule.sum_noise(together)?, expected_batch, key, step)?;
        Ok(Self { rule, sum, event: rule.event(together)? })
    }
}

impl Mechanism for AdaptiveGaussian {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let mut draw = [0.0];
        StandardNormals::of(&self.sum.key, Role::ClipCount, self.sum.step).fill(&mut draw);
        let [draw] = draw;
        let within = (sum.centred_count() + self.rule.count_noise() * draw) * self.sum.share + 0.5;
        // The event of the sum alone is part of that of the pair.
        let (release, _) = self.sum.release(sum)?;
        Ok((Release { within: Some(within), ..release }, self.event()))
    }

    fn event(&self) -> Event {
        self.event.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::clip::{ClipNorm, Flat};
    use crate::grad::Written;
    use crate::nn::Parameters;
    use candle_core::{DType, Device, Tensor};

    /// A batch of `short` gradients within the clip norm and `long` ones that are not, of one number each.
    fn sum(short: usize, long: usize) -> ClippedSum {
        let parameters = Parameters::new(Key::from_seed(0), DType::F32, &Device::Cpu);
        parameters.var_builder().get((1,), "w").unwrap();
        let values = [vec![0.5_f32; short], vec![9.0; long]].concat();
        let rows = Tensor::from_vec(values, (short + long, 1), &Device::Cpu).unwrap();
        let written = Written::new(short + long, vec![rows]);
        ClippedSum::new(&parameters, &Flat::new(ClipNorm::new(1.0).unwrap()), std::iter::once(written)).unwrap()
    }

    fn mechanism(count_noise: f64, step: u32) -> AdaptiveGaussian {
        let rule = Adaptive::new(0.5, 0.2, count_noise).unwrap();
        let z = NoiseMultiplier::new(1e-4).unwrap();
        AdaptiveGaussian::new(rule, z, 100.0, Key::from_seed(3), step).unwrap()
    }

    #[test]
    fn with_little_noise_the_share_is_the_count_over_the_expected_batch() {
        for (short, long, share) in [(60, 40, 0.6), (60, 0, 0.8), (0, 30, 0.35), (0, 0, 0.5)] {
            let (release, _) = mechanism(0.1, 0).release(sum(short, long)).unwrap();
            assert!((release.within().unwrap() - share).abs() < 0.01, "{short}, {long}: {:?}", release.within());
        }
    }

    #[test]
    fn the_noise_of_the_count_has_its_deviation_and_is_not_that_of_the_sum() {
        // 4,000 draws: their variance is off by more than 5 times sqrt(2 / 4000) with a chance of 6e-7, and so is a correlation by more
        // than 5 / sqrt(4000).
        let n = 4000;
        let noise: Vec<(f64, f64)> = (0..n)
            .map(|step| {
                let (release, _) = mechanism(7.0, step).release(sum(50, 50)).unwrap();
                let count = (release.within().unwrap() - 0.5) * 100.0 / 7.0;
                let mut sum = [0.0];
                StandardNormals::new(&Key::from_seed(3), step).fill(&mut sum);
                (count, sum[0])
            })
            .collect();
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| noise.iter().map(f).sum::<f64>() / f64::from(n);
        assert!(mean(&|(count, _)| *count).abs() < 5.0 / f64::from(n).sqrt());
        assert!((mean(&|(count, _)| count * count) - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt());
        assert!(mean(&|(count, sum)| count * sum).abs() < 5.0 / f64::from(n).sqrt());
    }

    #[test]
    fn a_repeated_step_makes_the_same_release() {
        let once = |step| mechanism(7.0, step).release(sum(10, 20)).unwrap().0.within();
        assert!(once(5) == once(5) && once(5) != once(6));
    }
}
