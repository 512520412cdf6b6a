//! Exact profiles of single releases that are not Gaussian.

use crate::accountant::Unaccountable;
use crate::event::Event;
use crate::relation::Relation;
use crate::terms::Terms;

const E: f64 = f64::EPSILON;

/// One release whose profile is a maximum of lines or one exponential.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Single {
    /// delta(epsilon) = 1 - e^{(epsilon - shift)/2} below the shift, 0 from there on.
    Laplace { shift: f64 },
    /// Outcomes that P favours, as (probability under P, ln of that under Q), one for each direction: delta is the larger
    /// p - e^epsilon q; and the probability of revealing everything, beside all this.
    Atoms { directions: Vec<(f64, f64)>, revealed: f64 },
}

impl Single {
    /// The only release of this composition, if it is one of these. Nothing for other compositions.
    pub(super) fn of(terms: &Terms, relation: Relation) -> Result<Option<Self>, Unaccountable> {
        match terms.others.as_slice() {
            [(event, 1)] if terms.unsampled.is_empty() && terms.sampled.is_empty() => Self::leaf(event, relation),
            _ => Ok(None),
        }
    }

    /// This release, if it is one of these.
    pub(crate) fn leaf(event: &Event, relation: Relation) -> Result<Option<Self>, Unaccountable> {
        Ok(Some(match event {
            Event::Laplace { noise_multiplier } => {
                Self::Laplace { shift: relation.sum_sensitivity() / noise_multiplier.get() }
            }
            Event::EpsilonDelta { epsilon, delta } => {
                // The worst mechanism of this epsilon answers truly with probability 1/(1 + e^{-epsilon}).
                let decay = (-epsilon.get()).exp();
                // q itself may underflow, its logarithm does not.
                let pair = (1.0 / (1.0 + decay), -epsilon.get() - decay.ln_1p());
                Self::Atoms { directions: vec![pair], revealed: delta.get() }
            }
            Event::RandomizedResponse(response) => {
                let (p, k) = (response.noise().get(), response.buckets() as f64);
                let high = 1.0 - p + p / k;
                let directions = match relation {
                    Relation::Replace => vec![(high, p.ln() - k.ln())],
                    // The true answer against a uniform one; and the other answers, which the uniform law favours.
                    Relation::ZeroOut => {
                        vec![(high, -k.ln()), (1.0 - 1.0 / k, p.ln() + (-1.0 / k).ln_1p())]
                    }
                    Relation::AddRemove => {
                        return Err(Unaccountable::Unsupported {
                            accountant: super::NAME,
                            event: event.kind().to_owned(),
                            reason: "a missing unit gives no answer at all; ask for zero-out or replace".to_owned(),
                        });
                    }
                };
                Self::Atoms { directions, revealed: 0.0 }
            }
            _ => return Ok(None),
        }))
    }

    /// (lower, upper) of delta at this epsilon.
    pub(crate) fn delta(&self, epsilon: f64) -> (f64, f64) {
        match self {
            Self::Laplace { shift } => {
                // The shift errs by one unit of 2^-52, the difference and the rest by one each.
                let at = |shift: f64| if epsilon < shift { -(0.5 * (epsilon - shift)).exp_m1() } else { 0.0 };
                (
                    at(shift * (1.0 - 2.0 * E)) * (1.0 - 4.0 * E),
                    (at(shift * (1.0 + 2.0 * E)) * (1.0 + 4.0 * E)).min(1.0),
                )
            }
            Self::Atoms { directions, revealed } => {
                let (mut lower, mut upper) = (0.0_f64, 0.0_f64);
                for (p, ln_q) in directions {
                    // p (1 - e^{epsilon - ln(p/q)}); both terms are good to 8 units of themselves, e^epsilon to its own.
                    let taken = (epsilon + ln_q).exp();
                    let error = E * (16.0 * (p + taken) + 4.0 * taken * (epsilon + ln_q.abs()));
                    lower = lower.max(p - taken - error);
                    upper = upper.max(p - taken + error);
                }
                let whole = |rest: f64| revealed + (1.0 - revealed) * rest;
                (whole(lower) * (1.0 - 4.0 * E), (whole(upper.max(0.0)) * (1.0 + 4.0 * E)).min(1.0))
            }
        }
    }

