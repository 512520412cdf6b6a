//! Random plans of the whole domain, and plans whose answers are known from elsewhere.
#![allow(clippy::unwrap_used)]

use super::Moments;
use crate::accountant::Accountant;
use crate::event::Event;
use crate::parameters::{Delta, NoiseMultiplier, SamplingRate};
use crate::profile::poisson_epsilon_at_least;
use crate::rdp::Rdp;
use crate::relation::Relation;
use crate::terms::Sampled;

fn plan(z: f64, q: f64, steps: u64) -> Event {
    Event::gaussian(NoiseMultiplier::new(z).unwrap()).poisson_sampled(SamplingRate::new(q).unwrap()).repeated(steps)
}

/// Log-uniform numbers (xorshift, Marsaglia 2003).
struct Spread(u64);

impl Spread {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let unit = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        low * (unit * (high / low).ln()).exp()
    }
}

#[test]
fn random_plans_are_answered() {
    // At least 97 in 100 to 1e-6 max(1, epsilon), the others refused or wider; never against Renyi accounting or the
    // profile of a single step.
    let mut spread = Spread(0x9e37_79b9_7f4a_7c15);
    let (mut plans, mut narrow) = (0, 0);
    while plans < 100 {
        let steps = spread.between(1.0, 1e9) as u64;
        let (q, z, d) = (spread.between(1e-7, 1.0), spread.between(0.3, 1e3), spread.between(1e-100, 1e-2));
        let (event, delta) = (plan(z, q, steps), Delta::new(d).unwrap());
        let renyi = Rdp::new(Relation::AddRemove).epsilon(&event, delta).unwrap();
        if renyi.upper() > 1e4 {
            continue;
        }
        plans += 1;
        let Ok(bound) = Moments::new(Relation::AddRemove).epsilon(&event, delta) else { continue };
        let case = format!("({z}, {q}, {steps}, {d}): {bound:?} {renyi:?}");
        assert!(bound.upper() <= renyi.upper() * (1.0 + 1e-9) && bound.upper() >= renyi.lower(), "{case}");
        narrow += u32::from(bound.upper() - bound.lower() <= 1e-6 * bound.upper().max(1.0));
    }
    assert!(narrow >= 97, "only {narrow} of {plans}");
}

#[test]
fn one_step_has_its_closed_form() {
    for relation in [Relation::AddRemove, Relation::Replace] {
        for (z, q, d) in [(1.0, 0.01, 1e-5), (0.45, 4e-7, 1e-28), (50.0, 2.6e-3, 3e-46), (2.0, 1e-5, 1e-90)] {
            let bound = Moments::new(relation).epsilon(&plan(z, q, 1), Delta::new(d).unwrap());
            let Ok(bound) = bound else {
                assert_eq!(relation, Relation::Replace, "({z}, {q}, {d})");
                continue;
            };
            let want =
                poisson_epsilon_at_least(Sampled { rate: q, noise_multiplier: z, doubt: 0.0, count: 1 }, relation, d);
            let case = format!("{relation:?} ({z}, {q}, {d}): {bound:?}, want {want}");
            assert!(bound.lower() <= want * (1.0 + 1e-9) && want <= bound.upper() * (1.0 + 1e-9), "{case}");
            assert!(bound.upper() - bound.lower() <= 1e-6 * want, "{case}");
        }
    }
}

#[test]
fn two_steps_agree_with_a_quadrature_of_the_closed_form() {
    // delta_2(eps) = E_{x from P} delta_1(eps - L(x)) with the closed form of one step, Gauss-Legendre in 30 digits (mpmath)
    // on intervals that shrink by 4 towards the place where L = eps; good to some 1e-9 of epsilon.
    for (z, q, d, want) in [
        (0.5, 1e-5, 1e-20, 6.141_862_140_504_78),
        (1.0, 1e-3, 1e-8, 0.088_388_694_579_727),
        (3.0, 1e-4, 1e-30, 0.003_257_605_88),
        (4.539, 1.889e-6, 2.55e-95, 1.514_347_856e-4),
    ] {
        let bound = Moments::new(Relation::AddRemove).epsilon(&plan(z, q, 2), Delta::new(d).unwrap()).unwrap();
        let doubt = 3e-8 * want;
        assert!(
            bound.lower() - doubt <= want && want <= bound.upper() + doubt,
            "({z}, {q}, {d}): {bound:?}, want {want}"
        );
        assert!(bound.upper() - bound.lower() <= 1e-6 * want, "({z}, {q}, {d}): {bound:?}");
    }
}
