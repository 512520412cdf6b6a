//! What was done to the data, in words a program can read. Nothing here computes a privacy cost.

mod allocation;
mod batches;
mod gaussian_mixture;
mod participation;
mod randomized_response;
mod repetitions;

use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer, Serialize};

use crate::parameters::{Epsilon, NoiseMultiplier, NoiseScale, Probability, Rho, SamplingRate, Sensitivity};

pub use allocation::Allocation;
pub use batches::Batches;
pub use gaussian_mixture::GaussianMixture;
pub use participation::Participation;
pub use randomized_response::RandomizedResponse;
pub use repetitions::Repetitions;

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
    /// A sum of vectors clipped in the L1 norm, plus Laplace noise in every coordinate.
    Laplace {
        /// Scale b of the noise, density e^(-|x|/b)/2b, over the L1 clip norm.
        noise_multiplier: NoiseMultiplier,
    },
    /// An integer plus discrete Gaussian noise, P(x) proportional to e^(-x^2/2 scale^2) (Canonne, Kamath & Steinke 2020).
    DiscreteGaussian {
        /// The parameter sigma, in the units of the integer.
        scale: NoiseScale,
        /// The most that one unit adds to the integer, in absolute value.
        sensitivity: NonZeroU64,
    },
    /// An integer plus discrete Laplace noise, P(x) proportional to e^(-|x|/scale) (Ghosh, Roughgarden & Sundararajan
    /// 2009).
    DiscreteLaplace {
        /// The scale, in the units of the integer.
        scale: NoiseScale,
        /// The most that one unit adds to the integer, in absolute value.
        sensitivity: NonZeroU64,
    },
    /// One of finitely many answers, true or random.
    RandomizedResponse(RandomizedResponse),
    /// Anything that is known to be (epsilon, delta) differentially private under the relation asked about.
    EpsilonDelta {
        /// Its epsilon.
        epsilon: Epsilon,
        /// Its delta; 0 is pure differential privacy.
        delta: Probability,
    },
    /// Anything that is known to be rho-zero-concentrated differentially private under the relation asked about.
    ZeroConcentrated {
        /// Its rho.
        rho: Rho,
    },
    /// The exponential mechanism, or anything else of bounded range epsilon (Dong, Durfee & Rogers 2020), under the
    /// relation asked about.
    ExponentialMechanism {
        /// Its epsilon: scores enter the exponent as epsilon score / (2 sensitivity).
        epsilon: Epsilon,
    },
    /// Gaussian noise on a sum that one unit changes by a random amount.
    GaussianMixture(GaussianMixture),
    /// A clipped sum and the number of clipped records, released together by adaptive clipping (Andrew et al. 2021):
    /// each record counts +1/2 or -1/2.
    AdaptiveClip {
        /// Noise standard deviation of the sum over clip norm.
        noise_multiplier: NoiseMultiplier,
        /// Noise standard deviation of the count.
        count_noise: NoiseScale,
    },
    /// Steps whose noise is correlated by a matrix, without sampling: all of them together are one Gaussian release.
    CorrelatedNoise {
        /// Noise standard deviation over clip norm, before the matrix.
        noise_multiplier: NoiseMultiplier,
        /// L2 sensitivity of all steps together, in clip norms: the largest norm over all participation patterns.
        sensitivity: Sensitivity,
    },
    /// Prefix sums released by binary trees of noisy partial sums (Kairouz et al. 2021), the trees of the binary
    /// representation of the number of steps.
    TreeAggregation {
        /// Noise standard deviation at a node over clip norm.
        noise_multiplier: NoiseMultiplier,
        /// In which steps one unit may take part.
        participation: Participation,
    },
    /// Banded correlated noise over cyclic Poisson samples (Choquette-Choo et al. 2023): the records are split into
    /// `bands` groups, step i samples from group i mod `bands`, and the noise of steps `bands` apart is independent.
    CyclicPoisson {
        /// Probability with which a record of the group in turn is taken.
        sampling_rate: SamplingRate,
        /// Bands of the strategy matrix.
        bands: NonZeroU64,
        /// Steps in all.
        steps: NonZeroU64,
        /// Noise standard deviation over clip norm times the largest column norm of the strategy matrix.
        noise_multiplier: NoiseMultiplier,
    },
    /// The inner event, run on a Poisson sample of the records. A record that is not taken is absent, not null: where a
    /// release is known under zero-out only, sampling is no amplification.
    PoissonSampled {
        /// Probability with which each record is taken, independently.
        sampling_rate: SamplingRate,
        /// What is done with the sample. Several releases in here see the same sample.
        event: Box<Event>,
    },
    /// The inner event, run on a Poisson sample that is cut to a largest size by leaving out records at random.
    TruncatedPoisson {
        /// Probability with which each record is taken, before the cut.
        sampling_rate: SamplingRate,
        /// Records in all, and the largest batch.
        batches: Batches,
        /// What is done with the sample.
        event: Box<Event>,
    },
    /// The inner event, run on a uniformly random batch of fixed size.
    WithoutReplacement {
        /// Records in all, and records in the batch.
        batches: Batches,
        /// What is done with the batch.
        event: Box<Event>,
    },
    /// One pass over shuffled records: the inner event is run on each of `steps` disjoint batches.
    Shuffled {
        /// Batches of the pass.
        steps: NonZeroU64,
        /// What is done with each batch.
        event: Box<Event>,
    },
    /// The inner event, run in each of several steps, where every record takes part in random ones.
    RandomAllocation {
        /// Which steps.
        allocation: Allocation,
        /// What is done in each step.
        event: Box<Event>,
    },
    /// The inner event run a random number of times, of which only the best result is released (Papernot & Steinke 2022).
    RepeatAndSelect {
        /// How often.
        repetitions: Repetitions,
        /// One run.
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

    /// A sum of vectors clipped in the L1 norm, plus Laplace noise.
    #[must_use]
    pub fn laplace(noise_multiplier: NoiseMultiplier) -> Self {
        Self::Laplace { noise_multiplier }
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

    /// This event on a uniformly random batch of fixed size.
    #[must_use]
    pub fn without_replacement(self, batches: Batches) -> Self {
        Self::WithoutReplacement { batches, event: Box::new(self) }
    }

    /// This event on each of `steps` disjoint batches of shuffled records.
    #[must_use]
    pub fn shuffled(self, steps: NonZeroU64) -> Self {
        Self::Shuffled { steps, event: Box::new(self) }
    }

    /// This event in each of several steps, every record taking part in random ones.
    #[must_use]
    pub fn randomly_allocated(self, allocation: Allocation) -> Self {
        Self::RandomAllocation { allocation, event: Box::new(self) }
    }

    /// The variant's name as it stands in JSON, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gaussian { .. } => "gaussian",
            Self::Laplace { .. } => "laplace",
            Self::DiscreteGaussian { .. } => "discrete-gaussian",
            Self::DiscreteLaplace { .. } => "discrete-laplace",
            Self::RandomizedResponse(_) => "randomized-response",
            Self::EpsilonDelta { .. } => "epsilon-delta",
            Self::ZeroConcentrated { .. } => "zero-concentrated",
            Self::ExponentialMechanism { .. } => "exponential-mechanism",
            Self::GaussianMixture(_) => "gaussian-mixture",
            Self::AdaptiveClip { .. } => "adaptive-clip",
            Self::CorrelatedNoise { .. } => "correlated-noise",
            Self::TreeAggregation { .. } => "tree-aggregation",
            Self::CyclicPoisson { .. } => "cyclic-poisson",
            Self::PoissonSampled { .. } => "poisson-sampled",
            Self::TruncatedPoisson { .. } => "truncated-poisson",
            Self::WithoutReplacement { .. } => "without-replacement",
            Self::Shuffled { .. } => "shuffled",
            Self::RandomAllocation { .. } => "random-allocation",
            Self::RepeatAndSelect { .. } => "repeat-and-select",
            Self::Repeated { .. } => "repeated",
            Self::Composed { .. } => "composed",
            Self::NonPrivate { .. } => "non-private",
            Self::Unsupported { .. } => "unsupported",
        }
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
