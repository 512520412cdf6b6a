//! The walk that every accountant uses: an event taken apart into its distinct leaves and their counts.

use std::collections::HashMap;

use crate::event::Event;
use crate::parameters::{NoiseMultiplier, SamplingRate};

/// An event that is not itself a repetition or a composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leaf<'a> {
    /// See [`Event::Gaussian`].
    Gaussian {
        /// Noise standard deviation over clip norm.
        noise_multiplier: NoiseMultiplier,
    },
    /// See [`Event::PoissonSampled`].
    PoissonSampled {
        /// Probability with which each record is taken.
        sampling_rate: SamplingRate,
        /// What is done with the sample.
        event: &'a Event,
    },
    /// See [`Event::NonPrivate`].
    NonPrivate {
        /// Why there is no guarantee.
        reason: &'a str,
    },
    /// See [`Event::Unsupported`].
    Unsupported {
        /// What was done.
        reason: &'a str,
    },
}

/// More repetitions than a `u64` can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event repeats something more than {} times: shorten the plan", u64::MAX)]
pub struct CountOverflow;

impl Event {
    /// The distinct leaves with their total counts, in order of first appearance.
    ///
    /// This is the one place where counts multiply, and equal leaves are merged wherever they stand: n equal events
    /// therefore cost exactly what one event of count n costs.
    ///
    /// # Errors
    /// [`CountOverflow`] when a total count exceeds `u64`.
    pub fn parts(&self) -> Result<Vec<(Leaf<'_>, u64)>, CountOverflow> {
        let mut parts = Vec::new();
        let mut places = HashMap::new();
        // An explicit stack: a deep event must not exhaust the thread's own.
        let mut pending = vec![(self, 1_u64)];
        while let Some((event, count)) = pending.pop() {
            let leaf = match event {
                Event::Gaussian { noise_multiplier } => Leaf::Gaussian { noise_multiplier: *noise_multiplier },
                Event::PoissonSampled { sampling_rate, event } => {
                    Leaf::PoissonSampled { sampling_rate: *sampling_rate, event }
                }
                Event::NonPrivate { reason } => Leaf::NonPrivate { reason },
                Event::Unsupported { reason } => Leaf::Unsupported { reason },
                Event::Repeated { count: inner, event } => {
                    let product = inner.checked_mul(count).ok_or(CountOverflow)?;
                    // A count of zero cannot be read from a file, but a program can write one: nothing happened.
                    if product > 0 {
                        pending.push((event, product));
                    }
                    continue;
                }
                Event::Composed { events } => {
                    pending.extend(events.iter().rev().map(|event| (event, count)));
                    continue;
                }
            };
            let place = *places.entry(leaf).or_insert(parts.len());
            match parts.get_mut(place) {
                None => parts.push((leaf, count)),
                Some((_, total)) => *total = u64::checked_add(*total, count).ok_or(CountOverflow)?,
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn gaussian(z: f64) -> Event {
        Event::gaussian(NoiseMultiplier::new(z).unwrap())
    }

    #[test]
    fn equal_leaves_are_merged_wherever_they_stand() {
        let (a, b) = (gaussian(1.0), gaussian(2.0));
        let event = Event::composed([a.clone(), b.clone(), a.clone()]).repeated(5);
        let counts: Vec<u64> = event.parts().unwrap().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [10, 5]);
    }

    #[test]
    fn overflow_is_an_error_and_zero_is_nothing() {
        let a = gaussian(1.0);
        assert_eq!(a.clone().repeated(u64::MAX).repeated(2).parts(), Err(CountOverflow));
        let two = Event::Composed { events: vec![a.clone().repeated(u64::MAX), a.clone()] };
        assert_eq!(two.parts(), Err(CountOverflow));
        let zero = Event::Repeated { count: 0, event: Box::new(a) };
        assert_eq!(zero.parts().unwrap(), []);
    }
}
