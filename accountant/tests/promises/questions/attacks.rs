//! What an attacker can achieve, between two bounds.

use dp_accountant::{
    Accountant, Analytic, Bound, Delta, Epsilon, Event, Moments, Rdp, Relation, TradeOff, Unaccountable, trade_off,
};

use super::probability;
use crate::plans::{delta, dp_sgd, epsilon, gaussian};
use crate::vectors::{number, rows};

/// Exact: pure guarantees as binary randomized response, losses +-epsilon, composed by enumeration.
struct Pure;

impl Pure {
    /// (loss, probability) of the composition.
    fn losses(event: &Event) -> Vec<(f64, f64)> {
        let mut all = vec![(0.0, 1.0)];
        for (leaf, count) in event.parts().unwrap() {
            let Event::EpsilonDelta { epsilon, delta } = leaf else { panic!("{leaf:?}") };
            assert_eq!(delta.get(), 0.0);
            let (e, p) = (epsilon.get(), 1.0 / (1.0 + (-epsilon.get()).exp()));
            for _ in 0..count {
                all = all.iter().flat_map(|(loss, q)| [(loss + e, q * p), (loss - e, q * (1.0 - p))]).collect();
            }
        }
        all
    }
}

impl Accountant for Pure {
    fn name(&self) -> &'static str {
        "pure"
    }
    fn relation(&self) -> Relation {
        Relation::AddRemove
    }
    fn epsilon(&self, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
        let (mut low, mut high) = (0.0, 1e3);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            let within = self.delta(event, epsilon(middle))?.upper() <= delta.get();
            if within { high = middle } else { low = middle }
        }
        Ok(Bound::new(low, high, high, "pure")?)
    }
    fn delta(&self, event: &Event, epsilon: Epsilon) -> Result<Bound, Unaccountable> {
        let each = Self::losses(event).into_iter().filter(|(loss, _)| *loss > epsilon.get());
        let delta: f64 = each.map(|(loss, p)| p * -(epsilon.get() - loss).exp_m1()).sum();
        let delta = if delta < 1e-15 { 0.0 } else { delta };
        Ok(Bound::new(delta * (1.0 - 1e-14), delta, delta * (1.0 + 1e-14), "pure")?)
    }
}

/// P(X > x), to 1e-13: enough for the tests here.
fn tail(x: f64) -> f64 {
    // delta(0) of a Gaussian is P(X > -mu/2) - P(X > mu/2).
    let at = |mu: f64| Analytic::default().delta(&gaussian(1.0 / mu), epsilon(0.0)).unwrap().estimate();
    if x == 0.0 { 0.5 } else { 0.5 - 0.5 * at(2.0 * x.abs()) * x.signum() }
}

#[test]
fn attacks_on_a_gaussian_have_the_power_of_the_closed_form() {
    // g(a) = P(X > z_a - mu), z_a the upper a-quantile.
    for mu in [0.05, 1.0, 4.0] {
        let curve = TradeOff::new(&Analytic::default(), &gaussian(1.0 / mu)).unwrap();
        for z in [-2.0, -0.5, 0.0, 1.0, 1.281_551_565_544_600_4, 3.0, 4.5] {
            let (a, want) = (tail(z), tail(z - mu));
            let bound = curve.true_positive_rate(probability(a)).unwrap();
            assert!(
                bound.lower() <= want + 1e-12 && want - 1e-12 <= bound.upper(),
                "mu {mu}, z {z}: {bound:?}, {want}"
            );
            assert!(bound.upper() - bound.lower() < 1e-2 * want, "mu {mu}, z {z}: {bound:?}, want {want}");
            let missed = curve.false_negative_rate(probability(a)).unwrap();
            assert!(missed.lower() <= 1.0 - want + 1e-12 && 1.0 - want - 1e-12 <= missed.upper(), "{missed:?}");
        }
        let found = curve.mu(probability(1e-10)).unwrap();
        assert!(found.lower() <= mu * (1.0 + 1e-9) && mu <= found.upper(), "{found:?}, want {mu}");
        assert!(found.upper() / found.lower() < 1.005, "{found:?}");
        // A finite profile proves no mu beyond its end.
        assert_eq!(curve.mu(probability(0.0)).unwrap().upper(), f64::INFINITY);
        let there = trade_off::mu_at(&Analytic::default(), &gaussian(1.0 / mu), delta(1e-5)).unwrap();
        assert!(there.lower() <= mu && mu <= there.upper() && there.upper() / there.lower() < 1.0 + 1e-9, "{there:?}");
        let advantage = trade_off::advantage(&Analytic::default(), &gaussian(1.0 / mu)).unwrap();
        assert!((advantage.upper() - (tail(-0.5 * mu) - tail(0.5 * mu))).abs() < 1e-11, "{advantage:?}");
    }
}

#[test]
fn gaussian_composed_and_pure_dp_vectors() {
    for row in rows("gaussian_composed") {
        let event = gaussian(number(&row, "sigma")).repeated(row["steps"].as_u64().unwrap());
        let curve = TradeOff::new(&Analytic::default(), &event).unwrap();
        let (rate, allowed) = (curve.true_positive_rate(probability(0.1)).unwrap(), number(&row, "tol_abs"));
        assert!((rate.upper() - number(&row, "tpr_at_fpr_0_1")).abs() < allowed, "{rate:?} {row}");
        let mu = curve.mu(probability(1e-10)).unwrap();
        assert!((mu.upper() / number(&row, "gdp_mu") - 1.0).abs() < 5e-3, "{mu:?} {row}");
        assert!((mu.lower() / number(&row, "gdp_mu") - 1.0).abs() < allowed, "{mu:?} {row}");
    }
    for row in rows("pure_dp") {
        let epsilons = row["epsilons"].as_array().unwrap().iter();
        let event = Event::composed(
            epsilons.map(|e| Event::EpsilonDelta { epsilon: epsilon(e.as_f64().unwrap()), delta: probability(0.0) }),
        );
        let curve = TradeOff::new(&Pure, &event).unwrap();
        let (rate, allowed) = (curve.true_positive_rate(probability(0.1)).unwrap(), number(&row, "tol_abs"));
        let want = number(&row, "tpr_at_fpr_0_1");
        assert!((rate.upper() - want).abs() < allowed && (rate.lower() - want).abs() < 3.0 * allowed, "{rate:?} {row}");
        // A profile that ends is plain mu-GDP.
        let mu = curve.mu(probability(0.0)).unwrap();
        let want = number(&row, "gdp_mu");
        assert!((mu.upper() - want).abs() < allowed && (mu.lower() - want).abs() < allowed, "{mu:?} {row}");
    }
}

