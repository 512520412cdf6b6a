//! Thousands of random plans, asked of every accountant: their intervals meet, and more of anything costs more.

use dp_accountant::{Accountant, Bound, Event, Moments, Pld, Rdp, Relation};

use crate::plans::{Draws, delta, dp_sgd, epsilon, gaussian};

/// A plan with its delta; `more` is the same with one of its numbers on the costlier side.
#[derive(Debug, Clone, Copy)]
struct Plan {
    noise: f64,
    rate: f64,
    steps: u64,
    delta: f64,
    known: Option<f64>,
}

impl Plan {
    fn random(draws: &mut Draws, composed: bool) -> Self {
        Self {
            noise: draws.between(0.4, 60.0),
            rate: draws.between(1e-5, 1.0),
            steps: draws.between(1.0, 1e6) as u64,
            delta: draws.between(1e-20, 1e-2),
            known: composed.then(|| draws.between(0.8, 100.0)),
        }
    }

    fn event(self) -> Event {
        let sampled = dp_sgd(self.noise, self.rate, self.steps);
        self.known.map_or_else(|| sampled.clone(), |z| Event::composed([sampled.clone(), gaussian(z)]))
    }

    fn more(self, which: usize) -> Self {
        match which % 4 {
            0 => Self { noise: self.noise / 1.02, ..self },
            1 => Self { rate: (self.rate * 1.02).min(1.0), ..self },
            2 => Self { steps: self.steps + 1 + self.steps / 50, ..self },
            _ => Self { delta: self.delta / 1.5, ..self },
        }
    }

    /// Epsilon by one accountant.
    fn cost(self, accountant: &dyn Accountant) -> Option<Bound> {
        accountant.epsilon(&self.event(), delta(self.delta)).ok()
    }

    /// What one release of it costs at least: a Gaussian one that is known to take place.
    fn least(self, relation: Relation) -> f64 {
        let known = self.known.map(gaussian);
        let certain = if self.rate == 1.0 { Some(gaussian(self.noise).repeated(self.steps)) } else { None };
        let exact = dp_accountant::Analytic::new(relation);
        let least = |event: Event| exact.epsilon(&event, delta(self.delta)).unwrap().lower();
        known.into_iter().chain(certain).map(least).fold(0.0, f64::max)
    }
}

/// Checks so many plans and counts those that moments answered.
fn check(relation: Relation, composed: bool, seed: u64, plans: usize) {
    let mut draws = Draws(seed);
    let (moments, pld, rdp) = (Moments::new(relation), Pld::new(relation), Rdp::new(relation));
    let (mut answered, mut seen) = (0, 0);
    for k in 0..plans {
        let plan = Plan::random(&mut draws, composed);
        let (Some(mixed), Some(renyi)) = (plan.cost(&pld), plan.cost(&rdp)) else { continue };
        seen += 1;
        // Where both know it to the last digits they may differ by those of their search.
        let most = renyi.upper() * (1.0 + 1e-9);
        assert!(mixed.lower() <= most && renyi.lower() <= mixed.upper(), "{mixed:?} {renyi:?} {plan:?}");
        assert!(mixed.upper() >= plan.least(relation), "{mixed:?} {plan:?}");
        let more = plan.more(k);
        if k % 8 == 0 {
            let more = more.cost(&pld).unwrap();
            assert!(more.upper() >= mixed.lower(), "{mixed:?} {more:?} {plan:?}");
        }
        let Some(fine) = plan.cost(&moments) else { continue };
        answered += 1;
        assert!(mixed.lower() <= fine.upper() && fine.lower() <= mixed.upper(), "{mixed:?} {fine:?} {plan:?}");
        assert!(fine.upper() <= most && fine.upper() >= plan.least(relation), "{fine:?} {renyi:?} {plan:?}");
        if let Some(more) = more.cost(&moments) {
            assert!(more.upper() >= fine.lower(), "{fine:?} {more:?} {plan:?}");
        }
        if k % 8 == 0 && fine.estimate() > 0.0 {
            let at = epsilon(fine.estimate());
            let (one, other) = (moments.delta(&plan.event(), at), pld.delta(&plan.event(), at).unwrap());
            let Ok(one) = one else { continue };
            assert!(one.lower() <= other.upper() && other.lower() <= one.upper(), "{one:?} {other:?} {plan:?}");
            assert!(one.upper() >= plan.delta * 0.999 && one.lower() <= plan.delta * 1.001, "{one:?} {plan:?}");
        }
    }
    println!("{relation}, composed: {composed}: {seen} plans by pld, {answered} by moments");
    assert!(seen * 100 >= plans * 98 && answered * 100 >= plans * 80, "{seen} {answered} of {plans}");
}

#[test]
fn plans_under_add_remove() {
    check(Relation::AddRemove, false, 0x9e37_79b9_7f4a_7c15, 900);
}

#[test]
fn plans_under_replace() {
    check(Relation::Replace, false, 0x2545_f491_4f6c_dd1d, 300);
}

#[test]
fn plans_with_releases_of_all_records() {
    check(Relation::AddRemove, true, 0xda94_2042_e4dd_58b5, 600);
}

#[test]
fn plans_under_zero_out() {
    check(Relation::ZeroOut, true, 0xbf58_476d_1ce4_e5b9, 200);
}
