//! The dominating pairs behind events, as laws of privacy losses.

use std::f64::consts::LN_2;

use super::batches::{truncated, without_replacement};
use super::lattice::Side;
use super::law::{Atom, Base, Law};
use super::mixtures::Mixtures;
use super::pairs::{MOST_ATOMS, atoms, discrete_gaussian, discrete_laplace, laplace};
use super::view::View;
use super::{NAME, allocation, shuffle};
use crate::accountant::Unaccountable;
use crate::analytic::Mu;
use crate::event::Event;
use crate::relation::Relation;
use crate::terms::{Sampled, Terms};

const E: f64 = f64::EPSILON;

/// Which of two neighbours has the unit. Each is composed on its own (Zhu, Dong & Wang 2022).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// P has it.
    Remove,
    /// Q has it.
    Add,
}

impl Way {
    /// The ways that are to be composed under a relation. Replacing one unit by another is its own mirror image.
    pub(super) fn of(relation: Relation) -> &'static [Self] {
        match relation {
            Relation::AddRemove | Relation::ZeroOut => &[Self::Remove, Self::Add],
            Relation::Replace => &[Self::Remove],
        }
    }
}

/// What is asked of a release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) relation: Relation,
    pub(super) way: Way,
    pub(super) side: Side,
    /// Mass that may be cut off each release, where delta leaves any.
    pub(super) tail: Option<f64>,
}

/// More components than this are not mixed.
const MOST_COMPONENTS: usize = 128;

/// Records of which a part makes a batch that may be cut: their binomial tails are summed.
const MOST_RECORDS: u64 = 10_000_000_000;

fn refusal(event: &Event, reason: &str) -> Unaccountable {
    Unaccountable::Unsupported { accountant: NAME, event: event.kind().to_owned(), reason: reason.to_owned() }
}

/// The laws of a composition with their counts. On the lower side what nothing is known about is left out.
pub(super) fn laws(terms: &Terms, ask: Ask) -> Result<Vec<(Law, u64)>, Unaccountable> {
    let mut laws = Vec::new();
    let known = ask.side == Side::Upper || !terms.above;
    if !terms.unsampled.is_empty() {
        let mu = Mu::of(terms, ask.relation, NAME)?;
        let error = if ask.side == Side::Upper { mu.error } else { -mu.error };
        if known {
            laws.push((Law::of(Base::Gaussian { mu: mu.value * (1.0 + error) }), 1));
        }
    }
    if known {
        laws.extend(terms.sampled.iter().map(|term| (sampled(*term, ask), term.count)));
    }
    for (event, count) in &terms.others {
        for (law, inner) in other(event, ask)? {
            let count = count.checked_mul(inner).ok_or(crate::parts::CountOverflow)?;
            laws.push((law, count));
        }
    }
    Ok(laws)
}

/// A Poisson-sampled Gaussian.
fn sampled(term: Sampled, ask: Ask) -> Law {
    // The true noise multiplier is between the stated one and that times 1 + doubt; 1/sigma is rounded.
    let mu = match ask.side {
        Side::Upper => (1.0 + E) / term.noise_multiplier,
        Side::Lower => (1.0 - E) / (term.noise_multiplier * (1.0 + term.doubt)),
    };
    let q = term.rate;
    match (ask.relation, ask.way) {
        (Relation::Replace, _) => {
            let list = vec![(0.0, 1.0 - q), (mu, q)];
            Law::of(Base::Mixtures(Mixtures::new(list.clone(), list)))
        }
        (_, Way::Remove) => Law::of(Base::Gaussian { mu }).seen(View::Remove(q)),
        (_, Way::Add) => Law::of(Base::Gaussian { mu }).seen(View::Add(q)),
    }
}

