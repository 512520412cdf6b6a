//! What a distributed run promises: checks R13, R15 and R16 of the reproduction suite, and what is refused.

use dp_accountant::calibrate::{self, Calibrated};
use dp_accountant::{Accountant, Analytic, Auto, Delta, Epsilon, Event, NoiseMultiplier, Relation, SamplingRate};
use dpsgd::distributed::guarantee::{
    Clipping, Memories, Neighbour, Noise, Promise, Terms, Unit, true_epsilon_of_papers_formula,
};
use dpsgd::distributed::uplink::Trust;
use std::num::NonZeroU32;

fn z(noise_multiplier: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(noise_multiplier).unwrap()
}

fn rate(rate: f64) -> Option<SamplingRate> {
    Some(SamplingRate::new(rate).unwrap())
}

fn epsilon(epsilon: f64) -> Epsilon {
    Epsilon::new(epsilon).unwrap()
}

fn delta(delta: f64) -> Delta {
    Delta::new(delta).unwrap()
}

/// Clip21 with noise of every node, a thousand rounds, against a client's absence.
fn local() -> Terms {
    Terms {
        unit: Unit::Client,
        neighbour: Neighbour::Absent,
        clipping: Clipping::Messages,
        noise: Noise::Nodes(z(2.0)),
        trust: Trust::Local,
        memories: Memories::Public,
        record_sampling: None,
        client_sampling: None,
        releases: 1000,
    }
}

/// The same with noise on the sum.
fn central() -> Terms {
    Terms { noise: Noise::Aggregator(z(2.0)), trust: Trust::Central, ..local() }
}

/// Examples clipped inside nodes, which is DP-SGD at every node.
fn records() -> Terms {
    Terms { unit: Unit::Record, clipping: Clipping::Examples, record_sampling: rate(0.01), ..local() }
}

fn shares(missing: u32) -> Noise {
    Noise::Shares { noise_multiplier: z(2.0), nodes: 100, missing }
}

fn promise(terms: Terms) -> Promise {
    terms.promise().unwrap()
}

/// The noise multiplier with which a run of these terms meets epsilon 8 at delta 1e-5.
fn calibrated(terms: impl Fn(NoiseMultiplier) -> Terms) -> f64 {
    let relation = promise(terms(z(1.0))).relation();
    let plan = |z| promise(terms(z)).event().clone();
    let Calibrated { value, .. } =
        calibrate::noise_multiplier(&Analytic::new(relation), plan, epsilon(8.0), delta(1e-5)).unwrap();
    value.get()
}

#[test]
fn r13_the_gaussian_curve() {
    let table = [(1.0, [0.2681, 0.3537, 0.3884]), (3.0, [0.7191, 0.8978, 0.9641]), (8.0, [1.6660, 1.9765, 2.0833])];
    for (nominal, mus) in table {
        for (d, mu) in [1e-5, 4e-4, 1e-3].into_iter().zip(mus) {
            let accountant = Analytic::new(Relation::AddRemove);
            let found = calibrate::noise_multiplier(&accountant, Event::gaussian, epsilon(nominal), delta(d)).unwrap();
            let found = 1.0 / found.value.get();
            assert!((found - mu).abs() < 1e-4, "{found} and not {mu} at epsilon {nominal}, delta {d}");
        }
    }
}

#[test]
fn r13_the_papers_noise_is_worth_less_than_they_say() {
    // Nominal epsilon, and the true one for D = t and D = 2t at delta 1e-5, 4e-4 and 1e-3.
    let table = [
        (0.1, [(0.09, 0.19), (0.07, 0.16), (0.06, 0.14)]),
        (1.0, [(1.11, 2.40), (1.01, 2.28), (0.98, 2.24)]),
        (3.0, [(3.80, 8.60), (3.72, 8.90), (3.70, 9.03)]),
        (8.0, [(12.27, 30.52), (13.02, 34.75), (13.35, 36.54)]),
        (18.0, [(35.96, 100.70), (41.48, 125.09), (43.79, 135.23)]),
        (23.0, [(51.11, 148.85), (60.54, 189.45), (64.48, 206.33)]),
        (27.0, [(64.80, 193.63), (78.09, 250.15), (83.64, 273.63)]),
    ];
    for (nominal, worth) in table {
        for (d, (absent, replaced)) in [1e-5, 4e-4, 1e-3].into_iter().zip(worth) {
            // Whatever T is.
            for rounds in [1, 1000, u32::MAX] {
                let rounds = NonZeroU32::new(rounds).unwrap();
                let found = true_epsilon_of_papers_formula(epsilon(nominal), delta(d), rounds).unwrap();
                for (found, expected) in [(found.absent, absent), (found.replaced, replaced)] {
                    let near = |found: f64| (found - expected).abs() < 0.01;
                    assert!(near(found.upper()) && near(found.lower()), "{found:?}, not {expected}, at {nominal}, {d}");
                }
            }
        }
    }
    // A nominal epsilon without a meaning has no answer, and a huge one has.
    let rounds = NonZeroU32::new(1000).unwrap();
    assert!(true_epsilon_of_papers_formula(epsilon(0.0), delta(1e-5), rounds).is_err());
    assert!(true_epsilon_of_papers_formula(epsilon(1e6), delta(1e-5), rounds).unwrap().absent.lower() > 1e10);
}

