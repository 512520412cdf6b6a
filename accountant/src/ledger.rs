//! The record of what was done, step by step, kept short.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Runs};

/// The releases of a run in the order in which they happened, equal neighbours kept as counts.
///
/// As JSON: `[{"event":..,"count":..},..]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Run>", into = "Vec<Run>")]
pub struct Ledger {
    runs: Runs,
}

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
        let mut ledger = Self::default();
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
        self.runs.push(event, 1);
    }

    /// Writes down an event in the place of the last one that was recorded: it is the cost of the last one and more together.
    pub fn record_over_last(&mut self, event: Event) {
        if let Some((_, count)) = self.runs.0.last_mut() {
            *count -= 1;
            if *count == 0 {
                self.runs.0.pop();
            }
        }
        self.record(event);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{NoiseMultiplier, Participation};

    #[test]
    fn an_event_that_goes_on_takes_the_place_of_the_last_and_counts_as_its_steps() {
        let noise_multiplier = NoiseMultiplier::new(2.0).unwrap();
        let tree = |steps| Event::TreeAggregation {
            noise_multiplier,
            participation: Participation::new(steps, 1, 0).unwrap(),
        };
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
