//! One contract, many tenants: every accountant answers every event consistently, or refuses it with a reason.

use dp_accountant::{Accountant, Event, NAMES, Relation, Rho, Unaccountable, by_name};

use crate::plans::{delta, dp_sgd, epsilon, gaussian, noise, rate};

/// A corpus with every kind of event in it.
pub(crate) fn corpus() -> Vec<Event> {
    let pair = Event::composed([gaussian(1.0), gaussian(20.0)]);
    vec![
        Event::nothing(),
        gaussian(1.0),
        gaussian(0.05),
        gaussian(3000.0).repeated(7),
        Event::composed([gaussian(1.0), gaussian(2.0).repeated(30), gaussian(1.0)]),
        gaussian(2.0).poisson_sampled(rate(1.0)).repeated(5),
        dp_sgd(1.1, 0.01, 1000),
        dp_sgd(0.6, 0.3, 3),
        dp_sgd(0.02, 0.1, 2),
        dp_sgd(50.0, 1e-7, 1_000_000_000),
        dp_sgd(5.0, 0.999, 10),
        pair.poisson_sampled(rate(0.02)).repeated(400),
        Event::composed([dp_sgd(1.0, 0.01, 100), gaussian(30.0).repeated(12), dp_sgd(2.0, 0.05, 50)]),
        dp_sgd(1.0, 0.5, 2).poisson_sampled(rate(0.5)),
        Event::composed([gaussian(1.0), Event::non_private("a loss curve")]),
        Event::composed([gaussian(1.0), Event::unsupported("shuffled batches")]),
        gaussian(1.0).repeated(u64::MAX).repeated(3),
        gaussian(1e-160),
    ]
}

pub(crate) fn accountants() -> Vec<Box<dyn Accountant>> {
    let each = |name: &'static str| Relation::ALL.map(|relation| by_name(name, relation).unwrap());
    NAMES.into_iter().flat_map(each).collect()
}

#[test]
fn answers_are_ordered_and_refusals_explain_themselves() {
    let (mut answers, mut refusals, mut uncertified) = (0, 0, 0);
    for accountant in accountants() {
        for event in corpus() {
            for at in [1e-2, 1e-5, 1e-40, 1e-300] {
                match accountant.epsilon(&event, delta(at)) {
                    Ok(bound) => {
                        answers += 1;
                        assert!(0.0 <= bound.lower() && bound.lower() <= bound.estimate(), "{bound:?} {event:?}");
                        assert!(bound.estimate() <= bound.upper(), "{bound:?} {event:?}");
                        assert!(NAMES.contains(&bound.accountant()));
                    }
                    Err(refusal) => {
                        refusals += 1;
                        assert!(refusal.to_string().len() > 30, "a refusal without a reason: {refusal}");
                        assert!(!matches!(refusal, Unaccountable::Contradiction(_)), "{refusal} {event:?}");
                        // What is refused for epsilon is refused for delta, in the same words; only a certificate depends
                        // on the number asked for.
                        if matches!(refusal, Unaccountable::Uncertified { .. }) {
                            uncertified += 1;
                            assert!(["moments", "pld"].contains(&accountant.name()), "{refusal}");
                        } else {
                            assert_eq!(accountant.delta(&event, epsilon(1.0)), Err(refusal));
                        }
                    }
                }
            }
            for at in [0.0, 1e-3, 1.0, 30.0, 1e4, 1e300] {
                if let Ok(bound) = accountant.delta(&event, epsilon(at)) {
                    assert!(0.0 <= bound.lower() && bound.upper() <= 1.0, "{bound:?} {event:?}");
                }
            }
        }
    }
    // Of 18 events nobody accounts for 4, analytic not for the 7 with sampling either; only rdp, and auto with it, has an
    // answer (infinity) for the last one; gdp has no mu for the noise of 0.02, either. Each under 3 relations and at 4
    // deltas. Besides, moments and pld cannot certify everything.
    println!("{answers} answers, {refusals} refusals, of which {uncertified} for want of a certificate");
    assert_eq!(refusals - uncertified, 3 * 4 * (6 * 4 + 7 + 4 + 1));
    assert_eq!(answers, 3 * 4 * 6 * 18 - refusals);
    // 13 events remain for each of the two.
    assert!(uncertified <= 2 * 3 * 4 * 13 / 2, "{uncertified}");
}

#[test]
fn epsilon_and_delta_are_inverse_to_each_other() {
    for accountant in accountants() {
        for event in corpus() {
            let Ok(bound) = accountant.epsilon(&event, delta(1e-5)) else { continue };
            if bound.upper() == 0.0 || !bound.upper().is_finite() {
                continue;
            }
            let back = match accountant.delta(&event, epsilon(bound.upper())) {
                Err(Unaccountable::Uncertified { .. }) => continue,
                answer => answer.unwrap(),
            };
            assert!(back.lower() <= 1e-5 * (1.0 + 1e-9), "{} {bound:?} {back:?} {event:?}", accountant.name());
            // Rounding in epsilon is magnified by the order in delta.
            let slack = 1e-6 + 1e-13 * bound.upper().powi(2);
            assert!(back.upper() <= 1e-5 * (1.0 + slack), "{} {bound:?} {back:?} {event:?}", accountant.name());
        }
    }
}

#[test]
fn auto_says_who_answered() {
    let auto = by_name("auto", Relation::AddRemove).unwrap();
    let answered = |event: Event| auto.epsilon(&event, delta(1e-5)).unwrap().accountant();
    assert_eq!(answered(gaussian(1.0).repeated(5)), "analytic");
    assert_eq!(answered(gaussian(1.0).poisson_sampled(rate(1.0))), "analytic");
    assert_eq!(answered(Event::laplace(noise(2.0))), "analytic");
    assert_eq!(answered(dp_sgd(1.0, 0.1, 5)), "moments");
    assert_eq!(answered(Event::laplace(noise(2.0)).poisson_sampled(rate(0.1)).repeated(5)), "pld");
    assert_eq!(answered(Event::ZeroConcentrated { rho: Rho::new(0.1).unwrap() }), "rdp");
}

#[test]
fn auto_goes_on_after_an_infinite_answer() {
    // Infinity is within a millionth of itself: it passed for a narrow answer, and rdp was not asked.
    let (event, d) = (Event::laplace(noise(2.0)).repeated(2), delta(1e-310));
    let answer = |name: &str| by_name(name, Relation::AddRemove).unwrap().epsilon(&event, d).unwrap();
    assert_eq!(answer("pld").upper(), f64::INFINITY);
    assert!(answer("auto").upper() <= answer("rdp").upper() && answer("rdp").upper() < 1.1, "{:?}", answer("auto"));
}

#[test]
fn analytic_refuses_sampling_and_names_the_way_out() {
    let analytic = by_name("analytic", Relation::AddRemove).unwrap();
    let refusal = analytic.epsilon(&dp_sgd(1.0, 0.1, 5), delta(1e-5)).unwrap_err();
    assert!(refusal.to_string().contains("use accountant auto or rdp"), "{refusal}");
}
