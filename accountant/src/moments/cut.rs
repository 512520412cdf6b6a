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
//! and a- falls with x, and r is unimodal with its least value cos(t/2) at u = ln((1-q)/q).

use super::arm::Arm;
use super::composition::Composition;
use super::nodes::range;
use super::tilt::Tilt;
use crate::rdp::ln_ratio;
use crate::terms::Sampled;

/// A bound on |phi|^n of one term as a function of Y.
#[derive(Debug)]
struct TermDecay {
    count: f64,
    variance: f64,
    /// The sum of the negative powers.
    negative: f64,
    /// The mass that the cells leave out.
    outside: f64,
    cells: Vec<Cell>,
    /// The shifts t = WIDEST / RATIO^k that were tried.
    shifts: Vec<Option<Shift>>,
    /// The k that was best last time.
    best: usize,
}

/// One cell: bounds on its mass, and its arms.
#[derive(Debug)]
struct Cell {
    least: f64,
    most: f64,
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

/// More cells than this would cost more than they gain, in one term and in all together.
const MOST_CELLS: (f64, f64) = (2000.0, 1e5);

/// The decay of a composition along the contour at order c.
#[derive(Debug)]
pub(super) struct Decay {
    half_square: f64,
    terms: Vec<TermDecay>,
}

impl Decay {
    pub(super) fn new(composition: &Composition, tilts: &[Tilt], c: f64) -> Self {
        let mu = composition.mu.value * (1.0 - composition.mu.error);
        let terms = composition.terms.iter().zip(tilts);
        Self {
            half_square: 0.5 * mu * mu,
            terms: terms.map(|(term, tilt)| TermDecay::new(composition, *term, tilt, c)).collect(),
        }
    }

    /// N such that |M(c + iy)| <= e^-N M(c) for every y >= `height`.
    pub(super) fn exponent(&mut self, height: f64) -> f64 {
        let gaussian = self.half_square * height * height;
        let sampled: f64 = self.terms.iter_mut().map(|term| term.exponent(height)).sum();
        // A part in 10^9 covers the rounding of everything here.
        (gaussian + sampled) * (1.0 - 1e-9)
    }
}

impl TermDecay {
    fn new(composition: &Composition, term: Sampled, tilt: &Tilt, c: f64) -> Self {
        let Sampled { rate: q, noise_multiplier: s, .. } = term;
        let variance = s * s;
        let direction = composition.direction;
        let (power_plus, power_minus) = direction.powers(c);
        let (low, high) = range(s, direction, c, composition.depth(&term));
        let most_cells = MOST_CELLS.0.min(MOST_CELLS.1 / composition.terms.len() as f64).max(1.0);
        let count = ((high - low) / (0.2 * s.min(variance))).ceil().clamp(1.0, most_cells);
        let dx = (high - low) / count;
        let positive = power_plus.max(0.0) + power_minus.max(0.0);
        let negative = direction.negative_powers(c);
        let convexity = (positive / (4.0 * variance * variance) - 1.0 / variance).max(0.0) * dx * dx / 8.0;
        let concavity = (negative / (4.0 * variance * variance) + 1.0 / variance) * dx * dx / 8.0;
        // At every cell end: ln of the tilted density times dx, and u+-.
        let ln_scale = (dx / s).ln() - crate::normal::LN_SQRT_2PI - tilt.log_moment.0;
        let end = |k: u32| {
            let x = low + f64::from(k) * dx;
            let (plus, minus) = ((x - 0.5) / variance, (-x - 0.5) / variance);
            let ln_p = ln_scale - 0.5 * x * x / variance
                + power_plus * ln_ratio(q, plus, 0.0).0
                + if power_minus == 0.0 { 0.0 } else { power_minus * ln_ratio(q, minus, 0.0).0 };
            (ln_p, plus, minus)
        };
        let n = tilt.count;
        // Few steps need a small |phi|, many a |phi| not quite 1.
        let negligible = (-60.0 / n).exp() * 1e-4 * (30.0 / n).min(1.0) / count;
        let mut cells = Vec::new();
        let mut outside = 2.0 * (-composition.depth(&term)).exp();
        let mut left = end(0);
        for k in 1..=count as u32 {
            let right = end(k);
            let least = (0.5 * (left.0 + right.0) - convexity).exp();
            let most = 0.5 * (left.0.exp() + right.0.exp()) * concavity.exp();
            if most < negligible {
                outside += most;
            } else {
                let plus = Arm::new(q, left.1, right.1, power_plus);
                let minus = (power_minus != 0.0).then(|| Arm::new(q, right.2, left.2, power_minus));
                cells.push(Cell { least: least.min(most), most, plus, minus });
            }
            left = right;
        }
        // From nearly pi down to where s^2 t^2/2 is a small part of N/n.
        let narrowest = (2.0 / (s * n.sqrt())).min(0.5);
        let trials = ((WIDEST / narrowest).ln() / RATIO.ln()).ceil().max(1.0) as usize;
        let shifts = std::iter::repeat_with(|| None).take(trials).collect();
        Self { count: n, variance, negative, outside, cells, shifts, best: trials / 2 }
    }

