//! What privacy loss distributions promise: certified from both sides, for every release with a known pair.

mod claims;
mod joint_releases;

use std::num::NonZeroU64;

use dp_accountant::{
    Accountant, Allocation, Analytic, Batches, Bound, Delta, Epsilon, Event, GaussianMixture, NoiseMultiplier,
    NoiseScale, Pld, Probability, RandomizedResponse, Rdp, Relation, Sensitivity, Unaccountable, calibrate,
};
use serde_json::Value;

use crate::plans::{delta, dp_sgd, epsilon, gaussian, noise, rate};
use crate::vectors::{number, plan, rows};

fn whole(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).unwrap()
}

fn pure(e: f64) -> Event {
    approximate(e, 0.0)
}

fn approximate(e: f64, d: f64) -> Event {
    Event::EpsilonDelta { epsilon: epsilon(e), delta: Probability::new(d).unwrap() }
}

fn cost(event: &Event, d: f64) -> Bound {
    Pld::default().epsilon(event, delta(d)).unwrap()
}

/// Asserts that the truth, uncertain by `doubt`, lies in the interval, and that this is no wider than `width`.
fn encloses(bound: Bound, truth: f64, doubt: f64, width: f64, what: &Value) {
    assert!(bound.lower() <= truth + doubt && truth - doubt <= bound.upper(), "{bound:?}, want {truth}: {what}");
    assert!(bound.upper() - bound.lower() <= width, "{bound:?} is wide: {what}");
}

#[test]
fn poisson_gaussian_tight() {
    for row in rows("poisson_gaussian_tight") {
        let relation = if row["neighbouring"] == "replace_one" { Relation::Replace } else { Relation::AddRemove };
        let (e, d) = (number(&row, "epsilon"), number(&row, "delta"));
        if !row["tol_rel"].is_null() || e == 1.0 {
            let doubt = row["tol_rel"].as_f64().map_or_else(|| number(&row, "tol_abs"), |relative| relative * d);
            encloses(Pld::new(relation).delta(&plan(&row), epsilon(e)).unwrap(), d, doubt, 1e-3 * d, &row);
        } else {
            let bound = Pld::new(relation).epsilon(&plan(&row), delta(d)).unwrap();
            let steps = number(&row, "steps");
            let width = if steps > 1e5 { 0.03 } else { 3e-3 };
            encloses(bound, e, number(&row, "tol_abs"), width * e.max(1.0), &row);
        }
    }
}

#[test]
fn poisson_laplace() {
    for row in rows("poisson_laplace") {
        let event = Event::laplace(noise(number(&row, "scale"))).poisson_sampled(rate(number(&row, "q"))).repeated(3);
        encloses(cost(&event, number(&row, "delta")), number(&row, "epsilon"), number(&row, "tol_abs"), 1e-4, &row);
    }
}

#[test]
fn mixtures_and_users_with_several_records() {
    for row in rows("mixture_of_gaussians") {
        let list = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let event = Event::composed(row["events"].as_array().unwrap().iter().map(|part| {
            let sensitivities = list(&part["sens"]).into_iter().map(|s| Sensitivity::new(s).unwrap()).collect();
            let probabilities = list(&part["probs"]).into_iter().map(|p| Probability::new(p).unwrap()).collect();
            let mixture = GaussianMixture::new(noise(number(part, "sigma")), sensitivities, probabilities).unwrap();
            Event::GaussianMixture(mixture).repeated(part["count"].as_u64().unwrap())
        }));
        encloses(cost(&event, number(&row, "delta")), number(&row, "epsilon"), number(&row, "tol_abs"), 1e-3, &row);
    }
    for row in rows("tfp_user_level").iter().filter(|row| row["accountant"].as_str().unwrap().contains("mixture")) {
        let q = number(row, "batch") / number(row, "n");
        let steps = (number(row, "epochs") / q).ceil() as u64;
        let k = row["max_examples_per_user"].as_u64().unwrap();
        let mixture = GaussianMixture::binomial(noise(number(row, "sigma")), rate(q), k).unwrap();
        let bound = cost(&Event::GaussianMixture(mixture).repeated(steps), number(row, "delta"));
        encloses(bound, number(row, "epsilon_poisson"), number(row, "tol_abs"), 1e-3, row);
    }
}

