//! The laws: bounds bracket closed forms, counts multiply, more of anything costs more, nothing ever fails.

use dp_accountant::{Accountant, Analytic, Auto, Event, Ledger, Moments, Rdp, Relation, Unaccountable};
use proptest::prelude::*;

use crate::contract::{accountants, corpus};
use crate::plans::{delta, dp_sgd, epsilon, gaussian, order, rate};

#[test]
fn law_4_lower_is_below_the_closed_form_and_below_every_upper() {
    for relation in Relation::ALL {
        let (analytic, rdp) = (Analytic::new(relation), Rdp::new(relation));
        for event in corpus() {
            for at in [1e-3, 1e-8, 1e-100] {
                let (Ok(exact), Ok(bound)) = (analytic.epsilon(&event, delta(at)), rdp.epsilon(&event, delta(at)))
                else {
                    continue;
                };
                assert!(exact.lower() <= bound.upper(), "{exact:?} {bound:?} {event:?}");
                assert!(bound.lower() <= exact.upper(), "{exact:?} {bound:?} {event:?}");
                assert!(exact.upper() <= bound.upper(), "the exact value is the smaller one: {exact:?} {bound:?}");
                assert!(exact.upper() - exact.lower() <= 1e-11 * exact.upper(), "{exact:?} {event:?}");
            }
        }
    }
}

#[test]
fn law_4_the_contour_meets_the_closed_form_and_stays_between_the_others() {
    let (mut exact, mut sampled) = (0, 0);
    for relation in Relation::ALL {
        let others: [&dyn Accountant; 2] = [&Analytic::new(relation), &Rdp::new(relation)];
        for event in corpus() {
            for at in [1e-3, 1e-8, 1e-100] {
                let Ok(fine) = Moments::new(relation).epsilon(&event, delta(at)) else { continue };
                for (other, count) in others.iter().zip([&mut exact, &mut sampled]) {
                    let Ok(bound) = other.epsilon(&event, delta(at)) else { continue };
                    assert!(
                        fine.lower() <= bound.upper() && bound.lower() <= fine.upper(),
                        "{fine:?} {bound:?} {event:?}"
                    );
                    *count += 1;
                }
            }
        }
    }
    assert!(exact >= 40 && sampled >= 70, "{exact} {sampled}");
}

#[test]
fn law_5_n_equal_events_cost_the_same_as_one_of_count_n() {
    for accountant in accountants() {
        for event in corpus() {
            let list = Event::Composed { events: vec![event.clone(); 6] };
            let nested = Event::Repeated {
                count: 2,
                event: Box::new(Event::Repeated { count: 3, event: Box::new(event.clone()) }),
            };
            let counted = event.repeated(6);
            let cost = |event: &Event| accountant.epsilon(event, delta(1e-5));
            assert_eq!(cost(&list), cost(&counted), "{counted:?}");
            assert_eq!(cost(&nested), cost(&counted), "{counted:?}");
        }
    }
}

#[test]
fn the_order_of_a_composition_changes_no_bit() {
    // A schedule in which no two steps are alike.
    let steps: Vec<Event> = (0..300).map(|k| dp_sgd(1.0 + 0.01 * f64::from(k * 7 % 300), 0.01, 1)).collect();
    let forward = Event::composed(steps.iter().cloned());
    let backward = Event::composed(steps.iter().rev().cloned());
    assert_ne!(forward, backward);
    for accountant in accountants() {
        assert_eq!(accountant.epsilon(&forward, delta(1e-5)), accountant.epsilon(&backward, delta(1e-5)));
    }
}

#[test]
fn a_count_multiplies_the_divergence() {
    let rdp = Rdp::default();
    let one = rdp.divergence(&dp_sgd(1.0, 0.01, 1), order(8.0)).unwrap();
    let many = rdp.divergence(&dp_sgd(1.0, 0.01, 1_000_000), order(8.0)).unwrap();
    assert!((many / one / 1e6 - 1.0).abs() < 1e-12);
}

#[test]
fn a_ledger_is_the_composition_of_what_was_recorded() {
    let step = Event::composed([dp_sgd(1.0, 0.01, 1), gaussian(20.0)]);
    for event in corpus().into_iter().chain([step.clone()]) {
        let mut ledger = Ledger::new();
        (0..5).for_each(|_| ledger.record(event.clone()));
        assert_eq!(ledger.event(), event.clone().repeated(5), "n records are one event of count n");
    }
    let mut ledger = Ledger::new();
    corpus().into_iter().for_each(|event| ledger.record(event));
    assert_eq!(ledger.event(), Event::composed(corpus()));
    let mut ledger = Ledger::new();
    (0..1000).for_each(|_| ledger.record(step.clone()));
    assert_eq!((ledger.steps(), ledger.event()), (1000, step.repeated(1000)));
}

