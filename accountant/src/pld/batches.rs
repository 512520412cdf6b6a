//! The pairs of samples that are no Poisson samples: batches of fixed size, and batches cut to one.

use super::lattice::Side;
use super::law::{Atom, Base, Law, Part};
use super::mixtures::Mixtures;
use super::releases::Way;
use super::view::View;
use crate::analytic::Mu;
use crate::event::Batches;
use crate::normal::tail;

const E: f64 = f64::EPSILON;

/// The pair of a uniformly random batch of fixed size, one unit replaced.
///
/// Upper side: the profile at eps >= 0 is at most that of ((1-g) Q + g P, Q), g = batch/records and (P, Q) the pair of the
/// release under replace (Balle, Barthe & Gaboardi 2018, theorem 9), and the relation is its own mirror image: the loss
/// above 0 is that of the pair, below 0 its mirror image, and what is left of P's mass is at 0. Lower side: that pair
/// itself, attained where every other unit contributes what the one in question does under Q.
pub(super) fn without_replacement(base: &Law, batches: Batches, side: Side) -> Law {
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
pub(super) fn truncated(mu: Mu, q: f64, batches: Batches, way: Way) -> Law {
    let mu = super::releases::directed(mu, Side::Upper);
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
