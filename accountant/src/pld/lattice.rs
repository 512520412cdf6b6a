//! Laws on a lattice of losses: pessimistic by rounding, optimistic by merging.
//!
//! **Upper side.** Mass at a loss l between neighbouring points e < e' goes to e' with weight (1 - e^-(l-e))/(1 - e^-(e'-e))
//! and to e otherwise. An outcome is split into two of the same joint P- and Q-mass, which post-processing undoes: the
//! result dominates. It is the optimal pessimistic rounding (Doroshenko et al. 2022, there as second differences of the
//! profile).
//!
//! **Lower side.** All outcomes with losses in a cell around a point are merged into one of loss ln(P/Q) = r, which is
//! post-processing. Where r < e some mass of the next outcome above is merged in (an outcome may be split first, which
//! is post-processing too), where r > e some of the next below, such that the ratio becomes e. Where too little is there
//! to borrow, the loss is rounded down with its P-mass kept: E_P (1 - e^(eps - L))_+ grows with L.
//!
//! Both err by the second power of the step; the lower side by half as much as the upper one.

use super::law::Law;

/// On which side of the truth a law lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It dominates.
    Upper,
    /// It is dominated.
    Lower,
}

/// A law on some points of a lattice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Points {
    pub(super) step: f64,
    /// The loss of point 0.
    pub(super) offset: f64,
    /// Losses less the offset in units of the step, ascending.
    pub(super) at: Vec<i64>,
    /// Their P-masses.
    pub(super) mass: Vec<f64>,
    /// P-mass at infinity.
    pub(super) infinite: f64,
    /// The losses behind the masses may have been wrong by this much, by rounding.
    pub(super) doubt: f64,
}

/// An atom this close to a point, relative to its loss, lies on it.
const SAME: f64 = 32.0 * f64::EPSILON;

/// Mass that goes to the lower and to the upper end of each cell between neighbouring losses, rounded to the side asked.
fn split(law: &Law, ends: &[f64], side: Side, skip: impl Fn(f64) -> bool) -> Vec<(f64, f64)> {
    let directed = |mass: f64, doubt: f64| match side {
        Side::Upper => mass * (1.0 + doubt),
        Side::Lower => mass * (1.0 - doubt).max(0.0),
    };
    let shares = |from: f64, to: f64, loss: f64| {
        let width = to - from;
        let rise = (loss - from).clamp(0.0, width);
        let all = -(-width).exp_m1();
        // Both are sums of positive terms: nothing cancels.
        ((-rise).exp() * -(rise - width).exp_m1() / all, -(-rise).exp_m1() / all)
    };
    let mut cells = vec![(0.0, 0.0); ends.len().saturating_sub(1)];
    for (cell, pair) in cells.iter_mut().zip(ends.windows(2)) {
        if let [from, to] = *pair {
            law.nodes(from, to, &mut |node| {
                let (low, high) = shares(from, to, node.loss);
                let mass = directed(node.ln_p.exp(), node.doubt());
                cell.0 += mass * low;
                cell.1 += mass * high;
            });
        }
    }
    for node in law.atoms().filter(|node| !skip(node.loss)) {
        // The cell (from, to] that holds it.
        let above = ends.partition_point(|end| *end < node.loss);
        if let (Some(cell), Some(to)) = (above.checked_sub(1).and_then(|k| cells.get_mut(k)), ends.get(above)) {
            let (low, high) = shares(ends[above - 1], *to, node.loss);
            let mass = directed(node.ln_p.exp(), node.doubt());
            cell.0 += mass * low;
            cell.1 += mass * high;
        }
    }
    cells
}