#[test]
fn one_sample_for_several_releases_is_one_release_of_their_joint_precision() {
    let joint = gaussian(4.0).repeated(4).poisson_sampled(rate(0.01)).repeated(100);
    let single = dp_sgd(2.0, 0.01, 100);
    let cost = |event: &Event| Rdp::default().epsilon(event, delta(1e-6)).unwrap().upper();
    assert!((cost(&joint) / cost(&single) - 1.0).abs() < 1e-12);
    let exact = |event: &Event| Moments::default().epsilon(event, delta(1e-6)).unwrap();
    assert!((exact(&joint).upper() - exact(&single).upper()).abs() < 1e-10);
    assert!(exact(&joint).lower() <= exact(&single).lower(), "what was rounded widens the interval");
    assert!(cost(&joint) >= cost(&single), "the joint noise is rounded down");
}

#[test]
fn replace_costs_more_than_add_remove_and_zero_out_the_same() {
    let event = dp_sgd(1.0, 0.01, 500);
    let cost = |relation| Rdp::new(relation).epsilon(&event, delta(1e-5)).unwrap();
    assert_eq!(cost(Relation::ZeroOut), cost(Relation::AddRemove));
    assert!(cost(Relation::Replace).upper() > cost(Relation::AddRemove).upper());
}

/// Positive numbers from `from` to `to`, uniform in the logarithm.
fn spread(from: f64, to: f64) -> impl Strategy<Value = f64> {
    (from.ln()..to.ln()).prop_map(f64::exp)
}