#[test]
fn truncated_poisson() {
    for row in rows("truncated_poisson") {
        let event = Event::composed(row["events"].as_array().unwrap().iter().map(|part| {
            let whole = |key: &str| part[key].as_u64().unwrap();
            let batches = Batches::new(whole("n"), whole("bmax")).unwrap();
            let inner = Box::new(gaussian(number(part, "sigma")));
            Event::TruncatedPoisson { sampling_rate: rate(number(part, "p")), batches, event: inner }
                .repeated(whole("count"))
        }));
        let bound = cost(&event, number(&row, "delta"));
        assert!((bound.upper() - number(&row, "epsilon")).abs() <= number(&row, "tol_abs") + 1e-4, "{bound:?} {row}");
        assert_eq!(bound.lower(), 0.0);
    }
}

#[test]
fn claims_of_others() {
    for row in rows("pure_dp") {
        let event = Event::composed(row["epsilons"].as_array().unwrap().iter().map(|e| pure(e.as_f64().unwrap())));
        // At a delta of nearly 0 nothing less than the sum will do.
        assert!((cost(&event, 1e-12).upper() - number(&row, "epsilon")).abs() < 1e-6, "{row}");
    }
    for row in rows("approx_dp") {
        let pair = |value: &Value| approximate(value[0].as_f64().unwrap(), value[1].as_f64().unwrap());
        let event = Event::composed(row["events"].as_array().unwrap().iter().map(pair));
        let bound = Pld::default().delta(&event, epsilon(number(&row, "epsilon"))).unwrap();
        assert!((bound.upper() - number(&row, "delta")).abs() < 1e-9, "{bound:?} {row}");
        // What is revealed with probability 0.28 has no epsilon at a smaller delta.
        assert_eq!(cost(&event, 0.1).upper(), f64::INFINITY);
    }
}

#[test]
fn calibrated_laplace() {
    for row in rows("calibrate_laplace") {
        let (steps, target) = (row["steps"].as_u64().unwrap(), number(&row, "target_epsilon"));
        let sensitivity = number(&row, "sensitivity");
        let at = delta(number(&row, "delta").max(1e-15));
        let plan = |z: NoiseMultiplier| Event::laplace(z).repeated(steps);
        let answer = calibrate::noise_multiplier(&Pld::default(), plan, epsilon(target), at).unwrap();
        let scale = answer.value.get() * sensitivity;
        assert!(
            answer.bound.upper() <= target && (scale - number(&row, "scale")).abs() <= number(&row, "tol_abs"),
            "{scale} {row}"
        );
    }
}

#[test]
fn fixed_batches_cost_at_least_what_is_published() {
    for row in rows("wor_replace_one_lower_bound") {
        let (q, steps) = (number(&row, "q"), row["steps"].as_u64().unwrap());
        let batches = Batches::new(1_000_000, (q * 1e6).round() as u64).unwrap();
        let event = gaussian(number(&row, "sigma")).without_replacement(batches).repeated(steps);
        let bound = Pld::new(Relation::Replace).epsilon(&event, delta(number(&row, "delta"))).unwrap();
        let least = number(&row, "epsilon_at_least");
        assert!((bound.lower() - least).abs() <= number(&row, "tol_abs") + 0.01 * least, "{bound:?} {row}");
        assert!(bound.upper() >= least - 0.002, "{bound:?} {row}");
    }
    for row in rows("shuffle_lower_bound") {
        let event = gaussian(number(&row, "sigma")).shuffled(whole(row["steps_per_epoch"].as_u64().unwrap()));
        let least = number(&row, "epsilon_at_least");
        for relation in [Relation::ZeroOut, Relation::Replace] {
            let bound = Pld::new(relation).epsilon(&event, delta(number(&row, "delta"))).unwrap();
            assert!(bound.lower() >= least - number(&row, "tol_abs"), "{relation} {bound:?} {row}");
            // No more than the release on known data.
            let known = Analytic::new(relation)
                .epsilon(&gaussian(number(&row, "sigma")), delta(number(&row, "delta")))
                .unwrap();
            assert!(
                bound.upper() <= known.upper() * (1.0 + 1e-5) && bound.upper() >= known.lower(),
                "{bound:?} {known:?}"
            );
        }
    }
}