impl Points {
    /// The law on the given points (ascending, at least two) of a lattice.
    pub(super) fn place(law: &Law, (step, offset): (f64, f64), at: &[i64], side: Side) -> Self {
        let loss = |k: i64| step * k as f64 + offset;
        let far = at.iter().map(|k| loss(*k).abs()).fold(offset.abs(), f64::max);
        // Losses, cells and merged ratios each carry a few roundings of the largest of them, atoms on points some more.
        let doubt = 8.0 * f64::EPSILON * far + SAME * far + law.doubt;
        match side {
            Side::Upper => {
                let ends: Vec<f64> = at.iter().map(|k| loss(*k)).collect();
                let mut mass = vec![0.0; at.len()];
                for (k, (low, high)) in split(law, &ends, side, |_| false).into_iter().enumerate() {
                    mass[k] += low;
                    mass[k + 1] += high;
                }
                let up = 1.0 + 1e-12;
                let below = ends.first().map_or(f64::NEG_INFINITY, |end| law.ln_below(*end));
                let above = ends.last().map_or(0.0, |end| law.ln_above(*end));
                if let Some(first) = mass.first_mut() {
                    *first += below.exp() * up;
                }
                // What lies beyond every quadrature is less than the least positive number.
                let infinite = law.infinite() * up + above.exp() * up + f64::MIN_POSITIVE;
                Self { step, offset, at: at.to_vec(), mass, infinite, doubt }
            }
            Side::Lower => {
                let (mass, infinite) = (merged(law, (step, offset), at), law.infinite() * (1.0 - 1e-12));
                Self { step, offset, at: at.to_vec(), mass, infinite, doubt }
            }
        }
    }

    /// The highest point.
    pub(super) fn top(&self) -> i64 {
        self.at.last().copied().unwrap_or(0)
    }
}

/// ln(P/Q) of all outcomes with losses in (from, to] together.
pub(super) fn merged_ratio(law: &Law, from: f64, to: f64) -> Option<f64> {
    let [(low, high)] = *split(law, &[from, to], Side::Lower, |_| false).as_slice() else { return None };
    (low + high > 0.0).then(|| ratio((low, high), from, to))
}

/// The ratio of masses at the lower and the upper end of a cell together, as a loss: -ln of (low e^-from + high e^-to)/(low + high).
///
/// What is lost in it makes it too small, and to merge or to round to less than there is stays below the truth.
fn ratio((low, high): (f64, f64), from: f64, to: f64) -> f64 {
    let mass = low + high;
    if mass <= 0.0 {
        from
    } else if to - from < 1.0 {
        from - (high / mass * (from - to).exp_m1()).ln_1p()
    } else {
        // Nothing cancels; in a very wide cell the upper end's part may vanish beside nothing at all.
        let share = (low + high * (from - to).exp()) / mass;
        if share > 1e-290 { (from - share.ln()).clamp(from, to) } else { from }
    }
}

/// How many outcomes may lend to one.
const LENDERS: usize = 64;

/// How many lenders are counted on.
const SEEN: usize = 6;

/// Rounding down a little beats merging over more steps than this.
const NEAR: i64 = 64;

