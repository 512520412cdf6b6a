//! The dominating pairs behind events, as laws of privacy losses.

use std::f64::consts::LN_2;

use super::lattice::Side;
use super::law::{Atom, Base, Law, Part, View};
use super::mixtures::Mixtures;
use super::{NAME, allocation, shuffle};
use crate::accountant::Unaccountable;
use crate::analytic::Mu;
use crate::event::{Batches, Event};
use crate::normal::tail;
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

/// More outcomes than this are not listed one by one.
const MOST_ATOMS: u64 = 1 << 18;

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

fn directed(mu: Mu, side: Side) -> f64 {
    if side == Side::Upper { mu.value * (1.0 + mu.error) } else { mu.value * (1.0 - mu.error) }
}

/// How far one unit moves an integer.
fn shift(event: &Event, sensitivity: u64, relation: Relation) -> Result<u64, Unaccountable> {
    let factor = if relation == Relation::Replace { 2 } else { 1 };
    let shift = sensitivity.checked_mul(factor).filter(|shift| *shift <= MOST_ATOMS);
    shift.ok_or_else(|| refusal(event, "its sensitivity is too large to list its outcomes; use accountant rdp"))
}

/// Outcomes by their probabilities, which are good to a few units each: so are their losses, however small.
fn atoms<const N: usize>(pairs: [(f64, f64); N]) -> Law {
    let mut list: Vec<Atom> =
        pairs.into_iter().filter(|(p, q)| *p > 0.0 || *q > 0.0).map(|(p, q)| Atom::new(p.ln(), q.ln())).collect();
    list.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    let finite = list.iter().filter(|atom| atom.loss.is_finite());
    let doubt = finite.map(|atom| E * (4.0 + atom.ln_p.abs() + atom.ln_q.abs())).fold(0.0, f64::max);
    Law { doubt, ..Law::of(Base::Atoms(list)) }
}

/// Laplace noise against its shift by `end` scales. In several coordinates a shift of the same L1 norm costs no more: its
/// trade-off function is at least the chain of those of the single moves, which for a log-concave density is that of the
/// one long move (Dong, Roth & Su 2022, section 2.5).
fn laplace(end: f64) -> Law {
    let plain = |base| Part { ln_weight: 0.0, base, view: View::Plain };
    Law {
        parts: vec![
            plain(Base::Exponential { end, ln_density: -end / 2.0 - 2.0 * LN_2 }),
            plain(Base::Atoms(vec![
                Atom { ln_p: -end - LN_2, ln_q: -LN_2, loss: -end },
                Atom { ln_p: -LN_2, ln_q: -end - LN_2, loss: end },
            ])),
        ],
        doubt: 0.0,
    }
}

fn discrete_gaussian(scale: f64, shift: u64) -> Option<Law> {
    // Beyond this nothing is left in f64.
    let reach = (38.7 * scale).ceil() + 1.0;
    if 2.0 * reach + shift as f64 > MOST_ATOMS as f64 {
        return None;
    }
    let (reach, shift) = (reach as i64, shift as f64);
    let exponent = |x: f64| -0.5 * (x / scale).powi(2);
    let total: f64 = (-reach..=reach).map(|x| exponent(x as f64).exp()).sum();
    // Under P the noise is x; the loss is that against the noise x + shift, over both centres.
    let atom = |x: i64| {
        let x = x as f64;
        let (ln_p, ln_q) = (exponent(x) - total.ln(), exponent(x + shift) - total.ln());
        Atom { ln_p, ln_q, loss: shift * (2.0 * x + shift) / (2.0 * scale * scale) }
    };
    Some(Law::of(Base::Atoms((-reach - shift as i64..=reach).map(atom).collect())))
}

fn discrete_laplace(scale: f64, shift: u64) -> Law {
    // r = e^(-1/scale); P(x) = (1-r)/(1+r) r^|x|, against the same around `shift`.
    let ln_one_plus = (-1.0 / scale).exp().ln_1p();
    let ln_inner = (-(-1.0 / scale).exp_m1()).ln() - ln_one_plus;
    let end = shift as f64 / scale;
    let mut list = vec![Atom { ln_p: -end - ln_one_plus, ln_q: -ln_one_plus, loss: -end }];
    list.extend((1..shift).rev().map(|x| {
        let (x, rest) = (x as f64, (shift - x) as f64);
        Atom { ln_p: ln_inner - x / scale, ln_q: ln_inner - rest / scale, loss: (rest - x) / scale }
    }));
    list.push(Atom { ln_p: -ln_one_plus, ln_q: -end - ln_one_plus, loss: end });
    Law::of(Base::Atoms(list))
}

