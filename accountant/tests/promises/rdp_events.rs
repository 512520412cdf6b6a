//! The divergences of every kind of event against sums straight from the definition.

mod samples;
mod selection;

use std::num::NonZeroU64;

use dp_accountant::{
    Accountant, Batches, Delta, Epsilon, Event, GaussianMixture, NoiseMultiplier, NoiseScale, Probability,
    RandomizedResponse, Rdp, Relation, Repetitions, Rho, Sensitivity, Unaccountable,
};

use crate::plans::{delta, dp_sgd, epsilon, gaussian, noise, order, rate};
use crate::vectors::{number, rows};

const ORDERS: [f64; 8] = [1.000_1, 1.5, 2.0, 2.6, 3.0, 7.0, 16.0, 40.5];

fn laplace(b: f64) -> Event {
    Event::laplace(noise(b))
}

fn pure(e: f64) -> Event {
    Event::EpsilonDelta { epsilon: epsilon(e), delta: Probability::new(0.0).unwrap() }
}

fn approximate(e: f64, d: f64) -> Event {
    Event::EpsilonDelta { epsilon: epsilon(e), delta: Probability::new(d).unwrap() }
}

fn response(p: f64, k: u64) -> Event {
    Event::RandomizedResponse(RandomizedResponse::new(Probability::new(p).unwrap(), k).unwrap())
}

fn divergence(relation: Relation, event: &Event, at: f64) -> f64 {
    Rdp::new(relation).divergence(event, order(at)).unwrap()
}

/// The Renyi divergence of two finite distributions.
fn exact(p: &[f64], q: &[f64], at: f64) -> f64 {
    p.iter().zip(q).map(|(p, q)| (at * p.ln() + (1.0 - at) * q.ln()).exp()).sum::<f64>().ln() / (at - 1.0)
}

fn larger(p: &[f64], q: &[f64], at: f64) -> f64 {
    exact(p, q, at).max(exact(q, p, at))
}

fn mix(share: f64, p: &[f64], q: &[f64]) -> Vec<f64> {
    p.iter().zip(q).map(|(p, q)| share * p + (1.0 - share) * q).collect()
}

/// Answers with the true one first, of k.
fn answers(p: f64, k: usize, truth: usize) -> Vec<f64> {
    (0..k).map(|answer| p / k as f64 + if answer == truth { 1.0 - p } else { 0.0 }).collect()
}

#[test]
fn randomized_response_is_its_own_sum() {
    for (p, k) in [(0.3, 10), (0.01, 3), (0.9, 2), (1.0, 5)] {
        let (uniform, one, two) = (vec![1.0 / k as f64; k], answers(p, k, 0), answers(p, k, 1));
        for at in ORDERS {
            for (relation, want) in
                [(Relation::ZeroOut, larger(&one, &uniform, at)), (Relation::Replace, exact(&one, &two, at))]
            {
                let got = divergence(relation, &response(p, k as u64), at);
                // Near order 1 the sum straight from the definition loses digits.
                assert!(
                    (got - want).abs() <= 1e-11 * want + 1e-11,
                    "{relation} ({p}, {k}) at {at}: {got}, want {want}"
                );
            }
        }
    }
}

#[test]
fn discrete_gaussians_are_met_at_whole_orders_and_covered_between() {
    for (scale, units) in [(3.0, 2), (0.7, 1), (1.0, 3)] {
        let mut between = 0;
        for at in [2.0, 3.0, 9.0, 1.3, 2.5, 8.7] {
            // Sums of e^{-x^2/2s^2}, relative to the largest term.
            let density = |x: f64| -0.5 * (x / scale).powi(2);
            let total: f64 = (-200..=200).map(|x| density(f64::from(x)).exp()).sum();
            let shift = f64::from(units);
            let logs: Vec<f64> =
                (-200..=200).map(|x| at * density(f64::from(x) - shift) + (1.0 - at) * density(f64::from(x))).collect();
            let peak = logs.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = logs.iter().map(|log| (log - peak).exp()).sum();
            let want = (peak + sum.ln() - total.ln()) / (at - 1.0);
            let event = Event::DiscreteGaussian {
                scale: NoiseScale::new(scale).unwrap(),
                sensitivity: NonZeroU64::new(units as u64).unwrap(),
            };
            let got = divergence(Relation::AddRemove, &event, at);
            if at.fract() == 0.0 {
                assert!((got / want - 1.0).abs() < 1e-12, "({scale}, {units}) at {at}: {got}, want {want}");
            } else {
                assert!(got >= want * (1.0 - 1e-12), "({scale}, {units}) at {at}: {got} below {want}");
                between += u32::from(got > want * (1.0 + 1e-9));
            }
            assert!((divergence(Relation::Replace, &event, at) / got / 4.0 - 1.0).abs() < 1e-12);
        }
        println!("{between} of 3 real orders strictly below the bound");
    }
}

