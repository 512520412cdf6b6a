//! A larger step of the quadrature for one order c and height y, where the loss hardly turns the integrand.
//!
//! [`nodes`](super::nodes) bounds |w^{iy}| on the shifted line by e^{|y| t}. With a small sampling rate the angle a of w
//! there is far below t wherever the tilted density has mass, so that the growth
//!
//! G(y, t) = e^{s^2 t^2/2} E_c [ r+^A r-^B e^{|y| (a+ + a-)} ]
//!
//! (the integral of [`cut`](super::cut) for the opposite shift) is far smaller, and the error of the rule relative to
//! M(c) is at most 2 G / (exp(2 pi s^2 t/dx) - 1). G grows with |y|, so the bound holds for all lesser heights too. G is
//! bounded cell by cell, to the right and left of all nodes in ever larger cells.

use std::f64::consts::{LN_2, PI};

use super::arm::{Arm, Line};
use super::label::Label;
use super::nodes::{farthest, goal};
use super::part::Part;
use crate::normal::LN_SQRT_2PI;
use crate::rdp::ln_ratio;

/// No more cells than this.
const MOST_CELLS: f64 = 3000.0;

/// Of which orders the rule is asked to integrate the moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orders {
    One,
    /// All from 0 to c, and the masses of P and Q.
    UpTo,
}

/// ln of bounds on the mass of n v and on the tilt, that of P and Q where they are asked for, ln of the largest 1 - v, and
/// the arms.
struct Cell {
    ln_mass: f64,
    ln_tilt: f64,
    ln_untilted: f64,
    ln_missing: f64,
    plus: Arm,
    minus: Option<Arm>,
}

/// What the two cells that meet at an oriented place need to know there.
struct End {
    z: f64,
    /// ln of (P/n) e^{cL}, and of the largest of P/n, Q/n and c q e^{+-u}, which the moments subtract as c (e^{-L} - 1) P.
    ln_tilt: f64,
    ln_untilted: f64,
    /// Of w+ and w-.
    odds: (f64, f64),
}

impl End {
    fn new(part: &Part, (c, orders): (f64, Orders), z: f64) -> Self {
        let q = part.term.rate;
        let both = part.direction.powers(c).1 != 0.0;
        let (plus, minus) = part.exponents(part.x(z));
        let ln_w = (ln_ratio(q, plus, 0.0).0, if both { ln_ratio(q, minus, 0.0).0 } else { 0.0 });
        let tilt = |order: f64| {
            let (power_plus, power_minus) = part.direction.powers(order);
            if both { power_plus * ln_w.0 + power_minus * ln_w.1 } else { power_plus * ln_w.0 }
        };
        let ln_untilted = match orders {
            Orders::One => f64::NEG_INFINITY,
            Orders::UpTo => {
                let shifted = if both { plus.max(minus) } else { plus };
                tilt(0.0).max(tilt(-1.0)).max((c * q).ln().min(0.0) + shifted)
            }
        };
        let odds = (Arm::odds(q, plus), if both { Arm::odds(q, minus) } else { 0.0 });
        Self { z, ln_tilt: tilt(c), ln_untilted, odds }
    }
}

impl Cell {
    /// Between two places. `ln_mass` is relative to the integral at y = 0.
    fn new(part: &Part, c: f64, (from, to): (&End, &End), ln_mass: f64, ln_tilt: f64) -> Self {
        let (power_plus, power_minus) = part.direction.powers(c);
        Self {
            ln_mass,
            ln_tilt,
            ln_untilted: from.ln_untilted.max(to.ln_untilted),
            ln_missing: part.label.ln_missing(to.z),
            plus: Arm::new(from.odds.0, to.odds.0, power_plus),
            minus: (power_minus != 0.0).then(|| Arm::new(from.odds.1, to.odds.1, power_minus)),
        }
    }

    /// ln of its part of G.
    fn ln(&self, line: &Line, label_growth: f64, height: f64) -> f64 {
        let turned = |arm: &Arm| if height > 0.0 { height * arm.most_angle(line) } else { 0.0 };
        let at = |arm: &Arm| turned(arm) - arm.shrink(line);
        // Linear in the order, so its largest value is at one of the ends.
        let tilted = self.ln_tilt + at(&self.plus) + self.minus.as_ref().map_or(0.0, at);
        self.ln_mass + Label::ln_gain(label_growth, self.ln_missing) + tilted.max(self.ln_untilted)
    }
}

