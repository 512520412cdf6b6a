//! What was spent on the same data before a run.

use crate::seed::Origin;
use dp_accountant::{Event, Ledger};
use serde::{Deserialize, Serialize};

/// The costs that a budget counts beside those of the run itself; none by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// What the model that the run starts from has cost. Whoever sees the new model sees something of that one, so it is part of what
    /// the new model costs.
    pub model: Event,
    /// Where the keys came from of the runs that led to that model: a seed if any of them had one. None where there is no such model.
    /// Their noise protects the new model too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Origin>,
    /// Whether that was released by nodes each for itself, behind whose noises the records of one person may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
    /// What other models have cost, where they share a budget with this one.
    pub others: Option<Others>,
}

/// The other runs in a ledger when a run entered it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Others {
    /// The name of this run's own entry.
    pub entry: String,
    /// The entries of the runs whose models this run starts from, one from the other: their cost is that of the model.
    pub ancestors: Vec<String>,
    /// How many other runs there were, apart from those.
    pub runs: usize,
    /// What they had spent or set aside.
    pub event: Event,
    /// Whether this run's entry holds the cost of the model it starts from, because that run is not in the ledger.
    pub with_model: bool,
}

impl Default for Past {
    fn default() -> Self {
        Self { model: Event::nothing(), keys: None, apart: false, others: None }
    }
}

impl Past {
    /// Whether nothing was spent and no ledger is shared.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What a model costs whose run has spent `event`.
    #[must_use]
    pub fn and(&self, event: Event) -> Event {
        Event::composed(parts(&self.model).into_iter().chain(parts(&event)))
    }

    /// The ledger of a run that has not made a step: what the model it starts from has cost. Nothing of the run takes its place.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::new();
        parts(&self.model).into_iter().for_each(|part| ledger.record(part));
        ledger.close();
        ledger
    }

    /// The ledger of a run that has spent `event`: as its steps would have written it, so that a further one goes on with it.
    pub(crate) fn ledger_after(&self, event: &Event) -> Ledger {
        let mut ledger = self.ledger();
        parts(event).into_iter().for_each(|part| ledger.record(part));
        ledger
    }

    /// What all models of the ledger cost together, if this one costs `event` with what it started from.
    #[must_use]
    pub fn together(&self, event: Event) -> Event {
        Event::composed(self.others.iter().map(|others| others.event.clone()).chain([event]))
    }

    /// What stands in the ledger for a run that has spent `event`.
    #[must_use]
    pub fn entry(&self, event: Event) -> Event {
        if self.others.as_ref().is_some_and(|others| others.with_model) { self.and(event) } else { event }
    }

    /// The steps of the runs that led to the model that the run starts from.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.ledger().steps()
    }
}

/// The parts of a composition, in their order. Ledgers hold these: a list that is repeated as a whole would be another event than its
/// parts one after the other.
fn parts(event: &Event) -> Vec<Event> {
    match event {
        Event::Composed { events } => events.clone(),
        event => vec![event.clone()],
    }
}
