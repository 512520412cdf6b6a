//! Privacy losses beyond 709, where their exponential is no number any more.

use std::num::NonZeroU64;

use dp_accountant::{
    Accountant, Event, NoiseScale, Probability, RandomizedResponse, Rdp, Relation, Unaccountable, by_name,
};

use crate::plans::{delta, epsilon, noise, order};

fn pure(e: f64) -> Event {
    Event::EpsilonDelta { epsilon: epsilon(e), delta: Probability::new(0.0).unwrap() }
}

fn accountants(relation: Relation) -> impl Iterator<Item = Box<dyn Accountant>> {
    ["analytic", "pld", "rdp", "auto"].into_iter().map(move |name| by_name(name, relation).unwrap())
}

/// Asserts that every accountant that answers is not below `epsilon` at `delta`, nor far above.
fn never_below(relation: Relation, event: &Event, d: f64, want: f64) {
    let mut answers = 0;
    for accountant in accountants(relation) {
        let case = format!("{} {relation} {event:?} at {d}, want {want}", accountant.name());
        match accountant.epsilon(event, delta(d)) {
            Ok(bound) => {
                answers += 1;
                assert!(bound.upper() >= want * (1.0 - 1e-12), "{case}: {bound:?}");
                assert!(bound.upper() <= want * 1.01 && bound.lower() <= want * (1.0 + 1e-12), "{case}: {bound:?}");
            }
            Err(refusal) => assert!(matches!(refusal, Unaccountable::Unsupported { .. }), "{case}: {refusal}"),
        }
        // And the other way round.
        if let Ok(bound) = accountant.delta(event, epsilon(want)) {
            assert!(bound.upper() >= d * (1.0 - 1e-9) && bound.lower() <= d * (1.0 + 1e-9), "{case}: {bound:?}");
        }
    }
    assert!(answers >= 3, "{relation} {event:?}");
}

#[test]
fn large_epsilons() {
    for relation in Relation::ALL {
        // The profile of bounded range 760 is (e^(760/2) - e^(x/2))^2/(e^760 - 1) (mpmath, 60 digits). Masses that
        // underflowed made it 520, and 0.
        let event = Event::ExponentialMechanism { epsilon: epsilon(760.0) };
        never_below(relation, &event, 0.5, 757.544_105_645_401);
        never_below(relation, &event, 0.9, 754.060_521_988_541_8);
        let divergence = Rdp::new(relation).divergence(&event, order(1.001)).unwrap();
        assert!((752.722_229_856..760.000_001).contains(&divergence), "{divergence}");
        // delta = 1 - e^(x - shift) of n such answers together; e^760/e^760 was no number and passed for privacy.
        for n in [1, 2, 5] {
            let shift = 760.0 * n as f64;
            for d in [1e-9_f64, 0.5, 0.9] {
                never_below(relation, &pure(760.0).repeated(n), d, shift + (-d).ln_1p());
            }
        }
    }
    // The same law: discrete Laplace noise of scale 1/760.
    let event = Event::DiscreteLaplace { scale: NoiseScale::new(1.0 / 760.0).unwrap(), sensitivity: NonZeroU64::MIN };
    let answers = ["pld", "rdp", "auto"].map(|name| by_name(name, Relation::AddRemove).unwrap());
    for accountant in answers {
        let bound = accountant.epsilon(&event, delta(0.5)).unwrap();
        assert!(bound.upper() >= 759.306_852_819 && bound.upper() < 761.0, "{bound:?}");
    }
    // Laplace noise, delta = 1 - e^((x - shift)/2).
    let event = Event::laplace(noise(1e-3));
    never_below(Relation::AddRemove, &event, 0.5, 1000.0 - 2.0 * 2_f64.ln());
}

#[test]
fn randomized_response_of_hardly_any_noise() {
    // Replace: delta = 1 - e^x p/4 at p = 1e-320, which has three digits left.
    let p = 1e-320;
    let event = Event::RandomizedResponse(RandomizedResponse::new(Probability::new(p).unwrap(), 4).unwrap());
    for d in [0.5_f64, 0.9] {
        let want = (-d).ln_1p() + 4_f64.ln() - p.ln();
        for accountant in accountants(Relation::Replace) {
            let bound = accountant.epsilon(&event, delta(d)).unwrap();
            assert!(bound.upper() >= want * (1.0 - 1e-3) && bound.lower() <= want * (1.0 + 1e-3), "{bound:?}, {want}");
        }
    }
}