#[test]
fn statements_of_other_tools() {
    for row in rows("tfp_statement").iter().filter(|row| row["accountant"] == "PLD") {
        let at = number(row, "delta");
        let sampled = dp_sgd(number(row, "sigma"), number(row, "q_example"), row["steps_poisson"].as_u64().unwrap());
        encloses(cost(&sampled, at), number(row, "epsilon_poisson"), number(row, "tol_abs"), 1e-3, row);
        let once = gaussian(number(row, "sigma")).repeated(row["steps_once"].as_u64().unwrap());
        encloses(cost(&once, at), number(row, "epsilon_each_once_per_epoch"), number(row, "tol_abs"), 1e-3, row);
    }
    for row in rows("prv_upper") {
        encloses(
            cost(&plan(&row), number(&row, "delta")),
            number(&row, "epsilon_true"),
            number(&row, "tol_abs"),
            1e-3,
            &row,
        );
    }
    for row in rows("gaussian_composed") {
        let event = gaussian(number(&row, "sigma")).repeated(row["steps"].as_u64().unwrap());
        let bound = Pld::default().delta(&event, epsilon(number(&row, "epsilon"))).unwrap();
        encloses(bound, number(&row, "delta"), number(&row, "tol_abs"), 1e-5, &row);
    }
}

#[test]
fn must_not_fail() {
    for row in rows("must_not_fail") {
        let value = |key: &str| row[key].as_f64();
        let at = delta(value("delta").unwrap_or(1e-5));
        let steps = row["steps"].as_u64().unwrap_or(1);
        if let (Some(q), Some(z), None) = (value("q"), value("sigma"), value("target_epsilon")) {
            let bound = Pld::default().epsilon(&dp_sgd(z, q, steps), at).unwrap();
            let rdp = Rdp::default().epsilon(&dp_sgd(z, q, steps), at).unwrap();
            assert!(bound.lower() > 0.0 && bound.lower() <= rdp.upper(), "{bound:?} {rdp:?} {row}");
            assert!(bound.upper() <= rdp.upper() * 1.001, "{bound:?} {rdp:?} {row}");
        }
    }
}

#[test]
fn gaussian_releases_enclose_the_closed_form() {
    for relation in [Relation::AddRemove, Relation::Replace] {
        for (z, d) in [(0.3, 1e-5), (1.0, 1e-12), (20.0, 1e-3), (500.0, 1e-6), (1.0, 0.3), (3.0, 1e-100)] {
            let exact = Analytic::new(relation).epsilon(&gaussian(z), delta(d)).unwrap();
            let bound = Pld::new(relation).epsilon(&gaussian(z), delta(d)).unwrap();
            assert!(bound.lower() <= exact.upper() && exact.lower() <= bound.upper(), "{bound:?} {exact:?}");
            assert!(bound.upper() - bound.lower() <= 1e-5 * exact.upper().max(1.0), "{bound:?}");
        }
    }
}

#[test]
fn more_of_anything_costs_more() {
    let least = |event: Event| {
        let bound = cost(&event, 1e-6);
        (bound.lower(), bound.upper())
    };
    let laplace = |z: f64, n: u64| Event::laplace(noise(z)).repeated(n);
    for (less, more) in [
        (dp_sgd(1.0, 0.01, 10), dp_sgd(1.0, 0.01, 12)),
        (dp_sgd(1.0, 0.01, 10), dp_sgd(1.0, 0.012, 10)),
        (dp_sgd(1.0, 0.01, 10), dp_sgd(0.95, 0.01, 10)),
        (laplace(5.0, 10), laplace(5.0, 11)),
        (laplace(5.0, 10), Event::composed([laplace(5.0, 10), gaussian(20.0)])),
    ] {
        assert!(least(less.clone()).1 < least(more.clone()).0, "{less:?} {more:?}");
    }
}

