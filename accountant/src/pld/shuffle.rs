//! What a shuffled pass costs at least.
//!
//! Let all other units contribute -1 clip norm in one direction to each batch, which is public knowledge and taken off, and
//! the unit in question +1: its batch is shifted by 2. Under zero-out it contributes nothing in the neighbour, a shift of 1;
//! under replace it contributes -1 there, no shift at all. Which batch it is in is uniform. The largest of the batches'
//! sums is a function of the release, so the laws of that one number bound the cost from below, over any number of passes
//! (Chua et al. 2024, there with one threshold for it).

use super::lattice::Side;
use super::law::{Atom, Base, Law};
use super::quadrature;
use super::releases::{Ask, Way};
use crate::normal::{LN_SQRT_2PI, ln_tail};
use crate::relation::Relation;

/// With less noise than one in this nothing is proved: cells are many, and hardly anything is hidden.
pub(super) const STEEPEST: f64 = 50.0;

/// Cells of the largest sum that are merged into one outcome each, in standard deviations.
const CELL: f64 = 0.01;

/// More than covers the error of the quadrature.
const MARGIN: f64 = 1e-9;

/// The laws of the largest sum as a pair. `mu` is 1 / noise multiplier.
pub(super) fn law(mu: f64, steps: u64, ask: Ask) -> Law {
    debug_assert_eq!(ask.side, Side::Lower);
    let low = if ask.relation == Relation::Replace { 0.0 } else { mu };
    let shifts = if ask.way == Way::Remove { [2.0 * mu, low] } else { [low, 2.0 * mu] };
    let others = (steps - 1) as f64;
    // ln of the density at x of the largest of one N(s, 1) and `others` N(0, 1).
    let ln_density = |x: f64, s: f64| {
        let own = -0.5 * (x - s) * (x - s) - LN_SQRT_2PI + others * ln_tail(-x);
        let theirs = others.ln() + ln_tail(s - x) - 0.5 * x * x - LN_SQRT_2PI + (others - 1.0) * ln_tail(-x);
        let (small, large) = if own < theirs { (own, theirs) } else { (theirs, own) };
        large + (small - large).exp().ln_1p()
    };
    let mut list = Vec::new();
    let end = 2.0 * mu + 39.0;
    let cells = ((end + 39.0) / CELL).ceil() as u64;
    let width = (end + 39.0) / cells as f64;
    for k in 0..cells {
        let from = -39.0 + width * k as f64;
        // Where all of them together are hardly ever so small there is nothing to merge.
        if others * ln_tail(-(from + width)) < -745.0 {
            continue;
        }
        let masses = shifts.map(|s| {
            let mut sum = 0.0;
            let reach = 2.0 + from.abs() + 2.0 * mu + others.min(3000.0);
            quadrature::nodes(from, from + width, |_| reach, |x, weight| sum += weight * ln_density(x, s).exp());
            sum
        });
        if masses.iter().all(|mass| *mass > 1e-280) {
            let [p, q] = masses.map(f64::ln);
            list.push(Atom::new(p - MARGIN, q + MARGIN));
        }
    }
    list.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    Law::of(Base::Atoms(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_threshold_alone_proves_no_more() {
        // sigma = 0.5, 100 steps, delta = 1e-6: max over C of [1 - Phi((C-2)/s) Phi(C/s)^99] - e^eps [the same with 1]
        // is 1e-6 at eps = 10.997 (the published cube-set bound).
        let ask = Ask { relation: Relation::ZeroOut, way: Way::Remove, side: Side::Lower, tail: Some(1e-30) };
        let atoms: Vec<_> = law(2.0, 100, ask).atoms().collect();
        let total: f64 = atoms.iter().map(|atom| atom.ln_p.exp()).sum();
        assert!((total - 1.0).abs() < 1e-8, "{total}");
        let delta: f64 = atoms.iter().map(|atom| atom.ln_p.exp() * -(10.997 - atom.loss).min(0.0).exp_m1()).sum();
        assert!(delta > 0.99e-6 && delta < 1.2e-6, "{delta}");
    }
}