/// How long it takes to find a step, in turns of a pointer: some five lines, two arms under replace.
pub(super) fn work(part: &Part, order: f64, (left, right): (f64, f64)) -> f64 {
    let cells = ((right - left) / longest(part, order)).clamp(1.0, MOST_CELLS);
    let arms = if part.direction.powers(order).1 == 0.0 { 1.0 } else { 2.0 };
    250.0 * arms * (cells + 40.0)
}

/// ln of the tilted density, without its label, may curve down by this much.
fn concavity(part: &Part, c: f64) -> f64 {
    let variance = part.term.noise_multiplier * part.term.noise_multiplier;
    1.0 / variance + part.direction.negative_powers(c) / (4.0 * variance * variance)
}

/// The longest cell, in which it must not fall below its chord by much.
fn longest(part: &Part, c: f64) -> f64 {
    let s = part.term.noise_multiplier;
    (0.5 * s.min(s * s)).min((8.0 / concavity(part, c)).sqrt())
}

/// A step for which the rule errs by at most e^{-depth} at order c and heights up to `height`, and at y = 0.
///
/// `log_moment` is ln of what the error is relative to: of the integral at y = 0, that of the part at order c.
pub(super) fn step(part: &Part, (c, orders): (f64, Orders), log_moment: f64, height: f64, depth: f64) -> f64 {
    let s = part.term.noise_multiplier;
    let variance = s * s;
    let (concavity, dx) = (concavity(part, c), longest(part, c));
    let (left, right) = part.ends(c, goal(part, c, depth));
    let count = ((right - left) / dx).ceil();
    // Also false for NaN: the caller has another step.
    if !(1.0..=MOST_CELLS).contains(&count) {
        return 0.0;
    }
    let ln_scale = -s.ln() - LN_SQRT_2PI - log_moment;
    let end = |z: f64| End::new(part, (c, orders), z);
    let ln_density = |end: &End| ln_scale - 0.5 * end.z * end.z / variance;
    let curved = concavity * dx * dx / 8.0 + dx.ln();
    let mut cells = Vec::with_capacity(count as usize + 100);
    let mut before = end(left);
    for k in 1..=count as u32 {
        let after = end(left + f64::from(k) * dx);
        // The density and the tilt together do not exceed their larger end by more than the concavity allows, and neither
        // does the density without the tilt.
        let (first, second) = (ln_density(&before), ln_density(&after));
        let ln_tilted = (first + before.ln_tilt).max(second + after.ln_tilt);
        let ln_mass = first.max(second);
        let slack = curved + part.label.ln_most((before.z, after.z));
        cells.push(Cell::new(part, c, (&before, &after), ln_mass + slack, ln_tilted - ln_mass));
        before = after;
    }
    if part.label.low == f64::NEG_INFINITY {
        let outer = part.left_of(left, c);
        cells.extend(outer.map(|(from, to, ln_mass, ln_tilt)| Cell {
            // The masses are those of P and Q themselves.
            ln_untilted: if orders == Orders::One { f64::NEG_INFINITY } else { 0.0 },
            ..Cell::new(part, c, (&end(from), &end(to)), ln_mass - log_moment, ln_tilt)
        }));
    }
    // The sides where the label is cut off: at t the angle is at most t times this, and so it is at all lesser t.
    let ln_edges = part.ln_edges(c, (left, right)) + (2.0 * farthest(part, depth)).ln() - log_moment;
    let edge = Cell::new(part, c, (&end(right), &end(right)), 0.0, 0.0);
    let most_angle = |arm: &Arm, line: &Line| arm.most_angle(line).max(line.t * arm.most_slope());
    let at = |t: f64| {
        let label_growth = part.label.growth(variance * t);
        let line = Line::new(t);
        let logs: Vec<f64> = cells.iter().map(|cell| cell.ln(&line, label_growth, height)).collect();
        let turned = |minus: &Arm| most_angle(minus, &line).max(t);
        let angle = most_angle(&edge.plus, &line) + edge.minus.as_ref().map_or(0.0, turned);
        let shrunk = |arm: &Arm| arm.shrink(&line).min(0.0);
        let shrink = shrunk(&edge.plus) + edge.minus.as_ref().map_or(0.0, shrunk);
        let ln_edges = ln_edges + label_growth + height * angle - shrink;
        let peak = logs.iter().copied().fold(ln_edges, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - peak).exp()).sum::<f64>() + (ln_edges - peak).exp();
        let growth = 0.5 * variance * t * t + peak + sum.ln();
        // What is not a number is no bound. A hundredth and a part in 10^9 cover rounding.
        let growth = if growth.is_nan() { f64::INFINITY } else { growth.max(0.0) };
        let step = 2.0 * PI * variance * t / (growth * (1.0 + 1e-9) + depth + LN_2 + 0.11);
        if step.is_nan() { 0.0 } else { step }
    };
    // Without any growth 2 pi s^2 t/dx = s^2 t^2/2 + depth is best at s t = sqrt(2 depth).
    let mut t = ((2.0 * depth).sqrt() / s).min(3.0);
    let mut best = at(t);
    loop {
        t /= 1.7;
        let next = at(t);
        if next <= best {
            return best;
        }
        best = next;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::moments::direction::Direction;
    use crate::moments::moment::Moment;
    use crate::moments::nodes::{self, Nodes};
    use crate::moments::tilt::Tilt;
    use crate::moments::turns::turns;
    use crate::terms::Sampled;

    #[test]
    fn a_larger_step_gives_the_same_samples() {
        let depth = 38.0;
        for (s, q, c, height) in [(1.3, 0.0025, 12.0, 80.0), (8.0, 1e-5, 300.0, 2e4), (0.6, 1e-4, 2.0, 100.0)] {
            for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
                let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
                let width = 0.5 * s.min(s * s);
                let whole = Label::below(20.0 * s, width, 17.0);
                for label in [whole, Label::below(3.0 * s, width, 17.0), whole.above(3.0 * s)] {
                    let part = Part { term, direction, label };
                    let real = Moment::new(Nodes::new(part, c, 0.0, depth).unwrap()).ln(c);
                    let plain = nodes::step(&part, c, height, depth);
                    let dx = step(&part, (c, Orders::One), real.0, height, depth);
                    let case = format!("{direction:?} ({s}, {q}, {c}) {label:?}: steps {plain} and {dx}");
                    // Four decibels below the larger step: an oracle.
                    let tilt = |dx| Tilt::new(&Nodes::with_step(part, c, dx, depth).unwrap(), c, real);
                    let (fine, coarse) = (tilt(0.4 * dx.max(plain)), tilt(dx.max(plain)));
                    let h = height / 20.0;
                    let (fines, coarses) = (turns(&fine, h, 20), turns(&coarse, h, 20));
                    for (j, (a, b)) in fines.values.iter().zip(&coarses.values).enumerate() {
                        let y = h * (j + 1) as f64;
                        // Each has a mean of its own as the origin of its losses.
                        let (sine, cosine) = (y * (coarse.mean - fine.mean)).sin_cos();
                        let (re, im) = (1.0 + b.0, b.1);
                        let off = (1.0 + a.0 - re * cosine + im * sine).hypot(a.1 - re * sine - im * cosine);
                        let allowed = fine.error(y, fines.rounding) + coarse.error(y, coarses.rounding);
                        assert!(off <= allowed && allowed < 1e-9, "{case}, y = {y}: {a:?} {b:?} {off} {allowed}");
                    }
                }
            }
        }
        // All orders at once: the moments with the larger step are those with the plain one.
        for (s, q, c, high) in [(50.0, 1e-7, 9e4, 2100.0), (50.0, 0.0026, 2e3, 800.0), (2.0, 1e-3, 300.0, 40.0)] {
            for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
                let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
                let part = Part { term, direction, label: Label::below(high, 0.5 * s, 25.0) };
                let dx = step(&part, (c, Orders::UpTo), 0.0, 0.0, 58.0);
                let at = |dx: f64, c: f64| Moment::new(Nodes::with_step(part, c, dx, 58.0).unwrap()).ln(c);
                for order in [0.01 * c, 0.5 * c, c] {
                    let (fine, coarse) = (at(0.4 * dx, order), at(dx, order));
                    let allowed = fine.1 + coarse.1;
                    assert!((fine.0 - coarse.0).abs() <= allowed, "{direction:?} {s} {q} {order}: {fine:?} {coarse:?}");
                }
            }
        }
        // Where little turns, much is gained.
        let term = Sampled { rate: 1e-5, noise_multiplier: 8.0, doubt: 0.0, count: 1 };
        let part = Part { term, direction: Direction::Remove, label: Label::below(160.0, 4.0, 17.0) };
        let gained = step(&part, (20.0, Orders::One), 1e-3, 2e4, 38.0);
        assert!(gained > 10.0 * nodes::step(&part, 20.0, 2e4, 38.0), "{gained}");
    }

    type Row = ((f64, f64, f64), (f64, f64), [f64; 3]);

    /// ln of the integral of P v e^{cL}, by the trapezoid rule in 40-digit arithmetic (mpmath), two grids agreeing to 39
    /// digits: (s, q, c), (low, high), then REMOVE, ADD and replace. The label is 0.5 min(s, s^2) wide.
    const MOMENTS: [Row; 5] = [
        (
            (1.3, 0.0025, 12.0),
            (f64::NEG_INFINITY, 6.5),
            [3.977_470_627_042_792e-4, 3.762_194_929_725_745_6e-4, 1.213_166_802_255_234e-3],
        ),
        (
            (8.0, 1e-5, 300.0),
            (f64::NEG_INFINITY, 60.0),
            [7.109_438_432_776_917e-8, 7.108_763_771_422_001e-8, 2.821_890_369_474_684e-7],
        ),
        (
            (0.6, 1e-4, 2.0),
            (f64::NEG_INFINITY, 4.0),
            [4.557_049_365_842_302e-7, 4.392_559_796_242_422e-7, 9.512_776_820_974_056e-7],
        ),
        ((1.3, 0.0025, 12.0), (3.9, 6.5), [-5.440_771_477_215_329, -5.588_462_417_365_181, -5.413_728_906_951_409]),
        ((8.0, 1e-5, 300.0), (24.0, 60.0), [-5.613_178_776_160_606, -5.613_484_910_447_995, -5.612_313_853_177_319]),
    ];

    fn part_of((s, q): (f64, f64), (low, high): (f64, f64), direction: Direction, doubt: f64) -> Part {
        let term = Sampled { rate: q, noise_multiplier: s, doubt, count: 1 };
        let label = Label::below(high, 0.5 * s.min(s * s), 17.0);
        Part { term, direction, label: if low == f64::NEG_INFINITY { label } else { label.above(low) } }
    }

    #[test]
    fn the_doubts_of_a_larger_step_hold_against_forty_digits() {
        for ((s, q, c), ends, wants) in MOMENTS {
            for (direction, want) in [Direction::Remove, Direction::Add, Direction::Replace].into_iter().zip(wants) {
                let part = part_of((s, q), ends, direction, 0.0);
                let plain = nodes::step(&part, c, 0.0, 38.0);
                let dx = step(&part, (c, Orders::One), want, 0.0, 38.0).max(plain);
                let (got, error) = Moment::new(Nodes::with_step(part, c, dx, 38.0).unwrap()).ln(c);
                let case = format!("{direction:?} {s} {q} {c} {ends:?}: {got} +- {error}, want {want}");
                assert!((got - want).abs() <= error + 2.0 * f64::EPSILON * want.abs() && error < 1e-11, "{case}");
                // A negative control: at eight times the step the doubt, which is that of the step, is too small.
                let coarse = Moment::new(Nodes::with_step(part, c, 8.0 * dx, 38.0).unwrap()).ln(c);
                assert!((coarse.0 - want).abs() > coarse.1, "{case}: {coarse:?}");
            }
        }
    }

    #[test]
    fn the_doubts_cover_noise_that_is_off() {
        // What is said of a noise multiplier that is up to a factor 1 + doubt larger holds for the largest one.
        let doubt = 1e-7;
        for ((s, q, c), (low, high), _) in MOMENTS {
            for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
                let at = |part: Part| Moment::new(Nodes::new(part, c, 0.0, 38.0).unwrap()).ln(c);
                let unsure = at(part_of((s, q), (low, high), direction, doubt));
                let scale = 1.0 + doubt;
                let mut part = part_of((s, q), (low, high), direction, 0.0);
                part.term.noise_multiplier *= scale;
                let Label { low, high, width, reach } = part.label;
                part.label = Label { low: low * scale, high: high * scale, width: width * scale, reach };
                let truth = at(part);
                let off = (unsure.0 - truth.0).abs();
                let case = format!("{direction:?} {s} {q} {c}: {unsure:?} {truth:?}");
                assert!(off <= unsure.1 + truth.1 && off > truth.1, "{case}");
            }
        }
    }
}
