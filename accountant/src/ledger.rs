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

    /// How many steps were recorded, a repeated event counting as its repetitions. Saturates at `u64::MAX`.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.runs.0.iter().fold(0, |total, (_, count)| total.saturating_add(*count))
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
