//! Users with several records.

use dp_accountant::group::{self, Ungrouped};
use dp_accountant::{
    Accountant, Allocation, Analytic, Event, NoiseScale, Participation, Rdp, Relation, Rho, Sensitivity,
};

use super::{probability, size};
use crate::plans::{delta, dp_accounting_orders, dp_sgd, epsilon, gaussian, noise, rate};
use crate::vectors::{number, rows};

#[test]
fn user_level_vectors() {
    for row in rows("tfp_user_level") {
        let (sigma, k) = (number(&row, "sigma"), size(row["max_examples_per_user"].as_u64().unwrap()));
        let (n, batch, epochs) = (number(&row, "n"), number(&row, "batch"), number(&row, "epochs"));
        let q = batch / n;
        let plan = dp_sgd(sigma, q, (epochs * n / batch).ceil() as u64);
        let once = gaussian(sigma).repeated(epochs as u64);
        if row["accountant"].as_str().unwrap().starts_with("RDP") {
            let rdp = Rdp::with_orders(Relation::AddRemove, dp_accounting_orders());
            // What that tool does where each example occurs once per epoch is no lemma: it divides the noise by the group.
            let each = group::event(&once, Relation::AddRemove, k).unwrap();
            let at = delta(number(&row, "delta"));
            let bound = rdp.epsilon(&each, at).unwrap();
            let want = number(&row, "epsilon_each_once_per_epoch");
            assert!((bound.upper() - want).abs() <= number(&row, "tol_abs"), "{bound:?} {row}");
            let lemma = group::by_lemma(&rdp, &once, k, at).unwrap();
            assert!(lemma.upper() > 1.4 * want, "{lemma:?}");
            // For Poisson samples it uses the lemma.
            let bound = group::by_lemma(&rdp, &plan, k, at).unwrap();
            println!("{bound:?} {row}");
            assert!(
                (bound.upper() - number(&row, "epsilon_poisson")).abs() <= number(&row, "tol_abs"),
                "{bound:?} {row}"
            );
            // Real orders can only do better.
            let free = group::by_lemma(&Rdp::default(), &plan, k, at).unwrap();
            assert!(free.upper() <= bound.upper(), "{free:?} {bound:?}");
        } else {
            // Two examples of each user: the exact event.
            let grouped = group::event(&plan, Relation::AddRemove, k).unwrap();
            let Event::Repeated { count, event } = grouped else { panic!("{grouped:?}") };
            let Event::GaussianMixture(mixture) = *event else { panic!("{event:?}") };
            let parts: Vec<(f64, f64)> = mixture.parts().collect();
            let want = [(0.0, (1.0 - q) * (1.0 - q)), (1.0, 2.0 * q * (1.0 - q)), (2.0, q * q)];
            for ((s, p), (want_s, want_p)) in parts.iter().zip(want) {
                assert!(*s == want_s && (p / want_p - 1.0).abs() < 1e-9, "{parts:?}");
            }
            assert_eq!((count, parts.len(), mixture.noise_multiplier()), (782, 3, noise(sigma)));
            let each = group::event(&once, Relation::AddRemove, k).unwrap();
            let bound = Analytic::default().epsilon(&each, delta(number(&row, "delta"))).unwrap();
            let want = number(&row, "epsilon_each_once_per_epoch");
            assert!((bound.upper() - want).abs() <= number(&row, "tol_abs"), "{bound:?} {row}");
        }
    }
}

