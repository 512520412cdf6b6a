//! Claims about a release, and randomized response, on a Poisson sample.

use dp_accountant::{Accountant, Event, Pld, Probability, RandomizedResponse, Rdp, Relation, Unaccountable};

use super::{approximate, pure};
use crate::plans::{delta, epsilon, gaussian, rate};

fn ranged(e: f64) -> Event {
    Event::ExponentialMechanism { epsilon: epsilon(e) }
}

fn response() -> Event {
    Event::RandomizedResponse(RandomizedResponse::new(Probability::new(0.5).unwrap(), 4).unwrap())
}

/// Outcomes as their probabilities under P and under Q.
type Pair = Vec<(f64, f64)>;

/// The same on a Poisson sample: P has the unit and Q has not.
fn sampled(q: f64, pair: &Pair) -> Pair {
    pair.iter().map(|(p, null)| (q * p + (1.0 - q) * null, *null)).collect()
}

fn product(a: &Pair, b: &Pair) -> Pair {
    a.iter().flat_map(|(p, q)| b.iter().map(move |(r, s)| (p * r, q * s))).collect()
}

/// delta of removing and of adding.
fn deltas(pair: &Pair, epsilon: f64) -> [f64; 2] {
    let one = |f: &dyn Fn(&(f64, f64)) -> f64| pair.iter().map(f).map(|x| x.max(0.0)).sum::<f64>();
    [one(&|(p, q)| p - epsilon.exp() * q), one(&|(p, q)| q - epsilon.exp() * p)]
}

/// Reveals everything with probability d, and is randomized response of e otherwise.
fn revealing(e: f64, d: f64) -> Pair {
    let high = 1.0 / (1.0 + (-e).exp());
    vec![(d, 0.0), ((1.0 - d) * high, (1.0 - d) * (1.0 - high)), ((1.0 - d) * (1.0 - high), (1.0 - d) * high), (0.0, d)]
}

/// Losses t and t - e.
fn two_points(e: f64, t: f64) -> Pair {
    let q = (-t).exp_m1().abs() / (-e).exp_m1().abs();
    let high = 1.0 - q;
    vec![(high * t.exp(), high), (q * (t - e).exp(), q)]
}

#[test]
fn claims_on_a_sample_cover_the_worst_that_they_allow_in_both_directions() {
    let places = [0.0, 0.05, 0.2, 0.5, 0.9, 1.3, 2.0, 3.0];
    for (e, d) in [(0.1, 0.0), (1.0, 0.0), (1.0, 1e-3), (3.0, 0.05)] {
        for q in [0.01, 0.3, 0.9] {
            let one = sampled(q, &revealing(e, d));
            for (n, truth) in [(1, one.clone()), (3, product(&product(&one, &one), &one))] {
                let event = approximate(e, d).poisson_sampled(rate(q)).repeated(n);
                for at in places {
                    let bound = Pld::default().delta(&event, epsilon(at)).unwrap();
                    let [remove, add] = deltas(&truth, at);
                    let want = remove.max(add);
                    let case = format!("({e}, {d}) {q} {n} times at {at}: {bound:?}, want {remove} and {add}");
                    assert!(bound.upper() >= want - 1e-14 && bound.upper() <= want + 1e-6, "{case}");
                    // A claim says nothing from below.
                    assert_eq!(bound.lower(), 0.0, "{case}");
                }
            }
        }
    }
    for e in [0.2, 1.0, 3.0] {
        for q in [0.01, 0.3, 0.9] {
            let shifts = (1..20).map(|k| e * f64::from(k) / 20.0);
            let pairs: Vec<Pair> = shifts.map(|t| sampled(q, &two_points(e, t))).collect();
            for at in places {
                let bounds = [1, 2].map(|n| {
                    Pld::default().delta(&ranged(e).poisson_sampled(rate(q)).repeated(n), epsilon(at)).unwrap()
                });
                let mut largest = [0.0_f64; 2];
                for first in &pairs {
                    let [remove, add] = deltas(first, at);
                    largest[0] = largest[0].max(remove).max(add);
                    for second in &pairs {
                        let [remove, add] = deltas(&product(first, second), at);
                        largest[1] = largest[1].max(remove).max(add);
                    }
                }
                for (bound, want) in bounds.into_iter().zip(largest) {
                    assert!(bound.upper() >= want - 1e-14 && bound.lower() == 0.0, "{e} {q} {at}: {bound:?}, {want}");
                    assert!(bound.upper() <= 2.0 * want + 1e-3, "{e} {q} {at}: {bound:?}, want {want}");
                }
            }
        }
    }
}

#[test]
fn claims_on_a_sample_are_refused_where_the_unit_is_not_missing() {
    // They were amplified as if a null unit were none: what is not in the sample is absent, and they say nothing of that.
    for event in [pure(1.0), approximate(1.0, 1e-6), ranged(1.0), response()] {
        let among = Event::composed([gaussian(1.0), event.clone().poisson_sampled(rate(0.1))]);
        for sampled in [event.clone().poisson_sampled(rate(0.1)), among.repeated(3)] {
            for relation in [Relation::ZeroOut, Relation::Replace] {
                let refusal = Pld::new(relation).epsilon(&sampled, delta(1e-5)).unwrap_err();
                assert!(matches!(refusal, Unaccountable::Unsupported { .. }), "{relation} {sampled:?}: {refusal}");
                assert!(refusal.to_string().contains("add-remove"), "{relation} {sampled:?}: {refusal}");
            }
        }
        // Where a missing unit answers as no other does, a sample of rate q has q times the delta, and that is all that
        // Renyi divergences claim. A rate of 1 is no sampling, and answered.
        let rdp = Rdp::new(Relation::ZeroOut);
        let [part, whole] = [0.1, 1.0].map(|q| event.clone().poisson_sampled(rate(q)));
        for d in [2e-6, 1e-3, 0.01] {
            let at = |event: &Event, d: f64| rdp.epsilon(event, delta(d)).unwrap();
            let (got, least) = (at(&part, d).upper(), at(&event, d / 0.1).lower());
            assert!(got >= least && got <= at(&event, d).upper(), "{event:?} {d}: {got}, at least {least}");
            assert!(least > 0.0 || matches!(event, Event::ExponentialMechanism { .. }), "{event:?} {d}");
            assert_eq!(at(&whole, d), at(&event, d));
        }
        assert!(Pld::new(Relation::ZeroOut).epsilon(&whole, delta(1e-5)).is_ok(), "{event:?}");
    }
    // Without a unit there is no answer to randomize.
    let refusal = Pld::default().epsilon(&response().poisson_sampled(rate(0.1)), delta(1e-5)).unwrap_err();
    assert!(refusal.to_string().contains("ask for zero-out or replace"), "{refusal}");
}