#[test]
fn r15_sampled_records_are_refused_where_a_memory_carries_them_on() {
    let terms = Terms { unit: Unit::Record, record_sampling: rate(0.01), ..local() };
    let error = terms.clone().promise().unwrap_err();
    assert!(error.is_refusal());
    let reason = error.to_string();
    assert!(reason.contains("the memory carries a record into later messages"), "{reason}");
    // The ways out that it names are open.
    assert!(Terms { clipping: Clipping::Examples, ..terms.clone() }.promise().is_ok());
    assert!(Terms { record_sampling: None, ..terms.clone() }.promise().is_ok());
    assert!(Terms { unit: Unit::Client, record_sampling: None, ..terms }.promise().is_ok());
}

#[test]
fn r16_how_much_noise_a_thousand_rounds_need() {
    let near = |found: f64, expected: f64, tolerance: f64| {
        assert!((found - expected).abs() < tolerance, "{found} and not {expected}");
    };
    let at_nodes = |terms: Terms| calibrated(|z| Terms { noise: Noise::Nodes(z), ..terms.clone() });
    let on_sum = |terms: Terms| calibrated(|z| Terms { noise: Noise::Aggregator(z), ..terms.clone() });
    let replaced = |terms: Terms| Terms { neighbour: Neighbour::Replaced, ..terms };
    // With t = 1 and n = 100.
    near(at_nodes(local()), 18.98, 0.005);
    near(at_nodes(replaced(local())), 37.96, 0.005);
    near(at_nodes(Terms { unit: Unit::Record, ..local() }), 37.96, 0.005);
    near(on_sum(central()) / 100.0, 0.1898, 0.00005);
    near(on_sum(replaced(central())) / 100.0, 0.3796, 0.00005);
    let in_shares = |z| {
        let noise = Noise::Shares { noise_multiplier: z, nodes: 100, missing: 0 };
        Terms { noise, trust: Trust::Central, ..local() }
    };
    near(calibrated(in_shares) / 100_f64.sqrt(), 1.898, 0.0005);
    let papers = true_epsilon_of_papers_formula(epsilon(8.0), delta(1e-5), NonZeroU32::new(1000).unwrap()).unwrap();
    near(papers.noise_multiplier.get(), 13.41, 0.005);
    // The theorem's noise, constants left out, is more than enough.
    let theorem = (1000.0 * (1000.0 / 1e-5_f64).ln() * (1.0 / 1e-5_f64).ln()).sqrt() / 8.0;
    near(theorem, 57.56, 0.005);
    let run = promise(replaced(Terms { noise: Noise::Nodes(z(theorem)), ..local() }));
    assert!(Analytic::new(run.relation()).epsilon(run.event(), delta(1e-5)).unwrap().upper() < 8.0);
}

#[test]
fn what_a_run_costs() {
    let gaussian = Event::gaussian(z(2.0)).repeated(1000);
    let sampled = |q| Event::gaussian(z(2.0)).poisson_sampled(SamplingRate::new(q).unwrap()).repeated(1000);
    let replaced = |terms: Terms| Terms { neighbour: Neighbour::Replaced, ..terms };
    for (terms, event, relation) in [
        (local(), gaussian.clone(), Relation::ZeroOut),
        (replaced(local()), gaussian.clone(), Relation::Replace),
        // A record can do what a client can, there or not.
        (Terms { unit: Unit::Record, ..local() }, gaussian.clone(), Relation::Replace),
        (Terms { unit: Unit::Record, ..central() }, gaussian.clone(), Relation::Replace),
        (central(), gaussian.clone(), Relation::AddRemove),
        (replaced(central()), gaussian.clone(), Relation::Replace),
        (Terms { client_sampling: rate(0.1), ..central() }, sampled(0.1), Relation::AddRemove),
        (Terms { noise: shares(0), ..central() }, gaussian.clone(), Relation::ZeroOut),
        (records(), sampled(0.01), Relation::AddRemove),
        (replaced(records()), sampled(0.01), Relation::Replace),
        (Terms { record_sampling: None, ..records() }, gaussian.clone(), Relation::AddRemove),
        (Terms { releases: 0, ..local() }, Event::nothing(), Relation::ZeroOut),
    ] {
        let promise = promise(terms.clone());
        assert_eq!((promise.event(), promise.relation()), (&event, relation), "{terms:?}");
        // And it can be asked for.
        assert!(Auto::new(relation).epsilon(promise.event(), delta(1e-5)).is_ok(), "{terms:?}");
    }
}

