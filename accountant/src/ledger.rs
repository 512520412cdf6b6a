//! The record of what was done, step by step, kept short.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Runs};

/// The releases of a run in the order in which they happened, equal neighbours kept as counts.
///
/// As JSON: `[{"event":..,"count":..},..]`.
///
/// A ledger that is read is [closed](Ledger::close). Two ledgers are equal if the same was recorded in them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Run>", into = "Vec<Run>")]
pub struct Ledger {
    runs: Runs,
    /// Whether the last event is not to be gone on with.
    closed: bool,
}

impl PartialEq for Ledger {
    fn eq(&self, other: &Self) -> bool {
        self.runs == other.runs
    }
}

impl Eq for Ledger {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    event: Event,
    count: u64,
}

impl From<Ledger> for Vec<Run> {
    fn from(ledger: Ledger) -> Self {
        ledger.runs.0.into_iter().map(|(event, count)| Run { event, count }).collect()
    }
}

impl From<Vec<Run>> for Ledger {
    fn from(runs: Vec<Run>) -> Self {
        let mut ledger = Self { closed: true, ..Self::default() };
        runs.into_iter().for_each(|run| ledger.runs.push(run.event, run.count));
        ledger
    }
}

impl Ledger {
    /// A ledger with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down one event. Recording nothing leaves the ledger as it was.
    pub fn record(&mut self, event: Event) {
        let before = self.end();
        self.runs.push(event, 1);
        // What was recorded now can be gone on with, whatever it came after.
        self.closed &= self.end() == before;
    }

    /// Writes down an event in the place of the last one that was recorded, where it goes on with that one and so holds its
    /// cost: a tree of the same noise and participations, or cyclic Poisson sampling of the same rate, bands and noise, with
    /// more steps. Otherwise, and where the ledger was [closed](Ledger::close) after the last one, both stand: no cost is
    /// ever taken out.
    pub fn record_over_last(&mut self, event: Event) {
        if !self.closed
            && let Some((last, count)) = self.runs.0.last_mut()
            && goes_on(last, &event)
        {
            *count -= 1;
            if *count == 0 {
                self.runs.0.pop();
            }
        }
        self.record(event);
    }

    /// Says that what was recorded so far is over, as a model is from which another run starts: whatever comes stands beside
    /// it, even what looks as if it went on with it.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// How many different neighbours there are, and how often the last was recorded: recording more changes one of the two.
    fn end(&self) -> (usize, Option<u64>) {
        (self.runs.0.len(), self.runs.0.last().map(|(_, count)| *count))
    }

    /// How many steps were recorded, a repeated event counting as its repetitions, a tree and cyclic Poisson sampling as their steps.
    /// Saturates at `u64::MAX`.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let steps = |event: &Event| match event {
            Event::TreeAggregation { participation, .. } => participation.steps(),
            Event::CyclicPoisson { steps, .. } => steps.get(),
            _ => 1,
        };
        self.runs.0.iter().fold(0, |total, (event, count)| total.saturating_add(count.saturating_mul(steps(event))))
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.0.is_empty()
    }

    /// Everything recorded, as one event: the same as [`Event::composed`] of the recorded events.
    #[must_use]
    pub fn event(&self) -> Event {
        self.runs.clone().into_event()
    }
}