#[test]
fn attack_bounds_are_ordered_whatever_the_places() {
    // Coarse places and a loose accountant: wider, never wrong.
    let event = dp_sgd(1.0, 0.02, 500);
    let fine = TradeOff::new(&Moments::default(), &event).unwrap();
    let some: Vec<Epsilon> = [0.3, 1.0, 1.7, 4.0].map(epsilon).to_vec();
    for coarse in [
        TradeOff::at(&Moments::default(), &event, &some).unwrap(),
        TradeOff::at(&Moments::default(), &event, &[]).unwrap(),
        TradeOff::new(&Rdp::default(), &event).unwrap(),
    ] {
        for a in [0.0, 1e-9, 1e-4, 0.01, 0.1, 0.4, 0.9, 1.0] {
            let (narrow, wide) =
                (fine.true_positive_rate(probability(a)).unwrap(), coarse.true_positive_rate(probability(a)).unwrap());
            assert!(wide.lower() <= narrow.upper() && narrow.lower() <= wide.upper(), "{a}: {narrow:?} {wide:?}");
            assert!(a <= wide.upper() && wide.upper() <= 1.0, "{wide:?}");
            if (1e-4..0.9).contains(&a) {
                assert!(narrow.upper() - narrow.lower() < 1e-3, "{a}: {narrow:?}");
            }
        }
    }
    let nothing = TradeOff::new(&Analytic::default(), &Event::nothing()).unwrap();
    let rate = nothing.true_positive_rate(probability(0.3)).unwrap();
    assert!((rate.upper() - 0.3).abs() < 1e-12 && (rate.lower() - 0.3).abs() < 1e-12, "{rate:?}");
    assert_eq!(nothing.mu(probability(0.0)).unwrap().upper(), 0.0);
    // An infinite epsilon gives everything away.
    let open = TradeOff::new(&Rdp::default(), &gaussian(1e-160)).unwrap();
    assert_eq!(open.true_positive_rate(probability(0.1)).unwrap().upper(), 1.0);
}

#[test]
fn guessing_with_a_prior_errs_as_the_profile_says() {
    let event = gaussian(1.0);
    // An even prior: (1 - delta(0))/2.
    let even = trade_off::bayes_error(&Analytic::default(), &event, probability(0.5)).unwrap();
    let want = 0.5 * (1.0 - (tail(-0.5) - tail(0.5)));
    assert!((even.lower() - want).abs() < 1e-12 && (even.upper() - want).abs() < 1e-12, "{even:?}, want {want}");
    for p in [0.0, 0.01, 0.2, 0.8, 1.0] {
        let error = trade_off::bayes_error(&Analytic::default(), &event, probability(p)).unwrap();
        assert!(error.upper() <= p.min(1.0 - p) && error.upper() - error.lower() < 1e-9, "{p}: {error:?}");
        let mirrored = trade_off::bayes_error(&Analytic::default(), &event, probability(1.0 - p)).unwrap();
        assert!((mirrored.upper() - error.upper()).abs() < 1e-9, "{p}: {error:?} {mirrored:?}");
    }
}

#[test]
fn the_equivalent_gaussian_dominates_between_the_places_too() {
    let (event, moments, floor) = (dp_sgd(1.0, 0.02, 500), Moments::default(), 1e-6);
    // Few places: what lies between them must be covered by the proof.
    let places: Vec<Epsilon> = (0..24).map(|k| epsilon(0.4 * f64::from(k))).collect();
    let mu = TradeOff::at(&moments, &event, &places).unwrap().mu(probability(floor)).unwrap();
    let gaussian_delta = |mu: f64, e: f64| Analytic::default().delta(&gaussian(1.0 / mu), epsilon(e)).unwrap();
    let (mut below, mut checked) = (0, 0);
    for k in 0..90 {
        let e = 0.1 * f64::from(k) + 0.05;
        let Ok(delta) = moments.delta(&event, epsilon(e)) else { continue };
        let most = gaussian_delta(mu.upper(), e).upper().max(floor);
        assert!(delta.lower() <= most, "{e}: {delta:?}, at most {most}");
        // Negative control: a mu below the lower bound is exceeded somewhere.
        below += u32::from(delta.lower() > gaussian_delta(0.99 * mu.lower(), e).upper().max(floor));
        checked += 1;
    }
    println!("{mu:?}: {below} of {checked} above the smaller Gaussian");
    assert!(below > 0 && checked > 80, "{below} {checked}");
    assert!(mu.upper() < 1.1 * mu.lower(), "{mu:?}");
    // Where sampling does not help any more lies no finite proof.
    let everywhere = TradeOff::at(&moments, &event, &places).unwrap().mu(probability(0.0)).unwrap();
    assert!(everywhere.upper() == f64::INFINITY && everywhere.lower() > mu.lower(), "{everywhere:?}");
}