#[test]
fn the_lemma_is_looser_than_the_exact_event_and_grows_with_the_group() {
    let (event, d) = (gaussian(4.0).repeated(3), delta(1e-6));
    let mut last = 0.0;
    for k in 1..=6 {
        let exact = group::event(&event, Relation::AddRemove, size(k)).unwrap();
        let exact = Analytic::default().epsilon(&exact, d).unwrap();
        let lemma = group::by_lemma(&Analytic::default(), &event, size(k), d).unwrap();
        assert!(lemma.upper() >= exact.lower() && lemma.upper() >= last, "{k}: {lemma:?} {exact:?}");
        assert!(lemma.lower() <= exact.upper(), "{k}: {lemma:?} {exact:?}");
        last = lemma.upper();
        // And the other way round: delta at that epsilon.
        let back = group::delta_by_lemma(&Analytic::default(), &event, size(k), epsilon(lemma.upper())).unwrap();
        assert!(back.upper() <= d.get() * (1.0 + 1e-4) && back.upper() > 0.99 * d.get(), "{k}: {back:?}");
    }
    // No exponential of the group's epsilon is ever formed.
    let loud = group::by_lemma(&Analytic::default(), &gaussian(0.4), size(5), d).unwrap();
    assert!(loud.upper().is_finite() && loud.upper() > 200.0, "{loud:?}");
    assert_eq!(
        group::delta_by_lemma(&Analytic::default(), &gaussian(1e-3), size(9), epsilon(1.0)).unwrap().upper(),
        1.0
    );
    let refusal = group::by_lemma(&Analytic::default(), &gaussian(1e-3), size(10_000), d).unwrap_err();
    assert!(refusal.to_string().contains("1e-300"), "{refusal}");
}

#[test]
fn groups_scale_what_they_change() {
    let k = size(3);
    let of = |event: &Event, relation| group::event(event, relation, k);
    let add = Relation::AddRemove;
    assert_eq!(of(&gaussian(3.0), add).unwrap(), gaussian(1.0_f64.next_down()));
    assert_eq!(group::event(&gaussian(3.0), add, size(1)).unwrap(), gaussian(3.0));
    let discrete = |sensitivity| Event::DiscreteLaplace { scale: NoiseScale::new(2.0).unwrap(), sensitivity };
    assert_eq!(of(&discrete(size(2)), add).unwrap(), discrete(size(6)));
    let correlated =
        Event::CorrelatedNoise { noise_multiplier: noise(6.0), sensitivity: Sensitivity::new(2.0).unwrap() };
    let tree =
        Event::TreeAggregation { noise_multiplier: noise(9.0), participation: Participation::new(8, 1, 0).unwrap() };
    for (event, alone) in [(correlated, gaussian(1.0)), (tree, gaussian(1.5))] {
        let cost = |event: &Event| Analytic::default().epsilon(event, delta(1e-5)).unwrap().estimate();
        let (got, want) = (cost(&of(&event, add).unwrap()), cost(&alone));
        assert!((got / want - 1.0).abs() < 1e-9, "{event:?}: {got}, want {want}");
    }
    let rho = |rho| Event::ZeroConcentrated { rho: Rho::new(rho).unwrap() };
    let Event::ZeroConcentrated { rho: grown } = of(&rho(0.5), add).unwrap() else { panic!() };
    assert!(grown.get() >= 4.5 && grown.get() < 4.5 + 1e-14);
    // Sampling is kept where all are sampled, and nested compositions part by part.
    let whole = gaussian(6.0).poisson_sampled(rate(1.0)).repeated(4);
    assert_eq!(of(&whole, add).unwrap(), gaussian(2.0_f64.next_down()).poisson_sampled(rate(1.0)).repeated(4));
    for (event, relation) in [
        (dp_sgd(1.0, 0.1, 5), Relation::Replace),
        (gaussian(1.0).randomly_allocated(Allocation::new(10, 1).unwrap()), add),
        (Event::composed([gaussian(1.0), gaussian(2.0)]).poisson_sampled(rate(0.1)), add),
        (Event::EpsilonDelta { epsilon: epsilon(1.0), delta: probability(1e-9) }, add),
    ] {
        let refusal = of(&event, relation).unwrap_err();
        assert!(matches!(refusal, Ungrouped::Unknown { .. }), "{refusal}");
        assert!(refusal.to_string().contains("use group::by_lemma"), "{refusal}");
    }
}
