//! Noise over sensitivity beyond the largest number: what has a cost has one.

use dp_accountant::{Event, Rdp, Relation, Sensitivity, Unaccountable, by_name};

use crate::plans::{delta, epsilon, noise, order, rate};

#[test]
fn large_noise() {
    for (z, sensitivity) in [(1e10, 1e-299), (1e300, 1e-300), (1.0, 1e-320)] {
        let whole =
            Event::CorrelatedNoise { noise_multiplier: noise(z), sensitivity: Sensitivity::new(sensitivity).unwrap() };
        for event in [whole.clone(), whole.poisson_sampled(rate(0.1))] {
            for relation in Relation::ALL {
                let divergence = Rdp::new(relation).divergence(&event, order(2.0)).unwrap();
                assert!(divergence > 0.0, "{relation} {event:?}");
                for name in ["analytic", "moments", "pld", "rdp", "auto"] {
                    let accountant = by_name(name, relation).unwrap();
                    match (accountant.delta(&event, epsilon(0.0)), accountant.epsilon(&event, delta(5e-324))) {
                        // The ratio was infinite, and its cost exactly 0. No lower end follows from the largest number.
                        (Ok(some), Ok(least)) => {
                            assert!(some.upper() > 0.0 && some.lower() == 0.0, "{name} {relation} {event:?}: {some:?}");
                            assert!(least.lower() == 0.0, "{name} {relation} {event:?}: {least:?}");
                        }
                        (Err(refusal), _) | (_, Err(refusal)) => assert!(
                            matches!(refusal, Unaccountable::Unsupported { .. } | Unaccountable::Uncertified { .. }),
                            "{name} {relation} {event:?}: {refusal}"
                        ),
                    }
                }
            }
        }
    }
}
