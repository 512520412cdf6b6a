//! The law of a sum of likelihood ratios on a ladder of lattices: fine in the bulk, coarser and coarser further up.

use super::product::roundings;
use super::rung::{Lost, Rung};
use crate::pld::lattice::Side;

/// A rung reaches from `WIDTH` to 2 `WIDTH` of its steps above the centre, the lowest one from 0: relative to the
/// distance from the centre a step is at most 1/`WIDTH`.
pub(super) const WIDTH: i64 = 512;

/// The law under Q of the sum of `count` likelihood ratios.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    pub(super) side: Side,
    /// The mean of one summand, around which the lowest rung lies: 0 or 1.
    pub(super) centre: f64,
    /// Summands.
    pub(super) count: u64,
    /// The exponent of the lowest rung; each further one has steps twice as long.
    pub(super) lowest: i32,
    pub(super) rungs: Vec<Rung>,
    /// Bounds Q(dropped) and E_Q [S; dropped].
    pub(super) lost: Lost,
    /// Masses and moments are within this of themselves, relatively.
    pub(super) error: f64,
}

impl Ladder {
    /// Nothing yet, with its lowest rung here.
    pub(super) fn new(side: Side, centre: f64, count: u64, lowest: i32) -> Self {
        Self { side, centre, count, lowest, rungs: Vec::new(), lost: Lost::default(), error: 0.0 }
    }

    /// The rungs with their exponents.
    pub(super) fn steps(&self) -> impl Iterator<Item = (i32, &Rung)> {
        (self.lowest..).zip(&self.rungs)
    }

    fn rung(&self, exponent: i32) -> Option<&Rung> {
        self.rungs.get(usize::try_from(exponent - self.lowest).ok()?)
    }

    /// One past the exponent of the highest rung.
    fn end(&self) -> i32 {
        self.lowest + self.rungs.len() as i32
    }

    /// No value of the sum is larger.
    pub(super) fn end_value(&self) -> f64 {
        (self.centre * self.count as f64 + (2 * WIDTH) as f64 * 2_f64.powi(self.end() - 1)) * (1.0 + f64::EPSILON)
    }

    /// Puts masses where they belong: never below the lowest rung, and what is beyond a rung on higher ones.
    pub(super) fn settle(&mut self, mut exponent: i32, mut rung: Rung) {
        while exponent < self.lowest {
            rung = rung.coarsened(self.side);
            exponent += 1;
        }
        while !rung.masses.is_empty() {
            let centre = (self.centre * self.count as f64 * 2_f64.powi(-exponent)).floor() as i64;
            let beyond = rung.split_off(centre + 2 * WIDTH);
            let k = (exponent - self.lowest) as usize;
            if self.rungs.len() <= k {
                self.rungs.resize_with(k + 1, Rung::default);
            }
            if let Some(here) = self.rungs.get_mut(k) {
                here.add(&rung);
            }
            rung = beyond.coarsened(self.side);
            exponent += 1;
        }
    }

    /// The sum of two independent ones, its lowest rung at this exponent.
    ///
    /// Rung by rung: what both have at or below a step, at least one of them at it, is summed on that step; what is below
    /// is first taken there, in the safe way.
    pub(super) fn plus(&self, other: &Self, lowest: i32) -> Self {
        let mut sum = self.joined(other, lowest);
        let (mut below, mut others_below) = (Rung::default(), Rung::default());
        let nothing = Rung::default();
        for exponent in self.lowest.min(other.lowest)..self.end().max(other.end()) {
            let at = self.rung(exponent).unwrap_or(&nothing);
            let others_at = other.rung(exponent).unwrap_or(&nothing);
            sum.settle(exponent, below.convolved(others_at));
            below.add(at);
            others_below.add(others_at);
            sum.settle(exponent, at.convolved(&others_below));
            (below, others_below) = (below.coarsened(self.side), others_below.coarsened(self.side));
        }
        sum
    }

    /// The sum of two independent copies, its lowest rung at this exponent.
    pub(super) fn square(&self, lowest: i32) -> Self {
        let mut sum = self.joined(self, lowest);
        let mut below = Rung::default();
        for (exponent, at) in self.steps() {
            // at at + 2 at below = at (at + 2 below).
            let mut partner = below.doubled();
            partner.add(at);
            sum.settle(exponent, at.convolved(&partner));
            below.add(at);
            below = below.coarsened(self.side);
        }
        sum
    }

    /// An empty ladder for the sum, with the losses and errors of both.
    fn joined(&self, other: &Self, lowest: i32) -> Self {
        let mut sum = Self::new(self.side, self.centre, self.count + other.count, lowest);
        // Union bound; the mean of the other summand is its count, independently of what this one lost.
        sum.lost.mass = self.lost.mass + other.lost.mass;
        sum.lost.moment = self.lost.moment
            + self.lost.mass * other.count as f64
            + other.lost.moment
            + other.lost.mass * self.count as f64;
        // Roundings between the terms that go into a mass, or a moment, and itself. One product. For each rung passed: at
        // most 4 where a factor is coarsened with all below, 3 where the result is, and 2 where it is put with what came
        // from other rungs. A factor has no more masses than all rungs together, in fewer runs than rungs.
        let longest: usize =
            [self, other].map(|of| of.rungs.iter().map(|rung| rung.masses.len()).sum()).into_iter().min().unwrap_or(0);
        let rungs = self.rungs.len() + other.rungs.len() + (lowest - self.lowest.min(other.lowest)).max(0) as usize;
        let all = roundings(longest) + 16 * rungs + 16;
        // (1 + a)(1 + b) - 1, and 1.01 for the products with the last term: all of them are below MOST_ERROR in the end.
        sum.error = self.error + other.error + self.error * other.error + all as f64 * f64::EPSILON / 2.0 * 1.01;
        sum
    }

