//! Sensitivity of tree aggregation.

use crate::event::Participation;

/// Sum over all nodes of the squared number of participations below them, at most: the squared L2 sensitivity of all
/// noisy partial sums together, in clip norms (Kairouz et al. 2021, appendix D).
///
/// The trees are those of the binary representation of the number of steps, largest first. Every participation adds 1 to
/// each node above its leaf; a node with m participations below it has moved by at most m clip norms. The bound here lets
/// each node hold as many participations as the rule admits in its length by itself: ceil(length / (separation + 1)),
/// at most `participations`; over the nodes of one height, at most `participations` in all.
///
/// Also whether the bound is attained, by participations as early and as close to each other as allowed.
pub(crate) fn sensitivity_squared(rule: Participation) -> (f64, bool) {
    let apart = rule.separation().saturating_add(1);
    let heights = u64::BITS - rule.steps().leading_zeros();
    let early = rule.participations() <= MOST_LISTED;
    let (mut bound, mut attained) = (0.0, 0.0);
    for height in 0..heights {
        let length = 1_u64 << height;
        // The most that fit in the steps that nodes of this height cover, and the most in one node.
        let covered = (rule.steps() >> height) << height;
        let all = rule.participations().min(covered.div_ceil(apart));
        let one = rule.participations().min(length.div_ceil(apart));
        // A sum of squares with a bound on each and on the sum is largest with as many full ones as possible.
        let (full, rest) = (all / one, all % one);
        bound += full as f64 * (one as f64).powi(2) + (rest as f64).powi(2);
        if early {
            attained += squares((0..all).map(|k| (k * apart) >> height));
        }
    }
    // The logarithm of the number of steps bounds the roundings.
    if bound < EXACT { (bound, attained == bound) } else { (bound * (1.0 + 64.0 * f64::EPSILON), false) }
}

/// With more participations than this the early pattern is not counted out.
const MOST_LISTED: u64 = 100_000;

/// Sums of whole numbers below this are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Sum of the squared numbers of equal neighbours.
fn squares(nodes: impl Iterator<Item = u64>) -> f64 {
    let (mut total, mut last, mut count) = (0.0, None, 0.0_f64);
    for node in nodes {
        if last != Some(node) {
            total += count * count;
            (last, count) = (Some(node), 0.0);
        }
        count += 1.0;
    }
    total + count * count
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(participations: u64, separation: u64, steps: u64) -> Participation {
        Participation::new(steps, participations, separation).unwrap()
    }

    #[test]
    fn one_participation_counts_the_nodes_above_its_leaf() {
        for (steps, want) in [(1, 1.0), (2, 2.0), (3, 2.0), (8, 4.0), (1600, 11.0)] {
            let (square, exact) = sensitivity_squared(rule(1, 0, steps));
            assert!((square - want).abs() < 1e-9 && exact, "{steps}: {square}");
        }
    }

    #[test]
    fn no_pattern_exceeds_the_bound() {
        for steps in 1..=10_u64 {
            for participations in 1..=steps.min(4) {
                for separation in 0..4 {
                    let (bound, exact) = sensitivity_squared(rule(participations, separation, steps));
                    let mut worst = 0.0_f64;
                    for pattern in 0_u64..1 << steps {
                        let places: Vec<u64> = (0..steps).filter(|k| (pattern >> k) & 1 == 1).collect();
                        let apart = places.windows(2).all(|pair| pair[1] - pair[0] > separation);
                        if places.len() as u64 <= participations && apart {
                            let heights = u64::BITS - steps.leading_zeros();
                            let square = (0..heights).map(|height| {
                                let covered = (steps >> height) << height;
                                squares(places.iter().filter(|k| **k < covered).map(|k| k >> height))
                            });
                            worst = worst.max(square.sum());
                        }
                    }
                    let case = format!("{participations} of {steps}, {separation} apart");
                    assert!(worst <= bound, "{case}: {worst}, bound {bound}");
                    assert!(!exact || (worst - bound).abs() < 1e-9, "{case}: {worst}, said to be {bound}");
                }
            }
        }
    }
}