#[test]
fn discrete_releases_have_their_closed_forms() {
    // Discrete Laplace of scale s, sensitivity 1: randomized response with losses +-1/s, delta = (1 - e^(eps - 1/s))/(1 + r),
    // r = e^(-1/s).
    let event = Event::DiscreteLaplace { scale: NoiseScale::new(2.0).unwrap(), sensitivity: whole(1) };
    let bound = Pld::default().delta(&event, epsilon(0.2)).unwrap();
    let want = -(0.2_f64 - 0.5).exp_m1() / (1.0 + (-0.5_f64).exp());
    assert!((bound.lower() / want - 1.0).abs() < 1e-8 && (bound.upper() / want - 1.0).abs() < 1e-8, "{bound:?} {want}");
    // A wide discrete Gaussian is nearly the continuous one.
    let discrete = Event::DiscreteGaussian { scale: NoiseScale::new(50.0).unwrap(), sensitivity: whole(5) };
    let (a, b) = (cost(&discrete, 1e-6), cost(&gaussian(10.0), 1e-6));
    assert!((a.upper() / b.upper() - 1.0).abs() < 1e-3 && a.upper() - a.lower() < 1e-6, "{a:?} {b:?}");
    // Randomized response over 4 answers, half of them random: replace compares 5/8 with 1/8, zero-out 5/8 with 1/4.
    let event = Event::RandomizedResponse(RandomizedResponse::new(Probability::new(0.5).unwrap(), 4).unwrap());
    for (relation, p, q) in [(Relation::Replace, 0.625, 0.125), (Relation::ZeroOut, 0.625, 0.25)] {
        let bound = Pld::new(relation).delta(&event, epsilon(0.5)).unwrap();
        let want = p - 0.5_f64.exp() * q;
        assert!((bound.lower() - want).abs() < 1e-8 && (bound.upper() - want).abs() < 1e-8, "{bound:?} {want}");
    }
    assert!(matches!(Pld::default().epsilon(&event, delta(1e-5)), Err(Unaccountable::Unsupported { .. })));
}

#[test]
fn bounded_range_costs_less_than_its_pure_epsilon() {
    let (n, e) = (50, 0.1);
    let ranged = cost(&Event::ExponentialMechanism { epsilon: epsilon(e) }.repeated(n), 1e-6).upper();
    let boxed = cost(&pure(e).repeated(n), 1e-6).upper();
    assert!(ranged < 0.75 * boxed && ranged > 0.4 * boxed, "{ranged} {boxed}");
    // One release: (e^(e/2) - e^(x/2))^2/(e^e - 1).
    let bound = Pld::default().delta(&Event::ExponentialMechanism { epsilon: epsilon(1.0) }, epsilon(0.3)).unwrap();
    let want = (0.5_f64.exp() - 0.15_f64.exp()).powi(2) / 1_f64.exp_m1();
    assert!((bound.upper() / want - 1.0).abs() < 1e-5, "{bound:?} {want}");
}

