//! The walk that every accountant uses: an event taken apart into its distinct leaves and their counts.
//!
//! A leaf is an event that is itself no repetition or composition.

use std::collections::HashMap;

use crate::event::Event;

/// More repetitions than a `u64` can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event repeats something more than {} times: shorten the plan", u64::MAX)]
pub struct CountOverflow;

impl Event {
    /// The distinct leaves (events that are no repetitions or compositions) with their total counts, in order of first
    /// appearance.
    ///
    /// This is the one place where counts multiply, and equal leaves are merged wherever they stand: n equal events
    /// therefore cost exactly what one event of count n costs.
    ///
    /// # Errors
    /// [`CountOverflow`] when a total count exceeds `u64`.
    pub fn parts(&self) -> Result<Vec<(&Event, u64)>, CountOverflow> {
        let mut parts: Vec<(&Event, u64)> = Vec::new();
        let mut places = HashMap::new();
        // An explicit stack: a deep event must not exhaust the thread's own.
        let mut pending = vec![(self, 1_u64)];
        while let Some((event, count)) = pending.pop() {
            match event {
                Event::Repeated { count: inner, event } => {
                    let product = inner.checked_mul(count).ok_or(CountOverflow)?;
                    // A count of zero cannot be read from a file, but a program can write one: nothing happened.
                    if product > 0 {
                        pending.push((&**event, product));
                    }
                    continue;
                }
                Event::Composed { events } => {
                    pending.extend(events.iter().rev().map(|event| (event, count)));
                    continue;
                }
                _ => {}
            }
            let place = *places.entry(event).or_insert(parts.len());
            match parts.get_mut(place) {
                None => parts.push((event, count)),
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
    use crate::parameters::NoiseMultiplier;

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
