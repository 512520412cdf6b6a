//! What was done to the data, in words a program can read. Nothing here computes a privacy cost.

use serde::{Deserialize, Deserializer, Serialize};

use crate::parameters::{NoiseMultiplier, SamplingRate};

/// One release of private data, or a composition of releases.
///
/// The enum is exhaustive on purpose: when a variant is added, the compiler names every accountant that must answer
/// for it. Build events with the constructors below; they keep a canonical form, in which equal histories are equal
/// values. Accountants accept events of any form.
///
/// As JSON an event is externally tagged, variants in kebab case:
/// `{"poisson-sampled":{"sampling_rate":0.01,"event":{"gaussian":{"noise_multiplier":1.1}}}}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A sum of clipped vectors plus Gaussian noise.
    Gaussian {
        /// Noise standard deviation over clip norm.
        noise_multiplier: NoiseMultiplier,
    },
    /// The inner event, run on a Poisson sample of the records.
    PoissonSampled {
        /// Probability with which each record is taken, independently.
        sampling_rate: SamplingRate,
        /// What is done with the sample. Several releases in here see the same sample.
        event: Box<Event>,
    },
    /// The inner event, run `count` times with fresh randomness, a fresh sample included.
    Repeated {
        /// How often, at least once.
        #[serde(deserialize_with = "at_least_one")]
        count: u64,
        /// What is repeated.
        event: Box<Event>,
    },
    /// All the events, one after the other; empty means that nothing was released.
    Composed {
        /// The parts in the order in which they happened.
        events: Vec<Event>,
    },
    /// A release without any privacy.
    NonPrivate {
        /// What was released, or why there is no guarantee.
        reason: String,
    },
    /// A release whose privacy no accountant here can state.
    Unsupported {
        /// What was done.
        reason: String,
    },
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(deserializer)?;
    if count == 0 {
        return Err(serde::de::Error::custom("count = 0: allowed is a whole number >= 1"));
    }
    Ok(count)
}

impl Event {
    /// A sum of clipped vectors plus Gaussian noise.
    #[must_use]
    pub fn gaussian(noise_multiplier: NoiseMultiplier) -> Self {
        Self::Gaussian { noise_multiplier }
    }

    /// A release without privacy, and why.
    pub fn non_private(reason: impl Into<String>) -> Self {
        Self::NonPrivate { reason: reason.into() }
    }

    /// A release that no accountant here can account for, and what it was.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported { reason: reason.into() }
    }

    /// Nothing was released.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Composed { events: Vec::new() }
    }

    /// This event on a Poisson sample. A rate of 1 is kept as it was said.
    #[must_use]
    pub fn poisson_sampled(self, sampling_rate: SamplingRate) -> Self {
        Self::PoissonSampled { sampling_rate, event: Box::new(self) }
    }

    /// This event `count` times: 0 is nothing, 1 is the event itself, and nested counts multiply.
    ///
    /// Counts whose product exceeds `u64` stay nested, and accountants refuse them.
    #[must_use]
    pub fn repeated(self, count: u64) -> Self {
        match (count, self) {
            (0, _) => Self::nothing(),
            (1, event) => event,
            (_, Self::Composed { events }) if events.is_empty() => Self::nothing(),
            (_, Self::Repeated { count: inner, event }) => match inner.checked_mul(count) {
                Some(product) => event.repeated(product),
                None => Self::Repeated { count, event: Box::new(Self::Repeated { count: inner, event }) },
            },
            (_, event) => Self::Repeated { count, event: Box::new(event) },
        }
    }

    /// The events in this order: equal neighbours become counts, nested lists are flattened, one event is itself.
    ///
    /// A list that is repeated as a whole stays a repeated list: n steps of two releases each are written once.
    pub fn composed(events: impl IntoIterator<Item = Event>) -> Self {
        let mut runs = Runs::default();
        events.into_iter().for_each(|event| runs.push(event, 1));
        runs.into_event()
    }
}

/// Neighbouring equal events as counts, the form shared by compositions and ledgers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs(pub(crate) Vec<(Event, u64)>);

impl Runs {
    /// Appends `count` times `event`. Counts that would exceed `u64` start a new run.
    pub(crate) fn push(&mut self, event: Event, count: u64) {
        let (event, count) = match event {
            Event::Composed { events } if events.is_empty() => return,
            Event::Repeated { count: inner, event } => match inner.checked_mul(count) {
                Some(product) => return self.push(*event, product),
                None => (Event::Repeated { count: inner, event }, count),
            },
            event => (event, count),
        };
        if count == 0 {
            return;
        }
        if let Some((last, total)) = self.0.last_mut()
            && *last == event
            && let Some(sum) = total.checked_add(count)
        {
            *total = sum;
            return;
        }
        self.0.push((event, count));
    }

    /// The composition of the runs, in canonical form.
    pub(crate) fn into_event(self) -> Event {
        let mut flat = Runs::default();
        for run in self.0 {
            match run {
                (Event::Composed { events }, 1) => events.into_iter().for_each(|event| flat.push(event, 1)),
                (event, count) => flat.push(event, count),
            }
        }
        let mut events: Vec<Event> = flat.0.into_iter().map(|(event, count)| event.repeated(count)).collect();
        match events.pop() {
            Some(only) if events.is_empty() => only,
            Some(last) => {
                events.push(last);
                Event::Composed { events }
            }
            None => Event::nothing(),
        }
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
    fn counts_take_their_canonical_form() {
        let g = gaussian(1.0);
        assert_eq!(g.clone().repeated(0), Event::nothing());
        assert_eq!(g.clone().repeated(1), g);
        assert_eq!(g.clone().repeated(2).repeated(3), g.clone().repeated(6));
        assert_eq!(Event::nothing().repeated(7), Event::nothing());
        let huge = g.clone().repeated(u64::MAX).repeated(2);
        assert!(matches!(huge, Event::Repeated { count: 2, .. }), "an overflowing product must stay nested");
    }

    #[test]
    fn compositions_take_their_canonical_form() {
        let (a, b) = (gaussian(1.0), gaussian(2.0));
        assert_eq!(Event::composed([]), Event::nothing());
        assert_eq!(Event::composed([a.clone()]), a);
        assert_eq!(Event::composed([a.clone(), a.clone(), a.clone()]), a.clone().repeated(3));
        assert_eq!(Event::composed([a.clone().repeated(2), a.clone()]), a.clone().repeated(3));
        let pair = Event::composed([a.clone(), b.clone()]);
        assert_eq!(Event::composed([pair.clone(), pair.clone()]), pair.clone().repeated(2));
        assert_eq!(
            Event::composed([a.clone(), pair]),
            Event::Composed { events: vec![a.clone().repeated(2), b.clone()] }
        );
        assert_eq!(Event::composed([Event::nothing(), a.clone(), Event::nothing()]), a);
    }

    #[test]
    fn json_is_externally_tagged_kebab_case() {
        let event = gaussian(1.1).poisson_sampled(SamplingRate::new(0.01).unwrap()).repeated(3);
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"repeated":{"count":3,"event":{"poisson-sampled":{"sampling_rate":0.01,"event":{"gaussian":{"noise_multiplier":1.1}}}}}}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