    /// Drops what costs at most `budget` in all; `cost` takes the sum's value and the mass there.
    pub(super) fn trim(&mut self, budget: f64, cost: impl Fn(f64, f64) -> f64) {
        let each = budget / (2 * self.rungs.len().max(1)) as f64;
        // The computed mass may be below the true one by its error.
        let cover = 1.0 + 2.0 * self.error + 1e-12;
        for (exponent, rung) in (self.lowest..).zip(&mut self.rungs) {
            let step = 2_f64.powi(exponent);
            let lost = rung.trim(each, |point, mass| cost(point as f64 * step, mass));
            self.lost.mass += lost.mass * cover;
            self.lost.moment += lost.moment * step * cover;
        }
        while self.rungs.last().is_some_and(|rung| rung.masses.is_empty()) {
            self.rungs.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ladder with atoms at a few points of a few rungs; cells of the lower side have their mean a third into the step.
    fn ladder(side: Side, lowest: i32, atoms: &[(i32, i64, f64)]) -> Ladder {
        let mut ladder = Ladder::new(side, 0.0, 1, lowest);
        for (exponent, point, mass) in atoms {
            let moments = if side == Side::Lower { vec![mass / 3.0] } else { Vec::new() };
            ladder.settle(*exponent, Rung { first: *point, masses: vec![*mass], moments });
        }
        ladder
    }

    /// (value, mass) of every atom.
    fn atoms(ladder: &Ladder) -> Vec<(f64, f64)> {
        let mut atoms = Vec::new();
        for (exponent, rung) in ladder.steps() {
            for (k, mass) in rung.masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
                let within = rung.moments.get(k).map_or(0.0, |moment| moment / mass);
                atoms.push((((rung.first + k as i64) as f64 + within) * 2_f64.powi(exponent), *mass));
            }
        }
        atoms
    }

    fn excess(atoms: &[(f64, f64)], over: f64) -> f64 {
        atoms.iter().map(|(value, mass)| mass * (value - over).max(0.0)).sum()
    }

    #[test]
    fn sums_are_spread_above_and_contracted_below() {
        for side in [Side::Upper, Side::Lower] {
            let a = ladder(side, -3, &[(-3, 5, 0.2), (-3, 6, 0.1), (-3, 1001, 0.2), (2, 700, 0.4), (4, 555, 0.1)]);
            let b = ladder(side, -2, &[(-2, 0, 0.5), (-2, 333, 0.3), (3, 901, 0.2)]);
            for (x, y, sum) in [(&a, &b, a.plus(&b, 0)), (&b, &a, b.plus(&a, 0)), (&a, &a, a.square(-1))] {
                let pairs = |x: &(f64, f64)| atoms(y).into_iter().map(|y| (x.0 + y.0, x.1 * y.1)).collect::<Vec<_>>();
                let exact: Vec<_> = atoms(x).iter().flat_map(pairs).collect();
                let got = atoms(&sum);
                assert_eq!(sum.count, 2);
                assert!((got.iter().map(|atom| atom.1).sum::<f64>() - 1.0).abs() < 1e-14);
                assert!((excess(&got, 0.0) / excess(&exact, 0.0) - 1.0).abs() < 1e-14);
                let mut differs = false;
                let fine = (0..200).map(|k| 0.05 * f64::from(k));
                let overs =
                    fine.chain((0..4000).map(|k| 0.25 * f64::from(k))).chain((0..400).map(|k| 100.0 * f64::from(k)));
                for over in overs {
                    let (got, exact) = (excess(&got, over), excess(&exact, over));
                    let slack = 1e-12 * (1.0 + exact);
                    match side {
                        Side::Upper => assert!(got >= exact - slack, "{over}: {got} {exact}"),
                        Side::Lower => assert!(got <= exact + slack, "{over}: {got} {exact}"),
                    }
                    assert!((got - exact).abs() < 4.0, "{over}: {got} {exact}");
                    differs |= (got - exact).abs() > slack;
                }
                assert!(differs, "the steps of the sum are too fine for this to be a test");
            }
        }
    }

    #[test]
    fn what_is_dropped_is_charged() {
        let mut sum = ladder(Side::Upper, 0, &[(0, 1, 0.25), (0, 2, 0.5), (0, 9, 0.25)]);
        sum.trim(1.2, |value, mass| value * mass);
        assert_eq!(atoms(&sum), [(2.0, 0.5), (9.0, 0.25)]);
        assert!(sum.lost.mass >= 0.25 && sum.lost.moment >= 0.25 && sum.lost.moment < 0.251);
        let squared = sum.square(0);
        // Either copy is lost with mass 1/4; the mean of the other is its count, 1.
        assert!(squared.lost.mass >= 0.5 && squared.lost.moment >= 2.0 * (0.25 + 0.25) && squared.lost.moment < 1.01);
    }
}
