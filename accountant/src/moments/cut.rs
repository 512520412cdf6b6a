//! The cut: a bound on |phi(y)| for all y >= Y at once, phi(y) = M(c + iy)/M(c) of one release.
//!
//! phi(y) = E_c e^{iyL} is an integral over x of an analytic integrand, so the line may be shifted to Im x = t s^2 for
//! any 0 < t < pi (to -t s^2 for ADD). There, with r+- = |w+-(x + i t s^2)| / w+-(x) <= 1 and a+- = the angle of
//! 1 - q + q e^{u+-} e^{it}, between 0 and t,
//!
//! |phi(y)| <= e^{s^2 t^2/2} E_c [ r+^A r-^B e^{-y (a+ + a-)} ]      (A, B: the real powers; no a- without w-).
//!
//! The right side falls with y: its value at Y bounds |phi| on all of [Y, infinity). It tends to 0 like e^{-Y q t},
//! however few the steps and however close the loss is to an atom, and for small Y the best t gives
//! 1 - Y^2 (E_c a')^2/(2 s^2) + .., close to the true decay 1 - Var_c(L) Y^2/2.
//!
//! The expectation is bounded cell by cell, as E_c [1 - ..], so that nothing is lost near 1. In a cell ln of the tilted
//! density has second derivative between -1/s^2 - (negative powers)/(4 s^4) and (positive powers)/(4 s^4) - 1/s^2, so
//! the mass is at least dx sqrt(p0 p1) e^{-convexity dx^2/8} and at most dx (p0 + p1)/2 e^{concavity dx^2/8}; a+ grows
//! and a- falls with x, and r is unimodal with its least value cos(t/2) at u = ln((1-q)/q). A label multiplies the mass,
//! and on the shifted line it grows as [`label`](super::label) says: hardly where it is nearly 1.

use std::f64::consts::{LN_2, PI};

use super::arm::{Arm, Line};
use super::label::Label;
use super::nodes::goal;
use super::tilt::Tilt;
use crate::exponentials::ln_add;

/// A bound on |phi|^n of one part of a term as a function of Y.
#[derive(Debug)]
pub(super) struct PartDecay {
    label: Label,
    count: f64,
    variance: f64,
    outside: Outside,
    cells: Vec<Cell>,
    widest: f64,
    /// The shifts t = widest / RATIO^k that were tried.
    shifts: Vec<Option<Shift>>,
    /// The k that was best last time.
    best: usize,
}

/// What the cells leave out: the sides where the label is cut off, with the arms there, and mass where 1 - v is at most
/// e^`ln_missing` and no power is negative.
#[derive(Debug)]
struct Outside {
    ln_sides: f64,
    ends: Vec<Cell>,
    flat: f64,
    ln_missing: f64,
}

/// One cell: bounds on its mass, ln of the largest 1 - v, and its arms.
#[derive(Debug)]
struct Cell {
    least: f64,
    most: f64,
    ln_missing: f64,
    plus: Arm,
    minus: Option<Arm>,
}

/// One t: its growth s^2 t^2/2, and for each cell lower bounds on -A ln r+ - B ln r- and on a+ + a-.
#[derive(Debug)]
struct Shift {
    growth: f64,
    cells: Vec<(f64, f64)>,
    /// What the mass outside can add to E_c [r+^A r-^B e^{..}], beyond itself and with itself.
    outside: (f64, f64),
}

/// Shifts nearly as far as the strip allows, and less by this factor each.
const WIDEST: f64 = 3.1;
const RATIO: f64 = 1.4;

/// Beyond the label's ends the cells reach as far as this growth of a line asks for.
const DEEP: f64 = 120.0;

/// More cells than this would cost more than they gain, in one term and in all together.
const MOST_CELLS: (f64, f64) = (2000.0, 1e5);

/// Cells for each of so many terms.
pub(super) fn most_cells(terms: usize) -> f64 {
    MOST_CELLS.0.min(MOST_CELLS.1 / terms as f64).max(1.0)
}