/// The pair of a uniformly random batch of fixed size, one unit replaced.
///
/// Upper side: the profile at eps >= 0 is at most that of ((1-g) Q + g P, Q), g = batch/records and (P, Q) the pair of the
/// release under replace (Balle, Barthe & Gaboardi 2018, theorem 9), and the relation is its own mirror image: the loss
/// above 0 is that of the pair, below 0 its mirror image, and what is left of P's mass is at 0. Lower side: that pair
/// itself, attained where every other unit contributes what the one in question does under Q.
fn without_replacement(base: &Law, batches: Batches, side: Side) -> Law {
    if side == Side::Lower {
        return base.seen(View::Remove(batches.share().get() * (1.0 - 4.0 * E)));
    }
    let g = batches.share().get();
    // Q(loss > 0) = P(loss < 0); the rest of P's mass, a little more than less.
    let mirrored: f64 = match base.parts.first().map(|part| &part.base) {
        Some(Base::Gaussian { mu }) => tail(mu / 2.0),
        Some(Base::Exponential { end, .. }) => 0.5 * (-end / 2.0).exp(),
        _ => 0.0,
    };
    let rest = (1.0 - g) * (1.0 - 2.0 * mirrored) + 1e-14;
    let mut law = base.seen(View::Positive(g));
    law.parts.extend(base.seen(View::Negative(g)).parts);
    let atom = Atom { ln_p: rest.ln(), ln_q: rest.ln(), loss: 0.0 };
    law.parts.push(Part { ln_weight: 0.0, base: Base::Atoms(vec![atom]), view: View::Plain });
    law
}

/// A Poisson sample cut to at most `batch` records (arXiv 2508.15089): with the probability that the others fill the batch
/// the unit, where it is taken, stands in another one's place, which costs no more than replacing one by its opposite;
/// otherwise it is simply there.
fn truncated(mu: Mu, q: f64, batches: Batches, way: Way) -> Law {
    let mu = directed(mu, Side::Upper);
    let (n, cap) = (batches.records(), batches.batch());
    let full = binomial_tail(n - 1, q, cap);
    let over = binomial_tail(n, q, cap + 1);
    let pair = |mu: f64, q: f64| {
        Law::of(Base::Gaussian { mu }).seen(if way == Way::Remove { View::Remove(q) } else { View::Add(q) })
    };
    let mut law = Law { parts: Vec::new(), doubt: 0.0 };
    let mut add = |share: f64, pair: Law| {
        if share > 0.0 {
            law.parts.extend(pair.parts.into_iter().map(|part| Part { ln_weight: share.ln(), ..part }));
        }
    };
    // The probabilities are rounded: shares and rates upwards.
    let up = 1.0 + 1e-9;
    add((1.0 - full) * up, pair(mu, q));
    if full > 0.0 {
        let rate = (over * cap as f64 / (n as f64 * full) * up).min(1.0);
        let list = vec![(0.0, 1.0 - rate), (2.0 * mu, rate)];
        add(full * up, Law::of(Base::Mixtures(Mixtures::new(list.clone(), list))));
    }
    law
}

/// P(Bin(n, q) >= k), by the ratios of neighbouring probabilities from the likeliest one on; good to some 1e-11.
fn binomial_tail(n: u64, q: f64, k: u64) -> f64 {
    if k > n || q >= 1.0 {
        return if k > n { 0.0 } else { 1.0 };
    }
    let mode = (((n + 1) as f64 * q) as u64).min(n);
    let odds = q / (1.0 - q);
    let (mut total, mut above) = (0.0, 0.0);
    let mut count = |j: u64, weight: f64| {
        total += weight;
        if j >= k {
            above += weight;
        }
    };
    let (mut j, mut weight) = (mode, 1.0);
    while weight > 1e-300 {
        count(j, weight);
        if j == n {
            break;
        }
        weight *= (n - j) as f64 / (j + 1) as f64 * odds;
        j += 1;
    }
    let (mut j, mut weight) = (mode, 1.0);
    while j > 0 && weight > 1e-300 {
        weight *= j as f64 / ((n - j + 1) as f64 * odds);
        j -= 1;
        count(j, weight);
    }
    above / total
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