    /// n ln(1/rho(height)), at least 0: the best shift is near the one that was best for the last height.
    fn exponent(&mut self, height: f64) -> f64 {
        let mut best = self.at(self.best, height);
        for back in [false, true] {
            loop {
                let next = if back { self.best.checked_sub(1) } else { Some(self.best + 1) };
                let Some(next) = next.filter(|next| *next < self.shifts.len()) else { break };
                let value = self.at(next, height);
                // Where nothing is gained yet, larger t may still gain.
                if value < best || (value == best && !(back && best <= 0.0)) {
                    break;
                }
                (best, self.best) = (value, next);
            }
        }
        self.count * best.max(0.0)
    }

    /// ln(1/rho(height)) by the shift number k; every shift gives a bound.
    fn at(&mut self, k: usize, height: f64) -> f64 {
        let Self { variance, negative, outside, cells, .. } = self;
        let Some(slot) = self.shifts.get_mut(k) else { return 0.0 };
        let shift = slot.get_or_insert_with(|| {
            let t = WIDEST / RATIO.powf(k as f64);
            // Where a negative power makes the integrand grow, it grows by at most this.
            let worst = (-*negative * (0.5 * t).cos().ln()).exp();
            Shift {
                growth: 0.5 * *variance * t * t,
                cells: cells.iter().map(|cell| cell.bounds(t)).collect(),
                outside: (*outside * (worst - 1.0), *outside * worst),
            }
        });
        // Two bounds on the expectation: 1 - lost, sharp near 1, and kept, sharp near 0.
        let (mut lost, mut kept) = (-shift.outside.0, shift.outside.1);
        for (cell, (shrink, angle)) in cells.iter().zip(&shift.cells) {
            let share = -(-(shrink + height * angle)).exp_m1();
            lost += share * if share > 0.0 { cell.least } else { cell.most };
            kept += (1.0 - share) * cell.most;
        }
        // The masses may exceed 1 by rounding alone; NaN is no bound.
        if lost.is_nan() || kept.is_nan() {
            // Infinity against nothing in a cell: this shift proves nothing, and `min` would forget that.
            return 0.0;
        }
        let logarithm = (-lost.min(1.0 - 1e-13)).ln_1p().min((kept + 1e-15).ln());
        let value = -shift.growth - logarithm;
        if value.is_nan() { 0.0 } else { value }
    }
}

impl Cell {
    /// Lower bounds on -A ln r+ - B ln r- and on a+ + a- at the shift t.
    fn bounds(&self, t: f64) -> (f64, f64) {
        let (shrink, angle) = (self.plus.shrink(t), self.plus.angle(t).0);
        self.minus.map_or((shrink, angle), |minus| (shrink + minus.shrink(t), angle + minus.angle(t).0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::analytic::Mu;
    use crate::moments::direction::Direction;
    use crate::moments::turns::turns;
    use crate::terms::Terms;

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
                let mut composition = Composition::new(&terms, Mu { value: 0.0, error: 0.0 }, direction);
                let tilts = composition.tilts(c, 5.0 * height).unwrap();
                let bound = Decay::new(&composition, &tilts, c).exponent(height);
                let step = 0.05 * height;
                let later = turns(&tilts[0], step, 100).into_iter().skip(19);
                let least = later.map(|(re, im)| -(n as f64) * (1.0 + re).hypot(im).ln()).fold(f64::INFINITY, f64::min);
                let case = format!("{direction:?} ({s}, {q}, {n})");
                assert!(bound <= least + 1e-9 * least.abs(), "{case}: bound {bound} above the true exponent {least}");
                // Under ADD, l is bounded above, and the tilt moves the mass to where nothing turns.
                let share = if direction == Direction::Add { 0.1 * share } else { share };
                assert!(bound >= share * least.min(30.0), "{case}: bound {bound}, true exponent {least}");
            }
        }
    }
}