#[test]
fn laplace_noise_doubles_its_sensitivity_under_replace() {
    for at in ORDERS {
        let (one, half) =
            (divergence(Relation::Replace, &laplace(2.0), at), divergence(Relation::ZeroOut, &laplace(1.0), at));
        assert!((one / half - 1.0).abs() < 1e-14, "{one} {half}");
        let units = |n: u64| Event::DiscreteLaplace {
            scale: NoiseScale::new(2.0).unwrap(),
            sensitivity: NonZeroU64::new(n).unwrap(),
        };
        let (one, two) = (divergence(Relation::Replace, &units(1), at), divergence(Relation::AddRemove, &units(2), at));
        assert_eq!(one, two);
    }
}

#[test]
fn the_bounds_for_sampled_laplace_and_mixtures_are_near_the_published_truth() {
    for row in rows("poisson_laplace") {
        let steps = row["steps"].as_u64().unwrap();
        let event = laplace(number(&row, "scale")).poisson_sampled(rate(number(&row, "q"))).repeated(steps);
        let got = Rdp::default().epsilon(&event, delta(number(&row, "delta"))).unwrap().upper();
        let want = number(&row, "epsilon");
        assert!(got >= want - number(&row, "tol_abs") && got < 1.02 * want, "{got} {row}");
    }
    for row in rows("mixture_of_gaussians") {
        let parts = row["events"].as_array().unwrap().iter().map(|part| {
            let list =
                |key: &str| part[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
            let mixture = GaussianMixture::new(
                NoiseMultiplier::new(number(part, "sigma")).unwrap(),
                list("sens").into_iter().map(|s| Sensitivity::new(s).unwrap()).collect(),
                list("probs").into_iter().map(|p| Probability::new(p).unwrap()).collect(),
            );
            Event::GaussianMixture(mixture.unwrap()).repeated(part["count"].as_u64().unwrap())
        });
        let got = Rdp::default().epsilon(&Event::composed(parts), delta(number(&row, "delta"))).unwrap().upper();
        let want = number(&row, "epsilon");
        assert!(got >= want && got < 1.1 * want, "{got} {row}");
    }
}

#[test]
fn what_is_revealed_with_probability_delta_comes_off_the_target() {
    let rdp = Rdp::default();
    // Ten releases of delta 1e-7 reveal everything with probability 1 - (1 - 1e-7)^10, just under 1e-6.
    let event = approximate(0.1, 1e-7).repeated(10);
    let (tight, wide) = (rdp.epsilon(&event, delta(1.000_01e-6)).unwrap(), rdp.epsilon(&event, delta(1e-3)).unwrap());
    let bare = rdp.epsilon(&pure(0.1).repeated(10), delta(1e-3)).unwrap();
    assert!(tight.upper() > wide.upper() && wide.upper() > bare.upper() && wide.upper() < 1.001 * bare.upper());
    assert!(tight.upper() <= 1.0 + 1e-12, "pure privacy composes to their sum at worst");
    let refusal = rdp.epsilon(&event, delta(9e-7)).unwrap_err();
    assert!(refusal.to_string().contains("larger delta"), "{refusal}");
    assert!(rdp.delta(&event, epsilon(5.0)).unwrap().upper() >= 9.999e-7);
    assert_eq!(rdp.divergence(&event, order(2.0)).unwrap(), f64::INFINITY);
    // A sample takes part in what is revealed.
    let sampled = approximate(0.1, 1e-7).poisson_sampled(rate(0.1)).repeated(10);
    assert!(rdp.epsilon(&sampled, delta(1.01e-7)).is_ok() && rdp.epsilon(&sampled, delta(0.99e-7)).is_err());
    // One release of (epsilon, delta) at this very epsilon.
    let all = rdp.delta(&approximate(0.0, 0.25), epsilon(1.0)).unwrap().upper();
    assert!((0.25..0.250_001).contains(&all), "{all}");
}

#[test]
fn compositions_are_never_below_their_exact_profile() {
    // n questions of epsilon e: a binomial number of true answers. With a delta each, everything may be revealed.
    for (n, e, d) in [(20, 0.3, 0.0), (3, 2.0, 0.0), (200, 0.05, 1e-6), (1, 1.0, 1e-3)] {
        let event = approximate(e, d).repeated(n);
        let ln_true = -f64::ln_1p((-e).exp());
        for target in [0.1, 0.5, 1.0, 2.0, 4.0] {
            let (mut ln_binomial, mut rest) = (0.0, 0.0);
            for k in 0..=n {
                let (k, n) = (k as f64, n as f64);
                // k true answers: probability under P, and the loss (2k - n) e.
                let ln_p = ln_binomial + n * ln_true - (n - k) * e;
                rest += ln_p.exp() * -(target - (2.0 * k - n) * e).min(0.0).exp_m1();
                ln_binomial += ((n - k) / (k + 1.0)).ln();
            }
            let revealed = -(n as f64 * f64::ln_1p(-d)).exp_m1();
            let exact = revealed + (1.0 - revealed) * rest;
            let bound = Rdp::default().delta(&event, epsilon(target)).unwrap();
            assert!(bound.upper() >= exact * (1.0 - 1e-9), "({n}, {e}, {d}) at {target}: {bound:?}, exact {exact}");
            assert!(bound.upper() <= 12.0 * exact + 1e-9, "({n}, {e}, {d}) at {target}: {bound:?}, exact {exact}");
        }
    }
}

#[test]
fn counts_multiply_and_parts_add() {
    let parts = [
        laplace(3.0),
        response(0.5, 4),
        pure(0.3),
        Event::ZeroConcentrated { rho: Rho::new(0.05).unwrap() },
        Event::ExponentialMechanism { epsilon: epsilon(0.7) },
        laplace(1.0).poisson_sampled(rate(0.1)),
        Event::composed([gaussian(4.0), laplace(2.0)]).poisson_sampled(rate(0.05)),
        gaussian(3.0).shuffled(NonZeroU64::new(10).unwrap()),
        gaussian(9.0),
        dp_sgd(1.0, 0.02, 5),
    ];
    let at = 6.5;
    let mut sum = 0.0;
    for (k, part) in parts.iter().enumerate() {
        let one = divergence(Relation::ZeroOut, part, at);
        let many = divergence(Relation::ZeroOut, &part.clone().repeated(k as u64 + 1), at);
        assert!((many / one / (k as f64 + 1.0) - 1.0).abs() < 1e-12, "{part:?}: {one} {many}");
        sum += many;
    }
    let plan = Event::composed(parts.iter().enumerate().map(|(k, part)| part.clone().repeated(k as u64 + 1)));
    let all = divergence(Relation::ZeroOut, &plan, at);
    assert!((all / sum - 1.0).abs() < 1e-12, "{all} {sum}");
}

#[test]
fn small_releases_find_their_order() {
    // Hardly any noise needed: pure privacy bounds every composition from above by its sum.
    for (event, most) in [
        (pure(1e-4).repeated(3), 3e-4),
        (laplace(1e5), 1e-5),
        (laplace(1e3).poisson_sampled(rate(1e-3)), 1.01e-6),
        (Event::ExponentialMechanism { epsilon: Epsilon::new(1e-3).unwrap() }, 1e-3),
    ] {
        for d in [1e-5, 1e-300] {
            let got = Rdp::default().epsilon(&event, Delta::new(d).unwrap()).unwrap().upper();
            assert!(got <= most * 1.001, "{event:?} at {d}: {got}, at most {most}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_way_out() {
    let batches = Batches::new(100, 10).unwrap();
    let mixture = GaussianMixture::binomial(noise(1.0), rate(0.1), 2).unwrap();
    let poisson = |inner: Event| Event::RepeatAndSelect {
        repetitions: Repetitions::poisson(2.0).unwrap(),
        event: Box::new(inner),
    };
    for (relation, event, word) in [
        (Relation::AddRemove, response(0.5, 2), "zero-out or replace"),
        (Relation::Replace, Event::GaussianMixture(mixture), "add-remove or zero-out"),
        (Relation::AddRemove, gaussian(1.0).without_replacement(batches), "replace"),
        (Relation::ZeroOut, gaussian(1.0).without_replacement(batches), "replace"),
        (Relation::Replace, approximate(1.0, 1e-9).without_replacement(batches), "delta of its own"),
        (Relation::AddRemove, gaussian(1.0).shuffled(NonZeroU64::new(4).unwrap()), "zero-out or replace"),
        (Relation::AddRemove, poisson(approximate(1.0, 1e-9)), "delta of its own"),
        (Relation::AddRemove, poisson(poisson(pure(0.1))), ""),
        (Relation::Replace, response(0.5, 2).poisson_sampled(rate(0.1)).poisson_sampled(rate(0.1)), ""),
    ] {
        let answer = Rdp::new(relation).epsilon(&Event::composed([gaussian(5.0), event.clone()]), delta(1e-5));
        match answer {
            Err(Unaccountable::Unsupported { reason, .. }) => {
                assert!(!word.is_empty() && reason.contains(word), "{event:?}: {reason}");
            }
            Ok(_) => assert!(word.is_empty(), "{relation} {event:?} is answered"),
            Err(other) => panic!("{event:?}: {other}"),
        }
    }
}
