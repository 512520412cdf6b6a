//! Disjoint batches: every record takes part once a pass.

use super::placement::places;
use super::{Batch, Sampling};
use crate::seed::{Key, Role};
use dp_accountant::Event;
use std::num::NonZeroU64;

/// Each pass over the data has `steps` batches, and each record is in one of them, drawn anew for every pass and independently of
/// the other records. Sizes of batches vary as those of Poisson samples do; adding or removing a record changes one batch of a pass.
///
/// Nothing is amplified: what is known of the releases holds with the batches known.
#[derive(Debug)]
pub struct Disjoint {
    records: usize,
    steps: NonZeroU64,
    key: Key,
    step: u32,
    /// The batch of every record in the pass of this number.
    pass: Option<(u32, Vec<u64>)>,
}

impl Disjoint {
    /// A sampler over `records` records, `steps` batches a pass, whose next batch is that of `step`.
    pub fn new(records: usize, steps: NonZeroU64, key: Key, step: u32) -> Self {
        Self { records, steps, key, step, pass: None }
    }
}

impl Sampling for Disjoint {
    fn next_batch(&mut self) -> Batch {
        let step = self.step;
        // As with Poisson samples, the last of all steps stays.
        self.step = self.step.saturating_add(1);
        let (number, turn) = (u64::from(step) / self.steps, u64::from(step) % self.steps);
        // Not above the step, which fits.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let (_, batches) = match self.pass.take() {
            Some(pass) if pass.0 == number => self.pass.insert(pass),
            _ => self.pass.insert((number, places(self.records, self.steps, &self.key, number))),
        };
        let rows = batches.iter().enumerate().filter(|(_, batch)| **batch == turn).map(|(row, _)| row).collect();
        Batch::shuffled(step, rows, &mut self.key.stream(Role::Order, step))
    }

    /// One independent release costs what it costs. A tree does if it has the steps of the pass so far: in a longer one records
    /// would take part more often. Of other events it is not known here in how many of their steps a record is.
    fn amplify(&self, event: Event) -> Event {
        let turn = u64::from(self.step.saturating_sub(1)) % self.steps + 1;
        match event {
            Event::TreeAggregation { participation, .. } if participation.steps() == turn => event,
            Event::Gaussian { .. } | Event::AdaptiveClip { .. } | Event::NonPrivate { .. } => event,
            other => Event::unsupported(format!("{} on disjoint batches, {} a pass", other.kind(), self.steps)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_accountant::NoiseScale;

    fn sampler(records: usize, steps: u64, seed: u64, step: u32) -> Disjoint {
        Disjoint::new(records, NonZeroU64::new(steps).unwrap(), Key::from_seed(seed), step)
    }

    #[test]
    fn every_record_takes_part_once_a_pass() {
        let mut sampler = sampler(101, 7, 3, 0);
        let mut passes: Vec<Vec<usize>> = Vec::new();
        for _ in 0..5 {
            let batches: Vec<usize> = (0..7).flat_map(|_| sampler.next_batch().rows).collect();
            let mut sorted = batches.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..101));
            passes.push(batches);
        }
        assert!(passes.windows(2).all(|pair| pair[0] != pair[1]), "every pass has its own batches");
    }

    #[test]
    fn batches_are_frozen_by_seed_and_resume_at_any_step() {
        let all: Vec<Batch> = {
            let mut whole = sampler(30, 4, 5, 0);
            (0..12).map(|_| whole.next_batch()).collect()
        };
        assert_eq!(all[0].rows, FROZEN_FIRST_BATCH);
        for (step, batch) in all.iter().enumerate() {
            assert_eq!(sampler(30, 4, 5, step as u32).next_batch(), *batch);
        }
    }

    /// As first released; a change would break every resumed run.
    const FROZEN_FIRST_BATCH: &[usize] = &[10, 8, 7, 9, 20, 19, 28, 3, 12];

    #[test]
    fn only_trees_of_a_pass_cost_what_they_say() {
        let z = dp_accountant::NoiseMultiplier::new(2.0).unwrap();
        let tree = |steps| Event::TreeAggregation {
            noise_multiplier: z,
            participation: dp_accountant::Participation::new(steps, 1, 0).unwrap(),
        };
        let mut sampler = sampler(30, 4, 5, 0);
        for step in 0..10 {
            sampler.next_batch();
            for steps in 1..=9 {
                let kept = sampler.amplify(tree(steps)) == tree(steps);
                assert_eq!(kept, steps == step % 4 + 1, "a tree of {steps} steps after step {step}");
            }
        }
        // Ten steps are two of the third pass.
        let (gaussian, fitting) = (Event::gaussian(z), tree(2));
        let clip = Event::AdaptiveClip { noise_multiplier: z, count_noise: NoiseScale::new(5.0).unwrap() };
        for kept in [gaussian.clone(), clip, Event::non_private("no noise"), fitting.clone()] {
            assert_eq!(sampler.amplify(kept.clone()), kept);
        }
        for other in [
            tree(9).repeated(2),
            fitting.clone().repeated(2),
            Event::composed([tree(9), gaussian.clone()]),
            Event::composed([fitting, gaussian.clone()]),
            gaussian.repeated(2),
            Event::laplace(z),
        ] {
            assert_eq!(sampler.amplify(other.clone()).kind(), "unsupported", "{other:?}");
        }
    }

    #[test]
    fn records_are_placed_alike_and_by_themselves() {
        // Over 4,000 passes of 5 batches: how often record 0 is in the first batch, and how often with record 1, are off by five
        // deviations with a chance of 6e-7 each.
        let (mut sampler, n) = (sampler(3, 5, 7, 0), 4000.0_f64);
        let (mut first, mut both) = (0.0, 0.0);
        for _ in 0..4000 {
            let batches: Vec<Vec<usize>> = (0..5).map(|_| sampler.next_batch().rows).collect();
            first += f64::from(u8::from(batches[0].contains(&0)));
            both += f64::from(u8::from(batches.iter().any(|batch| batch.contains(&0) && batch.contains(&1))));
        }
        let off = |count: f64| (count - n * 0.2).abs() / (n * 0.2 * 0.8).sqrt();
        assert!(off(first) < 5.0 && off(both) < 5.0, "{first} {both}");
    }
}