#[test]
fn shares_that_are_missing_hide_nothing() {
    let counted = |missing| match promise(Terms { noise: shares(missing), releases: 1, ..central() }).event() {
        Event::Gaussian { noise_multiplier } => noise_multiplier.get(),
        other => panic!("{other:?}"),
    };
    assert_eq!(counted(0), 2.0);
    // 36 of 100 variances: no more than 0.6 of the deviation.
    assert!((1.2 - counted(64)).abs() < 1e-14 && counted(64) <= 1.2, "{}", counted(64));
    for missing in [100, u32::MAX] {
        assert!(Terms { noise: shares(missing), ..central() }.promise().is_err());
    }
    let none = Noise::Shares { noise_multiplier: z(1.0), nodes: 0, missing: 0 };
    assert!(Terms { noise: none, ..central() }.promise().is_err());
}

#[test]
fn what_does_not_hold_together_is_refused_with_its_reason_and_a_way_out() {
    let coins = || Terms { client_sampling: rate(0.1), ..central() };
    for (terms, reason) in [
        (Terms { noise: Noise::None, ..local() }, "without noise nothing is promised"),
        (Terms { memories: Memories::OfData, ..local() }, "start them at 0"),
        (Terms { memories: Memories::OfData, ..records() }, "start them at 0"),
        (Terms { noise: shares(0), ..local() }, "a server that sees single messages"),
        (Terms { trust: Trust::Local, ..central() }, "a server that sees single messages"),
        (Terms { unit: Unit::Client, record_sampling: None, ..records() }, "take the unit record"),
        (Terms { noise: Noise::Aggregator(z(2.0)), trust: Trust::Central, ..records() }, "inside the node"),
        (Terms { record_sampling: rate(0.01), ..local() }, "amplifies nothing for a client"),
        (Terms { unit: Unit::Record, record_sampling: rate(0.01), ..central() }, "the memory carries a record"),
        (Terms { client_sampling: rate(0.1), ..local() }, "they tell who takes part"),
        (Terms { unit: Unit::Record, ..coins() }, "the unit client alone"),
        (Terms { client_sampling: rate(0.1), trust: Trust::Central, ..records() }, "the unit client alone"),
        (Terms { noise: shares(0), ..coins() }, "noise drawn once for the sum"),
        (Terms { noise: Noise::Nodes(z(2.0)), ..coins() }, "noise drawn once for the sum"),
        (Terms { neighbour: Neighbour::Replaced, ..coins() }, "the neighbour absent"),
        (Terms { noise: shares(100), ..central() }, "fewer missing nodes"),
    ] {
        let error = terms.clone().promise().unwrap_err();
        assert!(error.is_refusal(), "{terms:?}");
        assert!(error.to_string().contains(reason) && error.to_string().contains("; "), "{error}: {terms:?}");
    }
}

#[test]
fn a_promise_says_in_words_what_it_is() {
    let said = |terms: Terms, label: &str| {
        let rows = promise(terms).rows();
        rows.into_iter().find(|(found, _)| *found == label).unwrap().1
    };
    let record = || Terms { unit: Unit::Record, ..local() };
    for (terms, label, words) in [
        (record(), "unit", "one record"),
        (record(), "sensitivity", "2t: a record that is not clipped by itself"),
        (record(), "neighbour", "asked for under replace"),
        (record(), "trust", "nobody"),
        (record(), "amplification", "none"),
        (local(), "sensitivity", "t: a message"),
        (local(), "neighbour", "sends noise alone; asked for under zero-out"),
        (local(), "noise", "every node, to its own message: standard deviation 2 t"),
        (Terms { neighbour: Neighbour::Replaced, ..local() }, "sensitivity", "2t: another message"),
        (central(), "trust", "not against the server"),
        (central(), "noise", "whoever adds up"),
        (Terms { client_sampling: rate(0.25), ..central() }, "amplification", "rate 0.25"),
        (Terms { noise: shares(3), ..central() }, "noise", "1/100 of the variance"),
        (Terms { noise: shares(3), ..central() }, "noise", "3 shares may be missing"),
        (records(), "unit", "the largest of all nodes"),
        (records(), "sensitivity", "C: a record"),
        (Terms { neighbour: Neighbour::Replaced, ..records() }, "sensitivity", "2C: another"),
        (records(), "noise", "to the sum of its clipped examples: standard deviation 2 C"),
        (records(), "releases", "1000 of a node"),
    ] {
        let found = said(terms, label);
        assert!(found.contains(words), "{label}: {found}");
    }
    assert_eq!(promise(local()).to_string().lines().count(), promise(local()).rows().len());
}

#[test]
fn terms_read_back() {
    for terms in [local(), central(), records(), Terms { noise: shares(3), ..central() }] {
        let json = serde_json::to_string(&terms).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&json).unwrap(), terms, "{json}");
    }
}