/// A release that is no Gaussian.
fn other(event: &Event, ask: Ask) -> Result<Vec<(Law, u64)>, Unaccountable> {
    let one = |law: Law| Ok(vec![(law, 1)]);
    match event {
        Event::PoissonSampled { sampling_rate, event: inner } => {
            if ask.relation == Relation::Replace {
                return Err(refusal(
                    event,
                    "under replace it is accounted for with a Gaussian release inside only; ask for add-remove or \
                     zero-out",
                ));
            }
            let parts = inner.parts()?;
            let [(leaf, 1)] = parts.as_slice() else {
                return Err(refusal(
                    event,
                    "several releases of one sample share their randomness; only Gaussian ones are joined here: sample \
                     for each release anew, or use accountant rdp",
                ));
            };
            let claimed = matches!(
                leaf,
                Event::RandomizedResponse(_) | Event::EpsilonDelta { .. } | Event::ExponentialMechanism { .. }
            );
            if claimed && ask.relation == Relation::ZeroOut {
                // Sampling hides a unit among outcomes without it, and these releases say nothing about a missing unit.
                let reason = "what is known of it compares a unit with a null unit, while a sample lacks the unit \
                              altogether; ask for add-remove, or use accountant rdp, which claims no amplification here";
                return Err(refusal(leaf, reason));
            }
            let q = sampling_rate.get();
            let view = if ask.way == Way::Remove { View::Remove(q) } else { View::Add(q) };
            let simple = matches!(
                leaf,
                Event::Laplace { .. }
                    | Event::DiscreteGaussian { .. }
                    | Event::DiscreteLaplace { .. }
                    | Event::RandomizedResponse(_)
                    | Event::EpsilonDelta { .. }
                    | Event::ExponentialMechanism { .. }
            );
            if !simple {
                return Err(refusal(event, &format!("no pair is known for {} on a Poisson sample", leaf.kind())));
            }
            Ok(other(leaf, ask)?.into_iter().map(|(law, count)| (law.seen(view), count)).collect())
        }
        Event::Laplace { noise_multiplier } => one(laplace(ask.relation.sum_sensitivity() / noise_multiplier.get())),
        Event::DiscreteGaussian { scale, sensitivity } => {
            let shift = shift(event, sensitivity.get(), ask.relation)?;
            discrete_gaussian(scale.get(), shift)
                .map(|law| vec![(law, 1)])
                .ok_or_else(|| refusal(event, "its scale is too large to list its outcomes; use accountant rdp"))
        }
        Event::DiscreteLaplace { scale, sensitivity } => {
            one(discrete_laplace(scale.get(), shift(event, sensitivity.get(), ask.relation)?))
        }
        Event::RandomizedResponse(response) => {
            let (noise, k) = (response.noise().get(), response.buckets() as f64);
            let (right, wrong) = (1.0 - noise + noise / k, noise / k);
            match ask.relation {
                Relation::AddRemove => Err(refusal(
                    event,
                    "a missing unit gives no answer, so that add-remove does not apply; ask for zero-out or replace",
                )),
                Relation::ZeroOut => {
                    let pairs = [(right, 1.0 / k), (wrong * (k - 1.0), (k - 1.0) / k)];
                    one(atoms(pairs.map(|(p, q)| if ask.way == Way::Remove { (p, q) } else { (q, p) })))
                }
                Relation::Replace => {
                    one(atoms([(right, wrong), (wrong, right), (wrong * (k - 2.0), wrong * (k - 2.0))]))
                }
            }
        }
        // These two are claims from above: nothing is known about what they cost at least.
        Event::EpsilonDelta { .. } | Event::ExponentialMechanism { .. } if ask.side == Side::Lower => Ok(Vec::new()),
        Event::EpsilonDelta { epsilon, delta } => {
            // With probability delta everything is revealed, otherwise randomized response (Kairouz, Oh & Viswanath
            // 2015): it dominates whatever is (epsilon, delta) private.
            let (e, keep, reveal) = (epsilon.get(), (-delta.get()).ln_1p(), delta.get().ln());
            let less = -e - (-e).exp().ln_1p();
            let none = f64::NEG_INFINITY;
            let [right, wrong] = [keep - (-e).exp().ln_1p(), keep + less];
            one(Law::of(Base::Atoms(
                vec![
                    Atom::new(none, reveal),
                    Atom { ln_p: wrong, ln_q: right, loss: -e },
                    Atom { ln_p: right, ln_q: wrong, loss: e },
                    Atom::new(reveal, none),
                ]
                .into_iter()
                .filter(|atom| atom.ln_p > none || atom.ln_q > none)
                .collect(),
            )))
        }
        Event::ExponentialMechanism { epsilon } => {
            let e = epsilon.get();
            if e == 0.0 {
                return Ok(Vec::new());
            }
            // Losses lie in [t - e, t] for some t in [0, e]; two-point laws on the ends dominate (Dong, Durfee & Rogers
            // 2020). Their profiles p (1 - e^(x-t)), p = (e^e - e^t)/(e^e - 1), are together at most their maximum over
            // t, at t = (e + x)/2: (e^(e/2) - e^(x/2))^2/(e^e - 1), the profile of this one law, whatever t is.
            one(Law::of(Base::Exponential { end: e, ln_density: -LN_2 - e / 2.0 - (-(-e).exp_m1()).ln() }))
        }
        Event::GaussianMixture(mixture) => {
            if ask.relation == Relation::Replace {
                let reason = "its sensitivities are those of adding or removing; ask for add-remove or zero-out";
                return Err(refusal(event, reason));
            }
            let noise = mixture.noise_multiplier().get();
            let list: Vec<(f64, f64)> =
                mixture.parts().filter(|part| part.1 > 0.0).map(|(s, p)| (s / noise, p)).collect();
            if list.len() > MOST_COMPONENTS {
                return Err(refusal(
                    event,
                    "it has more than 128 components; join some of them, or use accountant rdp",
                ));
            }
            let alone = vec![(0.0, 1.0)];
            let (up, down) = if ask.way == Way::Remove { (list, alone) } else { (alone, list) };
            one(Law::of(Base::Mixtures(Mixtures::new(up, down))))
        }
        Event::TruncatedPoisson { sampling_rate, batches, event: inner } => {
            if ask.relation != Relation::AddRemove {
                return Err(refusal(event, "it is accounted for under add-remove only"));
            }
            let mu = single_gaussian(event, inner, Relation::AddRemove)?;
            if batches.records() > MOST_RECORDS {
                return Err(refusal(event, "it has more than 1e10 records, of which no binomial tail is summed"));
            }
            // The pair is known to dominate, not to be attained.
            if ask.side == Side::Lower {
                Ok(Vec::new())
            } else {
                one(truncated(mu, sampling_rate.get(), *batches, ask.way))
            }
        }
        Event::WithoutReplacement { batches, event: inner } => {
            if ask.relation != Relation::Replace {
                return Err(refusal(event, "the size of a batch is public, so that only replace applies"));
            }
            let base = match inner.parts()?.as_slice() {
                [(Event::Laplace { noise_multiplier }, 1)] => laplace(2.0 / noise_multiplier.get()),
                _ => Law::of(Base::Gaussian {
                    mu: directed(single_gaussian(event, inner, Relation::Replace)?, ask.side),
                }),
            };
            one(without_replacement(&base, *batches, ask.side))
        }
        Event::Shuffled { steps, event: inner } => {
            if ask.relation == Relation::AddRemove {
                let reason = "the sizes of its batches are public: ask for zero-out or replace";
                return Err(refusal(event, reason));
            }
            if ask.side == Side::Upper {
                // Each unit is in one batch: the pass costs no more than one release on known data.
                return laws(&Terms::of(inner, NAME)?, ask);
            }
            match single_gaussian(event, inner, Relation::AddRemove) {
                Ok(mu) if mu.value <= shuffle::STEEPEST => {
                    one(shuffle::law(directed(mu, Side::Lower), steps.get(), ask))
                }
                _ => Ok(Vec::new()),
            }
        }
        Event::RandomAllocation { allocation, event: inner } => {
            if ask.relation == Relation::Replace {
                return Err(refusal(event, "no pair is known under replace; ask for add-remove or zero-out"));
            }
            let mu = directed(single_gaussian(event, inner, ask.relation)?, ask.side);
            let blocks = allocation.blocks().into_iter().filter(|(_, count)| *count > 0);
            let law = |(steps, count)| {
                let noise = (1.0 + if ask.side == Side::Upper { -E } else { E }) / mu;
                let law = ask.tail.and_then(|tail| allocation::law(noise, steps, ask.way, ask.side, tail));
                match (law, ask.side) {
                    (Some(law), _) => Some((law, count)),
                    // A mixture over the steps costs at most what a known step costs.
                    (None, Side::Upper) => Some((Law::of(Base::Gaussian { mu }), count)),
                    (None, Side::Lower) => None,
                }
            };
            Ok(blocks.filter_map(law).collect())
        }
        Event::ZeroConcentrated { .. } => {
            Err(refusal(event, "zero-concentration bounds moments and fixes no loss distribution; use accountant rdp"))
        }
        Event::RepeatAndSelect { .. } => {
            Err(refusal(event, "its bounds are known for Renyi divergences only; use accountant rdp"))
        }
        _ => Err(refusal(event, "no loss distribution is known for it; use accountant rdp")),
    }
}

