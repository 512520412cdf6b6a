//! Cyclic Poisson sampling: groups take turns, and records of the group in turn are sampled.

use super::placement::places;
use super::poisson::taken;
use super::{Batch, Sampling};
use crate::seed::{Key, Role};
use dp_accountant::{Event, SamplingRate};
use std::num::NonZeroU32;

/// The records are in `groups` groups, each in one that is drawn once for the run and independently of the others. Step t takes
/// each record of the group t mod `groups` with probability q, independently of everything else (Choquette-Choo et al. 2023).
///
/// So a record takes part in steps that are a multiple of `groups` apart. One group is [`Poisson`](super::Poisson) sampling, to
/// the bit; the coin is the same.
#[derive(Debug)]
pub struct Cyclic {
    rate: SamplingRate,
    groups: NonZeroU32,
    key: Key,
    step: u32,
    /// The group of every record.
    group: Vec<u64>,
}

impl Cyclic {
    /// A sampler over `records` records, those of the group in turn at `rate`, whose next batch is that of `step`.
    pub fn new(records: usize, rate: SamplingRate, groups: NonZeroU32, key: Key, step: u32) -> Self {
        let group = places(records, groups.into(), &key, 0);
        Self { rate, groups, key, step, group }
    }
}

impl Sampling for Cyclic {
    fn next_batch(&mut self) -> Batch {
        let step = self.step;
        // As with Poisson samples, the last of all steps stays.
        self.step = self.step.saturating_add(1);
        let turn = u64::from(step % self.groups);
        let group = self.group.iter().enumerate().filter(|(_, group)| **group == turn).map(|(row, _)| row);
        let rows = taken(group, self.rate, &mut self.key.stream(Role::Sampler, step));
        Batch::shuffled(step, rows, &mut self.key.stream(Role::Order, step))
    }

    /// Of banded noise with as many bands as there are groups, up to the last batch, on records that take part in every turn of
    /// their group: the same with the turns sampled. Of other events the cost is not known here.
    fn amplify(&self, event: Event) -> Event {
        match event {
            Event::CyclicPoisson { sampling_rate, bands, steps, noise_multiplier }
                if sampling_rate.get() == 1.0 && bands == self.groups.into() && steps.get() == u64::from(self.step) =>
            {
                Event::CyclicPoisson { sampling_rate: self.rate, bands, steps, noise_multiplier }
            }
            // No sampling makes that private.
            event @ Event::NonPrivate { .. } => event,
            other => {
                Event::unsupported(format!("{} on cyclic Poisson samples of {} groups", other.kind(), self.groups))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Poisson;
    use super::*;
    use std::num::NonZeroU64;

    fn sampler(records: usize, rate: f64, groups: u32, step: u32) -> Cyclic {
        let groups = NonZeroU32::new(groups).unwrap();
        Cyclic::new(records, SamplingRate::new(rate).unwrap(), groups, Key::from_seed(3), step)
    }

    #[test]
    fn a_record_takes_part_in_the_turns_of_its_group_only_and_at_the_rate() {
        let (mut sampler, groups, steps) = (sampler(50, 0.3, 4, 0), 4, 4000);
        let mut taken = vec![[0_u32; 4]; 50];
        for step in 0..steps {
            for row in sampler.next_batch().rows {
                taken[row][step % groups] += 1;
            }
        }
        for counts in &taken {
            assert_eq!(counts.iter().filter(|count| **count > 0).count(), 1, "{counts:?}");
        }
        // 50,000 coins in all: further than five deviations off with a chance of 6e-7.
        let (all, n) = (f64::from(taken.iter().flatten().sum::<u32>()), 50_000.0);
        assert!((all - 0.3 * n).abs() < 5.0 * (n * 0.3_f64 * 0.7).sqrt(), "{all}");
        // Every group has records: 50 leave one empty with a chance of 2e-6.
        assert!((0..groups).all(|group| taken.iter().any(|counts| counts[group] > 0)));
    }

    #[test]
    fn one_group_is_poisson_sampling_to_the_bit() {
        let (mut one, rate) = (sampler(200, 0.1, 1, 5), SamplingRate::new(0.1).unwrap());
        let mut poisson = Poisson::new(200, rate, Key::from_seed(3), 5);
        assert!((0..20).all(|_| one.next_batch() == poisson.next_batch()));
    }

    #[test]
    fn batches_are_frozen_by_seed_and_resume_at_any_step() {
        let all: Vec<Batch> = {
            let mut whole = sampler(60, 0.3, 3, 0);
            (0..9).map(|_| whole.next_batch()).collect()
        };
        assert_eq!(all[0].rows, FROZEN_FIRST_BATCH);
        for (step, batch) in all.iter().enumerate() {
            assert_eq!(sampler(60, 0.3, 3, step as u32).next_batch(), *batch);
        }
    }

    /// As first released; a change would break every resumed run.
    const FROZEN_FIRST_BATCH: &[usize] = &[42, 45, 23, 36, 47, 40, 50];

    #[test]
    fn only_banded_noise_of_as_many_bands_and_steps_is_amplified() {
        let mut sampler = sampler(60, 0.3, 3, 0);
        let z = dp_accountant::NoiseMultiplier::new(2.0).unwrap();
        let banded = |rate, bands, steps| Event::CyclicPoisson {
            sampling_rate: SamplingRate::new(rate).unwrap(),
            bands: NonZeroU64::new(bands).unwrap(),
            steps: NonZeroU64::new(steps).unwrap(),
            noise_multiplier: z,
        };
        sampler.next_batch();
        sampler.next_batch();
        assert_eq!(sampler.amplify(banded(1.0, 3, 2)), banded(0.3, 3, 2));
        let inside = banded(1.0, 3, 2);
        for other in [
            banded(1.0, 4, 2),
            banded(1.0, 3, 1),
            banded(0.5, 3, 2),
            Event::gaussian(z),
            inside.clone().repeated(2),
            Event::composed([inside, Event::gaussian(z)]),
        ] {
            assert_eq!(sampler.amplify(other.clone()).kind(), "unsupported", "{other:?}");
        }
        assert_eq!(sampler.amplify(Event::non_private("no noise")).kind(), "non-private");
    }
}