/// Whether `event` is what `last` becomes with more steps, and so costs at least as much by itself as both do together.
fn goes_on(last: &Event, event: &Event) -> bool {
    match (last, event) {
        (
            Event::TreeAggregation { noise_multiplier: before, participation: less },
            Event::TreeAggregation { noise_multiplier: now, participation: more },
        ) => {
            before == now
                && less.participations() == more.participations()
                && less.separation() == more.separation()
                && less.steps() < more.steps()
        }
        (
            Event::CyclicPoisson { sampling_rate: rate, bands: width, steps: less, noise_multiplier: before },
            Event::CyclicPoisson { sampling_rate, bands, steps: more, noise_multiplier: now },
        ) => rate == sampling_rate && width == bands && before == now && less < more,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{NoiseMultiplier, Participation, SamplingRate};
    use std::num::NonZeroU64;

    fn noise(z: f64) -> NoiseMultiplier {
        NoiseMultiplier::new(z).unwrap()
    }

    fn tree_of(z: f64, steps: u64, participations: u64, separation: u64) -> Event {
        let participation = Participation::new(steps, participations, separation).unwrap();
        Event::TreeAggregation { noise_multiplier: noise(z), participation }
    }

    fn cyclic(rate: f64, bands: u64, steps: u64, z: f64) -> Event {
        Event::CyclicPoisson {
            sampling_rate: SamplingRate::new(rate).unwrap(),
            bands: NonZeroU64::new(bands).unwrap(),
            steps: NonZeroU64::new(steps).unwrap(),
            noise_multiplier: noise(z),
        }
    }

    #[test]
    fn only_what_holds_the_last_event_takes_its_place() {
        let gaussian = Event::gaussian(noise(1.0));
        let pair = Event::composed([gaussian.clone(), tree_of(2.0, 4, 1, 0)]);
        for (last, next, replaced) in [
            (tree_of(2.0, 4, 1, 0), tree_of(2.0, 5, 1, 0), true),
            (tree_of(2.0, 4, 2, 1), tree_of(2.0, 9, 2, 1), true),
            (tree_of(2.0, 4, 1, 0), tree_of(2.0, 4, 1, 0), false),
            (tree_of(2.0, 4, 1, 0), tree_of(2.0, 3, 1, 0), false),
            (tree_of(2.0, 4, 1, 0), tree_of(2.1, 5, 1, 0), false),
            (tree_of(2.0, 4, 2, 0), tree_of(2.0, 5, 1, 0), false),
            (tree_of(2.0, 4, 2, 0), tree_of(2.0, 5, 2, 1), false),
            (cyclic(0.1, 3, 7, 1.0), cyclic(0.1, 3, 8, 1.0), true),
            (cyclic(0.1, 3, 7, 1.0), cyclic(0.1, 3, 7, 1.0), false),
            (cyclic(0.1, 3, 7, 1.0), cyclic(0.2, 3, 8, 1.0), false),
            (cyclic(0.1, 3, 7, 1.0), cyclic(0.1, 4, 8, 1.0), false),
            (cyclic(0.1, 3, 7, 1.0), cyclic(0.1, 3, 8, 2.0), false),
            (cyclic(0.1, 3, 7, 1.0), tree_of(1.0, 8, 1, 0), false),
            (Event::non_private("no noise"), gaussian.clone(), false),
            (gaussian.clone(), gaussian.clone(), false),
            (pair, tree_of(2.0, 5, 1, 0), false),
        ] {
            let mut ledger = Ledger::new();
            ledger.record(last.clone());
            ledger.record_over_last(next.clone());
            let both = Event::composed([last.clone(), next.clone()]);
            assert_eq!(ledger.event(), if replaced { next } else { both }, "after {last:?}");
        }
    }

    #[test]
    fn what_is_over_stays_even_if_it_looks_as_if_it_went_on() {
        let tree = |steps| tree_of(2.0, steps, 1, 0);
        let mut past = Ledger::new();
        past.record(tree(4));
        past.close();
        let read = serde_json::from_str::<Ledger>(&serde_json::to_string(&past).unwrap()).unwrap();
        for past in [past, read] {
            let mut skipped = past.clone();
            skipped.record_over_last(tree(5));
            assert_eq!(skipped.event(), Event::composed([tree(4), tree(5)]));
            // Recording nothing does not open it.
            let mut nothing = past.clone();
            nothing.record(Event::nothing());
            nothing.record_over_last(tree(5));
            assert_eq!(nothing, skipped);
            // The run's own entries go on, also where they are equal to those of the past for a while.
            let mut ledger = past;
            ledger.record(tree(1));
            (2..=6).for_each(|steps| ledger.record_over_last(tree(steps)));
            assert_eq!(ledger.event(), Event::composed([tree(4), tree(6)]));
        }
    }

    #[test]
    fn an_event_that_goes_on_takes_the_place_of_the_last_and_counts_as_its_steps() {
        let tree = |steps| tree_of(2.0, steps, 1, 0);
        let mut ledger = Ledger::new();
        for step in 1..=11 {
            match (step - 1) % 4 {
                0 => ledger.record(tree(1)),
                before => ledger.record_over_last(tree(before + 1)),
            }
            let (whole, rest) = (step / 4, step % 4);
            let rest = if rest == 0 { Event::nothing() } else { tree(rest) };
            assert_eq!(ledger.event(), Event::composed([tree(4).repeated(whole), rest]), "after {step}");
            assert_eq!(ledger.steps(), step);
            let text = serde_json::to_string(&ledger).unwrap();
            assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        }
        // Of several equal ones it is the last alone.
        let mut equal = Ledger::new();
        (0..3).for_each(|_| equal.record(tree(4)));
        equal.record_over_last(tree(5));
        assert_eq!((equal.event(), equal.steps()), (Event::composed([tree(4).repeated(2), tree(5)]), 13));
        let mut empty = Ledger::new();
        empty.record_over_last(tree(2));
        assert_eq!(empty.event(), tree(2));
    }
}