impl PartDecay {
    /// For the tilted part, whose power is `n` here, one of so many terms.
    pub(super) fn new(tilt: &Tilt, c: f64, n: f64, depth: f64, terms: usize) -> Self {
        let part = tilt.part;
        let (q, s, direction) = (part.term.rate, part.term.noise_multiplier, part.direction);
        let variance = s * s;
        let (power_plus, power_minus) = direction.powers(c);
        let ln_left = goal(&part, c, depth);
        // A line away from the real axis may grow by e^DEEP: the cells reach so much farther, but to the left of a label
        // that is 1 there.
        let flat = part.label.low == f64::NEG_INFINITY;
        let deep = part.ends(c, ln_left - DEEP);
        let (low, high) = if flat { (part.ends(c, ln_left).0, deep.1) } else { deep };
        let count = ((high - low) / (0.2 * s.min(variance))).ceil().clamp(1.0, most_cells(terms));
        let dx = (high - low) / count;
        let positive = power_plus.max(0.0) + power_minus.max(0.0);
        let negative = direction.negative_powers(c);
        let convexity = (positive / (4.0 * variance * variance) - 1.0 / variance).max(0.0) * dx * dx / 8.0;
        let concavity = (negative / (4.0 * variance * variance) + 1.0 / variance) * dx * dx / 8.0;
        // At every cell end: ln of the tilted density, its label aside, times dx, and u+-.
        let ln_scale = (dx / s).ln() - crate::normal::LN_SQRT_2PI - tilt.log_moment.0;
        let end = |k: u32| {
            let z = low + f64::from(k) * dx;
            let x = part.x(z);
            (z, ln_scale - 0.5 * x * x / variance + part.ln_tilt(c, x))
        };
        // Few steps need a small |phi|, many a |phi| not quite 1.
        let negligible = (-60.0 / n).exp() * 1e-4 * (30.0 / n).min(1.0) / count;
        // The sides where the label is cut off are at most this long.
        let sides = ln_add(part.ln_edges(c, (low, high)) + (PI * variance).ln(), ln_left - DEEP + LN_2);
        let mut cells = Vec::new();
        let cell = |(from, to): (f64, f64), (least, most): (f64, f64)| {
            let (a, b) = (part.exponents(part.x(from)), part.exponents(part.x(to)));
            let arm = |a: f64, b: f64, power: f64| Arm::new(Arm::odds(q, a), Arm::odds(q, b), power);
            Cell {
                least: least.min(most),
                most,
                ln_missing: part.label.ln_missing(to),
                plus: arm(a.0, b.0, power_plus),
                minus: (power_minus != 0.0).then(|| arm(a.1, b.1, power_minus)),
            }
        };
        if flat {
            for (from, to, ln_mass, ln_tilt) in part.left_of(low, c) {
                let most = 3.0 * (ln_mass + ln_tilt - tilt.log_moment.0).exp();
                if most > 0.0 {
                    cells.push(cell((from, to), (0.0, most)));
                }
            }
        }
        let ends = if flat {
            vec![cell((high, high), (0.0, 0.0))]
        } else {
            [low, high].map(|z| cell((z, z), (0.0, 0.0))).into()
        };
        let mut outside =
            Outside { ln_sides: sides - tilt.log_moment.0 + LN_2, ends, flat: 0.0, ln_missing: f64::NEG_INFINITY };
        let mut left = end(0);
        for k in 1..=count as u32 {
            let right = end(k);
            let most = 0.5 * (left.1.exp() + right.1.exp()) * concavity.exp();
            let range = (left.0, right.0);
            let ln_missing = part.label.ln_missing(right.0);
            if most < negligible && ln_missing < -100.0 && negative == 0.0 {
                outside.flat += most;
                outside.ln_missing = outside.ln_missing.max(ln_missing);
                left = right;
                continue;
            }
            let most = most * part.label.ln_most(range).exp();
            let least = (0.5 * (left.1 + right.1) - convexity + part.label.ln_least(range)).exp();
            cells.push(cell(range, (least, most)));
            left = right;
        }
        // From where s^2 t^2/2 is more than any N down to where it is a small part of N/n.
        let widest = WIDEST.min(16.0 / s);
        let steps = |t: f64| (widest / t).ln() / RATIO.ln();
        let trials = steps((2.0 / (s * n.sqrt())).min(0.5)).ceil().max(1.0) as usize;
        let shifts = std::iter::repeat_with(|| None).take(trials).collect();
        let best = (steps(6.0 / (s * n.sqrt())).max(0.0) as usize).min(trials - 1);
        Self { label: part.label, count: n, variance, outside, cells, shifts, widest, best }
    }

    /// n ln(1/rho(height)), at least 0, such that |phi(y)|^n <= rho^n for all y >= `height`.
    ///
    /// The best shift is near the one that was best for the last height.
    pub(super) fn exponent(&mut self, height: f64) -> f64 {
        let mut best = self.at(self.best, height);
        for back in [false, true] {
            loop {
                let next = if back { self.best.checked_sub(1) } else { Some(self.best + 1) };
                let Some(next) = next.filter(|next| *next < self.shifts.len()) else { break };
                let value = self.at(next, height);
                // Where nothing is gained yet, others may still gain.
                if value < best || (value == best && best > 0.0) {
                    break;
                }
                (best, self.best) = (value, next);
            }
        }
        // A part in 10^9 covers the rounding of everything here.
        self.count * best.max(0.0) * (1.0 - 1e-9)
    }