    /// (lower, upper) of epsilon at this delta.
    pub(crate) fn epsilon(&self, delta: f64) -> Result<(f64, f64), Unaccountable> {
        match self {
            Self::Laplace { shift } => {
                let value = shift + 2.0 * (-delta).ln_1p();
                let error = E * (4.0 * shift + 8.0 * (-delta).ln_1p().abs());
                Ok(((value - error).max(0.0), (value + error).max(0.0)))
            }
            Self::Atoms { directions, revealed } => {
                if delta < *revealed || (delta == *revealed && *revealed == 1.0) {
                    return Err(Unaccountable::Unsupported {
                        accountant: super::NAME,
                        event: "an (epsilon, delta) release at so small a delta".to_owned(),
                        reason: format!(
                            "it may reveal everything with probability {revealed:e}, so no epsilon exists at delta = \
                             {delta:e}; ask for a larger delta"
                        ),
                    });
                }
                // Exact where both are the same, close to it otherwise.
                let rest = (delta - revealed) / (1.0 - revealed);
                let (mut lower, mut upper) = (0.0_f64, 0.0_f64);
                for (p, ln_q) in directions {
                    // e^epsilon = (p - rest)/q.
                    if rest >= p * (1.0 + 16.0 * E) {
                        continue;
                    }
                    let error = 16.0 * E * (p + rest + revealed);
                    let at = |gap: f64| if gap > 0.0 { gap.ln() - ln_q } else { 0.0 };
                    let slack = 4.0 * E * (2.0 + p.ln().abs() + ln_q.abs());
                    lower = lower.max(at(p - rest - error) - slack - 16.0 * E);
                    upper = upper.max(at(p - rest + error) + slack + 16.0 * E);
                }
                Ok((lower, upper))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::RandomizedResponse;
    use crate::parameters::{Epsilon, NoiseMultiplier, Probability};

    fn single(event: &Event, relation: Relation) -> Single {
        Single::of(&Terms::of(event, "x").unwrap(), relation).unwrap().unwrap()
    }

    fn response(p: f64, k: u64) -> Event {
        Event::RandomizedResponse(RandomizedResponse::new(Probability::new(p).unwrap(), k).unwrap())
    }

    #[test]
    fn epsilon_and_delta_are_each_others_inverse() {
        let laplace = Event::laplace(NoiseMultiplier::new(0.7).unwrap());
        let delta = Probability::new(0.01).unwrap();
        let approximate = Event::EpsilonDelta { epsilon: Epsilon::new(1.5).unwrap(), delta };
        for (event, relation) in [
            (laplace.clone(), Relation::AddRemove),
            (laplace, Relation::Replace),
            (approximate, Relation::AddRemove),
            (response(0.3, 10), Relation::ZeroOut),
            (response(0.3, 10), Relation::Replace),
            (response(0.01, 2), Relation::ZeroOut),
        ] {
            let profile = single(&event, relation);
            for epsilon in [0.0, 0.2, 0.9] {
                let (low, high) = profile.delta(epsilon);
                assert!(0.0 < low && low <= high && high < low * (1.0 + 1e-13), "{event:?}: {low} {high}");
                let (least, most) = profile.epsilon(0.5 * (low + high)).unwrap();
                assert!(least <= epsilon + 1e-15 && epsilon <= most + 1e-15 && most - least < 1e-11, "{least} {most}");
            }
        }
    }

    #[test]
    fn profiles_are_the_sums_over_outcomes() {
        for (p, k) in [(0.3_f64, 10), (0.01, 3), (0.9, 2)] {
            let parts = f64::from(k);
            let uniform = vec![1.0 / parts; k as usize];
            let answer = |truth: usize| -> Vec<f64> {
                (0..k as usize).map(|a| p / parts + if a == truth { 1.0 - p } else { 0.0 }).collect()
            };
            let gap = |p: &[f64], q: &[f64], epsilon: f64| -> f64 {
                p.iter().zip(q).map(|(p, q)| (p - epsilon.exp() * q).max(0.0)).sum()
            };
            for epsilon in [0.0, 0.1, 0.5, 1.0, 2.0, 6.0] {
                let zero = gap(&answer(0), &uniform, epsilon).max(gap(&uniform, &answer(0), epsilon));
                let replace = gap(&answer(0), &answer(1), epsilon);
                for (relation, want) in [(Relation::ZeroOut, zero), (Relation::Replace, replace)] {
                    let (low, high) = single(&response(p, k as u64), relation).delta(epsilon);
                    assert!(low <= want + 1e-15 && want <= high + 1e-15 && high - low < 1e-13, "{low} {want} {high}");
                }
            }
        }
    }

    #[test]
    fn laplace_is_the_integral_over_its_density() {
        // delta = integral of (p - e^epsilon q)_+, by a fine midpoint sum.
        let profile = single(&Event::laplace(NoiseMultiplier::new(0.5).unwrap()), Relation::AddRemove);
        for epsilon in [0.0_f64, 0.5, 1.9] {
            let dx = 1e-4;
            let terms = (-100_000..300_000).map(|k| {
                let x = (f64::from(k) + 0.5) * dx;
                0.5 * dx * ((-(x - 2.0).abs()).exp() - epsilon.exp() * (-x.abs()).exp()).max(0.0)
            });
            let (want, (low, high)) = (terms.sum::<f64>(), profile.delta(epsilon));
            assert!((low - want).abs() < 1e-7 && high >= low, "{low} {want}");
        }
        assert_eq!(profile.delta(2.1), (0.0, 0.0));
    }

    #[test]
    fn hardly_any_privacy_is_not_taken_for_all_of_it() {
        let event = Event::EpsilonDelta { epsilon: Epsilon::new(1e4).unwrap(), delta: Probability::new(0.0).unwrap() };
        let profile = single(&event, Relation::AddRemove);
        assert!(profile.delta(9.9e3).0 > 0.999 && profile.delta(1e4).1 < 1e-9);
        let (low, high) = profile.epsilon(1e-6).unwrap();
        assert!(low <= 1e4 && high >= 1e4 - 1e-5 && high - low < 1e-8, "{low} {high}");
        let little = single(&Event::laplace(NoiseMultiplier::new(1e-320).unwrap()), Relation::AddRemove);
        assert_eq!(little.epsilon(1e-6).unwrap().1, f64::INFINITY);
        assert!(little.delta(1.0).1 >= little.delta(1.0).0 && little.delta(1.0).1 == 1.0);
    }

    #[test]
    fn compositions_are_not_single() {
        let laplace = Event::laplace(NoiseMultiplier::new(1.0).unwrap());
        let pair = Event::composed([laplace.clone(), Event::gaussian(NoiseMultiplier::new(1.0).unwrap())]);
        for event in [laplace.repeated(2), pair] {
            assert_eq!(Single::of(&Terms::of(&event, "x").unwrap(), Relation::AddRemove).unwrap(), None);
        }
    }
}