/// The masses of the lower side.
fn merged(law: &Law, (step, offset): (f64, f64), at: &[i64]) -> Vec<f64> {
    let loss = |k: i64| step * k as f64 + offset;
    let n = at.len();
    // Atoms on a point stay there.
    let on_point = |at_loss: f64| {
        let near = ((at_loss - offset) / step).round();
        ((near * step + offset - at_loss).abs() <= SAME * at_loss.abs().max(offset.abs())).then_some(near as i64)
    };
    let place_of = |k: i64| at.binary_search(&k).ok();
    let known = |at_loss: f64| on_point(at_loss).and_then(place_of);
    // The ends of the cells: half way between neighbouring points, and as far outside of the first and the last.
    let mut ends = Vec::with_capacity(n + 1);
    for pair in at.windows(2) {
        if let [from, to] = *pair {
            if ends.is_empty() {
                ends.push(loss(from) - 0.5 * (loss(to) - loss(from)));
            }
            ends.push(0.5 * (loss(from) + loss(to)));
        }
    }
    if let [.., from, to] = *at {
        ends.push(loss(to) + 0.5 * (loss(to) - loss(from)));
    }
    let cells = split(law, &ends, Side::Lower, |at_loss| known(at_loss).is_some());
    // Each cell as one outcome: its mass and its ratio.
    let outcomes: Vec<(f64, f64)> = cells
        .iter()
        .zip(ends.windows(2))
        .map(|(ends, pair)| (ends.0 + ends.1, ratio(*ends, pair[0], pair[1])))
        .collect();
    let mut own: Vec<f64> = outcomes.iter().map(|(mass, _)| *mass).collect();
    let mut result = vec![0.0; n];
    let full: Vec<usize> = (0..n).filter(|k| outcomes[*k].0 > 0.0).collect();
    // The point each outcome is brought to: its cell's, or the next one on the other side of it where those that would
    // have to lend are too light.
    let mut goal: Vec<usize> = (0..n).collect();
    for (place, &k) in full.iter().enumerate() {
        let (mass, ratio) = outcomes[k];
        let point = loss(at[k]);
        // Both sides of the inequality are multiples of P-mass, as below; a quarter of each lender may be counted on.
        let worth = |donor: &usize| 0.25 * outcomes[*donor].0 * (point - outcomes[*donor].1).exp_m1().abs();
        let wanted = mass * (point - ratio).exp_m1().abs();
        if ratio > point && k + 1 < n {
            let below = full[..place].iter().rev().take(SEEN).take_while(|donor| at[k] - at[**donor] <= NEAR);
            if below.map(worth).sum::<f64>() < wanted
                && full.get(place + 1).is_some_and(|next| at[*next] - at[k] <= NEAR)
            {
                goal[k] = k + 1;
            }
        } else if ratio < point && k > 0 {
            let above = full[place + 1..].iter().take(SEEN);
            let near = place.checked_sub(1).and_then(|next| full.get(next));
            if above.map(worth).sum::<f64>() < wanted && near.is_some_and(|next| at[k] - at[*next] <= NEAR) {
                goal[k] = k - 1;
            }
        }
    }
    // From left to right, those below their point: the next ones above lend, half of what they have at most. An outcome
    // that has lent is lighter and needs less; one that lends later makes the ratio only larger.
    for (place, &k) in full.iter().enumerate() {
        let ratio = outcomes[k].1;
        let point = loss(at[goal[k]]);
        if ratio >= point {
            continue;
        }
        let wanted = own[k] * (point - ratio).exp_m1();
        let mut missing = wanted;
        for &donor in full.iter().skip(place + 1).take(LENDERS) {
            let worth = -(point - outcomes[donor].1).exp_m1();
            if missing <= 0.0 {
                break;
            }
            if worth > 0.0 {
                let given = (missing / worth).min(0.5 * own[donor]);
                own[donor] -= given;
                result[goal[k]] += given;
                missing -= given * worth;
            }
        }
        let lifted = if wanted > 0.0 { (1.0 - missing / wanted).clamp(0.0, 1.0) } else { 1.0 };
        // What could not be lifted is rounded down to the point below its ratio.
        let left = own[k] * (1.0 - lifted);
        own[k] -= left;
        let floor = if goal[k] > k { Some(k) } else { k.checked_sub(1) };
        if let Some(floor) = floor {
            result[floor] += left;
        }
    }
    // From right to left, those above their point, with what is left of them by now: the ones below lend.
    for (place, &k) in full.iter().enumerate().rev() {
        let ratio = outcomes[k].1;
        let point = loss(at[goal[k]]);
        let mut wanted = own[k] * -(point - ratio).exp_m1();
        for &donor in full[..place].iter().rev().take(LENDERS) {
            let worth = (point - outcomes[donor].1).exp_m1();
            if wanted <= 0.0 || at[k] - at[donor] > NEAR {
                break;
            }
            if worth > 0.0 {
                let given = (wanted / worth).min(0.5 * own[donor]);
                own[donor] -= given;
                result[goal[k]] += given;
                wanted -= given * worth;
            }
        }
        result[goal[k]] += own[k];
    }
    result.iter_mut().for_each(|sum| *sum *= 1.0 - 64.0 * f64::EPSILON);
    for node in law.atoms() {
        if let Some(place) = known(node.loss) {
            result[place] += node.ln_p.exp() * (1.0 - node.doubt());
        }
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pld::law::Base;
    use crate::pld::view::View;

    /// delta(eps) of one release on points, and of the same law exactly (Balle & Wang 2018).
    fn delta(points: &Points, eps: f64) -> f64 {
        let loss = |k: &i64| points.step * *k as f64 + points.offset;
        let each = points.at.iter().zip(&points.mass).map(|(k, mass)| mass * -(eps - loss(k)).min(0.0).exp_m1());
        points.infinite + each.sum::<f64>()
    }

    fn exact(mu: f64, eps: f64) -> f64 {
        crate::normal::tail(eps / mu - mu / 2.0) - eps.exp() * crate::normal::tail(eps / mu + mu / 2.0)
    }

    #[test]
    fn rounding_lies_above_and_merging_below_the_truth_by_the_square_of_the_step() {
        let law = Law::of(Base::Gaussian { mu: 1.0 });
        let mut gaps = Vec::new();
        for step in [0.1, 0.05] {
            let at: Vec<i64> = ((-12.0 / step) as i64..=(12.0 / step) as i64).collect();
            for offset in [0.0, 0.3 * step] {
                let [upper, lower] =
                    [Side::Upper, Side::Lower].map(|side| Points::place(&law, (step, offset), &at, side));
                let mut gap = 0.0_f64;
                for k in -20..40 {
                    let eps = 0.1 * f64::from(k);
                    let (high, low, truth) = (delta(&upper, eps), delta(&lower, eps), exact(1.0, eps));
                    assert!(low <= truth && truth <= high, "step {step}, eps {eps}: {low} {truth} {high}");
                    gap = gap.max(high - low);
                }
                gaps.push(gap);
            }
        }
        assert!(gaps[2] < 0.3 * gaps[0] && gaps[0] < 1e-3, "{gaps:?}");
    }

    #[test]
    fn rounding_down_is_no_upper_side() {
        // The negative control: the same masses, all at the lower ends of their cells.
        let law = Law::of(Base::Gaussian { mu: 1.0 });
        let at: Vec<i64> = (-120..=120).collect();
        let mut points = Points::place(&law, (0.1, 0.0), &at, Side::Upper);
        points.at.iter_mut().for_each(|k| *k -= 1);
        assert!((0..30).any(|k| delta(&points, 0.1 * f64::from(k)) < exact(1.0, 0.1 * f64::from(k))));
    }

    #[test]
    fn masses_are_kept_above_and_never_made_below() {
        for view in [View::Plain, View::Remove(1e-3), View::Add(0.3), View::Remove(0.9)] {
            let law = Law::of(Base::Gaussian { mu: 2.0 }).seen(view);
            for step in [0.3, 0.01] {
                let (low, high) = law.range(-60.0, -60.0);
                let at: Vec<i64> = ((low / step).floor() as i64..=(high / step).ceil() as i64).collect();
                let upper = Points::place(&law, (step, 0.0), &at, Side::Upper);
                let lower = Points::place(&law, (step, 0.0), &at, Side::Lower);
                let total = |points: &Points| points.mass.iter().sum::<f64>() + points.infinite;
                assert!((1.0..1.0 + 1e-10).contains(&total(&upper)), "{view:?}: {}", total(&upper));
                assert!(total(&lower) <= 1.0 && total(&lower) > 1.0 - 1e-9, "{view:?}: {}", total(&lower));
                assert!(lower.mass.iter().all(|mass| *mass >= 0.0));
                // Q keeps its mass by rounding; merging and rounding down only take from it or from P.
                let q: f64 = upper.at.iter().zip(&upper.mass).map(|(k, mass)| mass * (-step * *k as f64).exp()).sum();
                assert!((q - 1.0).abs() < 1e-9, "{view:?}: {q}");
            }
        }
    }

    #[test]
    fn atoms_on_points_stay_and_others_are_rounded_down() {
        use crate::pld::law::Atom;
        let coin = |loss: f64| {
            let p = 1.0 / (1.0 + (-loss).exp());
            let side = |p: f64, q: f64, loss: f64| Atom { ln_p: p.ln(), ln_q: q.ln(), loss };
            Law::of(Base::Atoms(vec![side(1.0 - p, p, -loss), side(p, 1.0 - p, loss)]))
        };
        let at: Vec<i64> = (-20..=20).collect();
        let exact = Points::place(&coin(1.0), (0.1, 0.0), &at, Side::Lower);
        assert!(exact.mass[30] > 0.73 && exact.mass[10] > 0.26, "{exact:?}");
        let between = Points::place(&coin(1.03), (0.1, 0.0), &at, Side::Lower);
        assert!(between.mass[30] > 0.7 && between.mass[31] == 0.0, "{between:?}");
        assert!(delta(&between, 0.5) < delta(&Points::place(&coin(1.03), (0.1, 0.0), &at, Side::Upper), 0.5));
    }
}