    /// ln(1/rho(height)) by the shift number k; every shift gives a bound.
    fn at(&mut self, k: usize, height: f64) -> f64 {
        let Self { label, variance, outside, cells, shifts, widest, .. } = self;
        let Some(slot) = shifts.get_mut(k) else { return 0.0 };
        let shift = slot.get_or_insert_with(|| {
            let t = *widest / RATIO.powf(k as f64);
            let label_growth = label.growth(*variance * t);
            let line = Line::new(t);
            let shrunk = |arm: Arm| arm.shrink(&line).min(0.0);
            let grow = |end: &Cell| label_growth - shrunk(end.plus) - end.minus.map_or(0.0, shrunk);
            let growth = outside.ends.iter().map(grow).fold(label_growth, f64::max);
            let sides = (outside.ln_sides + growth).exp();
            let flat_gain = Label::ln_gain(label_growth, outside.ln_missing);
            let flat = |gain: f64| if outside.flat > 0.0 { outside.flat * gain } else { 0.0 };
            Shift {
                growth: 0.5 * *variance * t * t,
                cells: cells.iter().map(|cell| cell.bounds(&line, label_growth)).collect(),
                outside: (flat(flat_gain.exp_m1()) + sides, flat(flat_gain.exp()) + sides),
            }
        });
        // Two bounds on the expectation: 1 - lost, sharp near 1, and kept, sharp near 0.
        let (mut lost, mut kept) = (-shift.outside.0, shift.outside.1);
        for (cell, (shrink, angle)) in cells.iter().zip(&shift.cells) {
            let exponent = shrink + height * angle;
            let keep = (-exponent).exp();
            let share = if exponent.abs() < 0.5 { -(-exponent).exp_m1() } else { 1.0 - keep };
            lost += share * if share > 0.0 { cell.least } else { cell.most };
            kept += keep * cell.most;
        }
        if lost.is_nan() || kept.is_nan() {
            // Infinity against nothing in a cell: this shift proves nothing, and `min` would forget that.
            return f64::NEG_INFINITY;
        }
        // A part in 10^11 covers the rounding of the masses.
        let logarithm = (-lost.min(1.0 - 1e-13)).ln_1p().min(kept.ln() + 1e-11);
        let value = -shift.growth - logarithm;
        if value.is_nan() { f64::NEG_INFINITY } else { value }
    }
}

impl Cell {
    /// Lower bounds on -A ln r+ - B ln r- less the growth of the label, and on a+ + a-, on a line.
    fn bounds(&self, line: &Line, label_growth: f64) -> (f64, f64) {
        let gain = Label::ln_gain(label_growth, self.ln_missing);
        let (shrink, angle) = (self.plus.shrink(line) - gain, self.plus.least_angle(line));
        self.minus.map_or((shrink, angle), |minus| (shrink + minus.shrink(line), angle + minus.least_angle(line)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::analytic::Mu;
    use crate::moments::composition::Composition;
    use crate::moments::direction::Direction;
    use crate::moments::turns::turns;
    use crate::terms::{Sampled, Terms};

    #[test]
    fn no_later_sample_exceeds_the_bound_and_it_is_not_idle() {
        // (sigma, q, n, c, Y, least share of the true exponent): many steps and few, small rates and large.
        for (s, q, n, c, height, share) in [
            (1.0, 0.01, 10_000, 4.0, 8.0, 0.3),
            (2.0, 0.2, 100, 6.0, 20.0, 0.3),
            (0.5, 0.001, 1000, 2.4, 200.0, 0.02),
            (1.5, 0.3, 3, 2.0, 60.0, 0.2),
        ] {
            for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
                let sampled = vec![Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: n }];
                let terms = Terms { sampled, ..Terms::default() };
                let mut composition = Composition::new(&terms, Mu { value: 0.0, error: 0.0 }, direction, -40.0);
                let tilts = composition.tilts(c, 5.0 * height, f64::INFINITY).unwrap();
                let bound = composition.decay(&tilts, c).exponent(height);
                let step = 0.05 * height;
                let turned = turns(&tilts[0].body, step, 100);
                let later = turned.values.iter().enumerate().skip(19);
                let (mut least, mut known) = (f64::INFINITY, f64::INFINITY);
                for (j, (re, im)) in later {
                    let (size, error) =
                        ((1.0 + re).hypot(*im), tilts[0].body.error(step * (j + 1) as f64, turned.rounding));
                    least = least.min(-(n as f64) * size.ln());
                    known = known.min(-(n as f64) * (size - error).max(0.0).ln());
                }
                let case = format!("{direction:?} ({s}, {q}, {n})");
                assert!(bound <= known + 1e-9 * known.abs(), "{case}: bound {bound} above the true exponent {least}");
                // Under ADD, l is bounded above, and the tilt moves the mass to where nothing turns.
                let share = if direction == Direction::Add { 0.1 * share } else { share };
                assert!(bound >= share * least.min(30.0), "{case}: bound {bound}, true exponent {least}");
            }
        }
    }
}