/// The mu of what is nothing but Gaussian releases without sampling, as known as rounding allows.
fn single_gaussian(outer: &Event, inner: &Event, relation: Relation) -> Result<Mu, Unaccountable> {
    let terms = Terms::of(inner, NAME)?;
    if terms.sampled.is_empty() && terms.others.is_empty() && !terms.above && !terms.unsampled.is_empty() {
        Mu::of(&terms, relation, NAME)
    } else {
        Err(refusal(outer, "it is accounted for with Gaussian releases without further sampling inside only"))
    }
}

pub(super) fn directed(mu: Mu, side: Side) -> f64 {
    if side == Side::Upper { mu.value * (1.0 + mu.error) } else { mu.value * (1.0 - mu.error) }
}

/// How far one unit moves an integer.
fn shift(event: &Event, sensitivity: u64, relation: Relation) -> Result<u64, Unaccountable> {
    let factor = if relation == Relation::Replace { 2 } else { 1 };
    let shift = sensitivity.checked_mul(factor).filter(|shift| *shift <= MOST_ATOMS);
    shift.ok_or_else(|| refusal(event, "its sensitivity is too large to list its outcomes; use accountant rdp"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::parameters::{NoiseMultiplier, NoiseScale, SamplingRate};

    #[test]
    fn joint_releases_of_a_sample_are_enclosed_by_both_sides() {
        // The lower side took the noise that is rounded down for the true one: it was a little above the truth.
        let gaussian = |z: f64| Event::gaussian(NoiseMultiplier::new(z).unwrap());
        let clip = Event::AdaptiveClip {
            noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
            count_noise: NoiseScale::new(7.0).unwrap(),
        };
        // 1/noise = sqrt(sum of z^-2) by mpmath, 50 digits.
        for (event, want) in [
            (Event::composed((0..1500).map(|i| gaussian(f64::from(1000 + i) / 100.0))), 2.450_347_232_536_578_7),
            (gaussian(40.0).repeated(1500), 0.968_245_836_551_854_3),
            (clip, 0.911_892_713_979_041_5),
        ] {
            let event = event.poisson_sampled(SamplingRate::new(0.1).unwrap());
            let terms = Terms::of(&event, NAME).unwrap();
            let mu = |side| {
                let ask = Ask { relation: Relation::AddRemove, way: Way::Remove, side, tail: Some(1e-30) };
                match laws(&terms, ask).unwrap()[0].0.parts[0].base {
                    Base::Gaussian { mu } => mu,
                    _ => f64::NAN,
                }
            };
            let (least, most) = (mu(Side::Lower), mu(Side::Upper));
            assert!(least < want && want < most && most < least * (1.0 + 1e-11), "{least} {most}, want {want}");
        }
    }
}