proptest! {
    /// Any valid input has an answer: ordered, not NaN, without a panic.
    #[test]
    fn every_valid_input_has_an_answer(
        z in prop_oneof![3 => spread(1e-2, 1e4), 1 => spread(1e-290, 1e290)],
        q in spread(1e-12, 1.0),
        steps in spread(1.0, 1e15),
        d in spread(1e-300, 0.999),
        e in spread(1e-6, 1e6),
        a in spread(1e-9, 1e9),
        relation in prop::sample::select(Relation::ALL.to_vec()),
    ) {
        let event = dp_sgd(z, q, steps as u64);
        let rdp = Rdp::new(relation);
        let bound = rdp.epsilon(&event, delta(d)).unwrap();
        prop_assert!(bound.lower() <= bound.upper());
        let bound = rdp.delta(&event, epsilon(e)).unwrap();
        prop_assert!(bound.lower() <= bound.upper() && bound.upper() <= 1.0);
        let divergence = rdp.divergence(&event, order(1.0 + a)).unwrap();
        prop_assert!(divergence > 0.0);
        // The closed form answers too, or says that the noise is beyond all numbers.
        if let Ok(bound) = Analytic::new(relation).epsilon(&gaussian(z).repeated(steps as u64), delta(d)) {
            prop_assert!(bound.upper() - bound.lower() <= 1e-9 * bound.upper() || bound.upper() < 1e-6, "{:?}", bound);
        } else {
            prop_assert!(z < 1e-130);
        }
    }

    /// More steps, more sampling, less noise, a smaller delta: never a smaller epsilon. The tolerance is that of the
    /// search for the order, and far below any effect.
    #[test]
    fn epsilon_is_monotone(
        z in spread(0.3, 50.0),
        q in spread(1e-5, 0.5),
        steps in 1_u64..100_000,
        d in spread(1e-12, 1e-2),
        relation in prop::sample::select(Relation::ALL.to_vec()),
    ) {
        let cost = |z: f64, q: f64, steps: u64, d: f64| {
            Rdp::new(relation).epsilon(&dp_sgd(z, q, steps), delta(d)).unwrap()
        };
        let here = cost(z, q, steps, d);
        for more in [
            cost(z * 0.99, q, steps, d),
            cost(z, q * 1.01, steps, d),
            cost(z, q, steps + 1 + steps / 100, d),
            cost(z, q, steps, d * 0.9),
        ] {
            prop_assert!(more.upper() >= here.upper() * (1.0 - 1e-9), "{:?} {:?}", here, more);
            prop_assert!(more.lower() >= here.lower() * (1.0 - 1e-9), "{:?} {:?}", here, more);
        }
    }

    /// A free order is at least as good as any fixed one, and every order is valid: above the exact lower bound.
    #[test]
    fn the_best_order_is_best(z in spread(0.3, 50.0), q in spread(1e-5, 0.9), steps in 1_u64..10_000, a in spread(1e-3, 1e3)) {
        let (rdp, event, at) = (Rdp::default(), dp_sgd(z, q, steps), delta(1e-6));
        let best = rdp.epsilon(&event, at).unwrap();
        let fixed = rdp.epsilon_at(&event, order(1.0 + a), at).unwrap();
        prop_assert!(best.upper() <= fixed * (1.0 + 1e-9), "{} against {fixed} at {a}", best.upper());
        prop_assert!(best.lower() <= fixed);
    }

    /// Sampling never costs more than not sampling.
    #[test]
    fn sampling_only_helps(z in spread(0.2, 50.0), q in spread(1e-6, 0.9999), a in spread(1e-4, 1e3)) {
        for relation in Relation::ALL {
            let rdp = Rdp::new(relation);
            let sampled = rdp.divergence(&dp_sgd(z, q, 1), order(1.0 + a)).unwrap();
            let plain = rdp.divergence(&gaussian(z), order(1.0 + a)).unwrap();
            prop_assert!(sampled <= plain * (1.0 + 1e-10), "{relation}: {sampled} against {plain}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The contour's interval and those of the others always meet, and it is monotone: more steps, more sampling, less
    /// noise or a smaller delta never cost less.
    #[test]
    fn the_contour_agrees_with_renyi_and_is_monotone(
        z in spread(0.4, 100.0),
        q in spread(1e-4, 0.9),
        steps in spread(1.0, 1e8),
        d in spread(1e-60, 1e-2),
        relation in prop::sample::select(Relation::ALL.to_vec()),
    ) {
        let moments = Moments::new(relation);
        let cost = |z: f64, q: f64, steps: u64, d: f64| match moments.epsilon(&dp_sgd(z, q, steps), delta(d)) {
            Err(Unaccountable::Uncertified { .. }) => None,
            answer => Some(answer.unwrap()),
        };
        let steps = steps as u64;
        if let Some(here) = cost(z, q, steps, d) {
            let rdp = Rdp::new(relation).epsilon(&dp_sgd(z, q, steps), delta(d)).unwrap();
            prop_assert!(here.lower() <= rdp.upper() && rdp.lower() <= here.upper(), "{:?} {:?}", here, rdp);
            let auto = Auto::new(relation).epsilon(&dp_sgd(z, q, steps), delta(d)).unwrap();
            prop_assert!(auto.upper() >= here.lower() && auto.lower() <= here.upper(), "{:?} {:?}", here, auto);
            for more in [
                cost(z * 0.99, q, steps, d),
                cost(z, q * 1.01, steps, d),
                cost(z, q, steps + 1 + steps / 100, d),
                cost(z, q, steps, d * 0.9),
            ].into_iter().flatten() {
                // Intervals can only contradict monotony where one ends before the other begins.
                prop_assert!(more.upper() >= here.lower(), "{:?} {:?}", here, more);
            }
            // The same pair asked the other way round, which places the contour elsewhere: delta is at least d at the lower
            // end and at most d at the upper one, to the last bit.
            let event = dp_sgd(z, q, steps);
            if here.upper() > 0.0 && let Ok(back) = moments.delta(&event, epsilon(here.upper())) {
                prop_assert!(back.lower() <= d, "{:?} {:?}", here, back);
            }
            if here.lower() > 0.0 && let Ok(back) = moments.delta(&event, epsilon(here.lower())) {
                prop_assert!(back.upper() >= d, "{:?} {:?}", here, back);
            }
        }
    }

    /// Any valid input has an answer or a refusal: ordered, not NaN, without a panic.
    #[test]
    fn the_contour_answers_or_says_that_it_cannot(
        z in prop_oneof![3 => spread(1e-2, 1e4), 1 => spread(1e-290, 1e290)],
        q in spread(1e-12, 1.0),
        steps in spread(1.0, 1e15),
        d in spread(1e-300, 0.999),
        e in spread(1e-6, 1e6),
        relation in prop::sample::select(Relation::ALL.to_vec()),
    ) {
        let (moments, event) = (Moments::new(relation), dp_sgd(z, q, steps as u64));
        let answers = [moments.epsilon(&event, delta(d)), moments.delta(&event, epsilon(e))];
        prop_assert!(answers[1].as_ref().map_or(0.0, |bound| bound.upper()) <= 1.0, "{:?}", answers);
        for answer in answers {
            match answer {
                Ok(bound) => prop_assert!(bound.lower() <= bound.upper() && bound.upper().is_finite()),
                Err(refusal) => prop_assert!(matches!(refusal, Unaccountable::Uncertified { .. }), "{}", refusal),
            }
        }
    }
}

#[test]
fn a_search_whose_pieces_leak_nothing_at_this_delta_ends() {
    // Hardly any outcome matters here: what is left of the composition below any loss has a negative epsilon at this delta.
    let event = dp_sgd(2_295_903_469_105.844_7, 2.154_394_592_858_408_6e-11, 499_957);
    let answer = Moments::new(Relation::Replace).epsilon(&event, delta(3.086e-95));
    assert!(matches!(answer, Ok(_) | Err(Unaccountable::Uncertified { .. })), "{answer:?}");
}
