//! One row for each kind of event: written, read back, and answered or refused by every accountant.

use std::num::NonZeroU64;

use dp_accountant::{
    Allocation, Batches, Delta, Epsilon, Event, GaussianMixture, NAMES, NoiseMultiplier, NoiseScale, Participation,
    Probability, RandomizedResponse, Relation, Repetitions, Rho, SamplingRate, Sensitivity, Unaccountable, by_name,
};

fn count(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).unwrap()
}

fn z(value: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(value).unwrap()
}

fn scale(value: f64) -> NoiseScale {
    NoiseScale::new(value).unwrap()
}

fn rate(value: f64) -> SamplingRate {
    SamplingRate::new(value).unwrap()
}

/// An event of every kind but the two that never have an answer.
pub(crate) fn every_kind() -> Vec<Event> {
    let epsilon = Epsilon::new(0.5).unwrap();
    vec![
        Event::gaussian(z(2.0)),
        Event::laplace(z(1.5)),
        Event::DiscreteGaussian { scale: scale(3.0), sensitivity: count(2) },
        Event::DiscreteLaplace { scale: scale(2.0), sensitivity: count(1) },
        Event::RandomizedResponse(RandomizedResponse::new(Probability::new(0.5).unwrap(), 4).unwrap()),
        Event::EpsilonDelta { epsilon, delta: Probability::new(0.0).unwrap() },
        Event::EpsilonDelta { epsilon, delta: Probability::new(1e-9).unwrap() },
        Event::ZeroConcentrated { rho: Rho::new(0.1).unwrap() },
        Event::ExponentialMechanism { epsilon },
        Event::GaussianMixture(GaussianMixture::binomial(z(2.0), rate(0.1), 3).unwrap()),
        Event::AdaptiveClip { noise_multiplier: z(1.0), count_noise: scale(10.0) },
        Event::CorrelatedNoise { noise_multiplier: z(3.0), sensitivity: Sensitivity::new(2.0).unwrap() },
        Event::TreeAggregation { noise_multiplier: z(8.0), participation: Participation::new(100, 2, 30).unwrap() },
        Event::CyclicPoisson { sampling_rate: rate(0.1), bands: count(4), steps: count(50), noise_multiplier: z(1.0) },
        Event::gaussian(z(1.0)).poisson_sampled(rate(0.1)),
        Event::laplace(z(1.0)).poisson_sampled(rate(0.1)),
        Event::TruncatedPoisson {
            sampling_rate: rate(0.1),
            batches: Batches::new(100, 15).unwrap(),
            event: Box::new(Event::gaussian(z(1.0))),
        },
        Event::gaussian(z(2.0)).without_replacement(Batches::new(100, 10).unwrap()),
        Event::gaussian(z(2.0)).shuffled(count(10)),
        Event::gaussian(z(1.0)).randomly_allocated(Allocation::new(20, 1).unwrap()),
        Event::RepeatAndSelect {
            repetitions: Repetitions::negative_binomial(1.0, 0.1).unwrap(),
            event: Box::new(Event::gaussian(z(5.0))),
        },
        Event::gaussian(z(3.0)).repeated(7),
        Event::composed([Event::gaussian(z(3.0)), Event::laplace(z(5.0))]),
    ]
}

#[test]
fn every_event_reads_back() {
    for event in every_kind() {
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.contains(event.kind()), "{text} does not name {}", event.kind());
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}

#[test]
fn every_event_is_answered_or_refused_by_name() {
    let (delta, epsilon) = (Delta::new(1e-5).unwrap(), Epsilon::new(1.0).unwrap());
    for name in NAMES {
        for relation in Relation::ALL {
            let accountant = by_name(name, relation).unwrap();
            for event in every_kind() {
                for answer in [accountant.epsilon(&event, delta), accountant.delta(&event, epsilon)] {
                    match answer {
                        Ok(bound) => assert!(bound.lower() <= bound.upper(), "{name} {relation} {event:?}"),
                        Err(Unaccountable::Unsupported { reason, .. }) => assert!(!reason.is_empty()),
                        Err(Unaccountable::Uncertified { .. }) => {}
                        Err(other) => panic!("{name} {relation} {event:?}: {other}"),
                    }
                }
            }
        }
    }
}