#[test]
fn a_distribution_is_kept_composed_and_asked_again() {
    let (a, b) = (dp_sgd(1.0, 0.05, 20), Event::laplace(noise(10.0)).repeated(3));
    let pld = Pld::default();
    let (kept_a, kept_b) = (pld.distribution(&a, delta(1e-6)).unwrap(), pld.distribution(&b, delta(1e-6)).unwrap());
    let text = serde_json::to_string(&kept_a).unwrap();
    let read: dp_accountant::PrivacyLossDistribution = serde_json::from_str(&text).unwrap();
    assert_eq!(read, kept_a);
    let (direct, again) = (cost(&a, 1e-6), read.epsilon(Delta::new(1e-6).unwrap()).unwrap());
    assert!(
        (direct.upper() - again.upper()).abs() < 2e-6 && (direct.lower() - again.lower()).abs() < 2e-5,
        "{direct:?} {again:?}"
    );
    let both = read.compose(&kept_b).unwrap().self_compose(2).unwrap();
    let (direct, again) = (cost(&Event::composed([a, b]).repeated(2), 1e-6), both.epsilon(delta(1e-6)).unwrap());
    assert!(again.lower() <= direct.upper() && direct.lower() <= again.upper(), "{direct:?} {again:?}");
    assert!(again.upper() - again.lower() < 2e-3, "{again:?}");
    let back = both.delta(Epsilon::new(again.upper()).unwrap()).unwrap();
    assert!(back.lower() <= 1e-6 && back.upper() > 0.9e-6, "{back:?}");
    // A file that has lost mass, or that another relation wrote, is refused.
    let spoilt = text.replacen("\"masses\":[", "\"masses\":[-", 1);
    assert!(
        serde_json::from_str::<dp_accountant::PrivacyLossDistribution>(&spoilt)
            .unwrap_err()
            .to_string()
            .contains("mass")
    );
    let piece = |points: &str| {
        format!(
            r#"{{"count":1,"step":1.0,"offset":0.0,"points":{points},"masses":[0.1192,0.8808],"infinite":0.0,"doubt":0.0}}"#
        )
    };
    let file = |upper: &str, lower: &str| {
        let text = format!(r#"{{"version":1,"relation":"replace","ways":[{{"upper":[{upper}],"lower":[{lower}]}}]}}"#);
        serde_json::from_str::<dp_accountant::PrivacyLossDistribution>(&text)
    };
    let one_sided = file("", &piece("[-1,1]")).unwrap_err().to_string();
    assert!(one_sided.contains("without an upper one"), "{one_sided}");
    assert!(file(&piece("[-1,1]"), "").unwrap().epsilon(delta(1e-5)).unwrap().upper() > 0.9);
    // Losses of 2^47: epsilon was 0.
    let far = file(&piece("[-140737488355328,140737488355328]"), "").unwrap();
    assert!(far.epsilon(delta(1e-5)).is_err() || far.epsilon(delta(1e-5)).unwrap().upper() > 1.4e14);
    let other = Pld::new(Relation::ZeroOut).distribution(&gaussian(3.0), delta(1e-6)).unwrap();
    assert!(read.compose(&other).is_err());
}

#[test]
fn random_allocation() {
    // The published intervals are at most 8e-3 wide; ours lie inside.
    for row in rows("random_allocation") {
        let whole = |name: &str| row[name].as_u64().unwrap();
        let allocation = Allocation::new(whole("steps_per_epoch"), whole("k")).unwrap();
        let event = gaussian(number(&row, "sigma")).randomly_allocated(allocation).repeated(whole("epochs"));
        let bound = cost(&event, number(&row, "delta"));
        assert!(bound.lower() >= number(&row, "epsilon_lower"), "{bound:?}: {row}");
        assert!(bound.upper() <= number(&row, "epsilon_upper"), "{bound:?}: {row}");
        assert!(bound.upper() - bound.lower() <= 1e-4, "{bound:?}: {row}");
    }
    // What is not resolved costs what a known step costs, and nothing is claimed from below.
    let event = gaussian(0.01).randomly_allocated(Allocation::new(10, 1).unwrap());
    let (bound, known) = (cost(&event, 1e-5), Analytic::default().epsilon(&gaussian(0.01), delta(1e-5)).unwrap());
    assert!(bound.lower() == 0.0 && (bound.upper() / known.upper() - 1.0).abs() < 1e-3, "{bound:?} {known:?}");
    let refusal = Pld::new(Relation::Replace).epsilon(&event, delta(1e-5)).unwrap_err();
    assert!(refusal.to_string().contains("ask for add-remove or zero-out"), "{refusal}");
}
