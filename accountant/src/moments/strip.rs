//! A larger step of the quadrature for one order c and height y, where the loss hardly turns the integrand.
//!
//! [`nodes`](super::nodes) bounds |w^{iy}| on the shifted line by e^{|y| t}. With a small sampling rate the angle a of w
//! there is far below t wherever the tilted density has mass, so that the growth
//!
//! G(y, t) = e^{s^2 t^2/2} E_c [ r+^A r-^B e^{|y| (a+ + a-)} ]
//!
//! (the integral of [`cut`](super::cut) for the opposite shift) is far smaller, and the error of the rule relative to
//! M(c) is at most 2 G / (exp(2 pi s^2 t/dx) - 1). G grows with |y|, so the bound holds for all lesser heights too. G is
//! bounded cell by cell; beyond the cells, by e^{(turns) |y| t} cos(t/2)^{-b} times the Gaussian's tail.

use std::f64::consts::{LN_2, PI};

use super::arm::Arm;
use super::direction::Direction;
use crate::normal::{LN_SQRT_2PI, ln_tail};
use crate::rdp::ln_ratio;
use crate::terms::Sampled;

/// No more cells than this.
const MOST_CELLS: f64 = 3000.0;

/// ln of a bound on the mass, and the arms.
struct Cell {
    ln_mass: f64,
    plus: Arm,
    minus: Option<Arm>,
}

/// A step for which the rule errs by at most e^{-depth} at order c and heights up to `height`, and at y = 0.
///
/// `log_moment` is ln M(c) of the term.
pub(super) fn step(term: Sampled, direction: Direction, c: f64, log_moment: f64, height: f64, depth: f64) -> f64 {
    let Sampled { rate: q, noise_multiplier: s, .. } = term;
    let variance = s * s;
    let (power_plus, power_minus) = direction.powers(c);
    let negative = direction.negative_powers(c);
    // ln of the tilted density may curve down by this much, and must not fall below its chord by much in a cell.
    let concavity = 1.0 / variance + negative / (4.0 * variance * variance);
    let dx = (0.5 * s.min(variance)).min((8.0 / concavity).sqrt());
    let (left, right) = direction.centres(c);
    // Beyond the cells: where the Gaussian outweighs e^{(turns) y t} for any t, if the cells last.
    let reach = s * (2.0 * (depth + 2.0 * PI * height)).sqrt();
    let near = s * (2.0 * depth).sqrt();
    let low = left - if direction == Direction::Replace { reach } else { near };
    let high = (right + reach).min(low + MOST_CELLS * dx);
    let count = ((high - low) / dx).ceil();
    // Also false for NaN: the caller has another step.
    if !(1.0..=MOST_CELLS).contains(&count) || high < right + near {
        return 0.0;
    }
    let end = |k: u32| {
        let x = low + f64::from(k) * dx;
        let (plus, minus) = ((x - 0.5) / variance, (-x - 0.5) / variance);
        let ln_p = -0.5 * x * x / variance - s.ln() - LN_SQRT_2PI - log_moment
            + power_plus * ln_ratio(q, plus, 0.0).0
            + if power_minus == 0.0 { 0.0 } else { power_minus * ln_ratio(q, minus, 0.0).0 };
        (ln_p, plus, minus)
    };
    let mut cells = Vec::with_capacity(count as usize);
    let mut before = end(0);
    for k in 1..=count as u32 {
        let after = end(k);
        let minus = (power_minus != 0.0).then(|| Arm::new(q, after.2, before.2, power_minus));
        let ln_mass = before.0.max(after.0) + concavity * dx * dx / 8.0 + dx.ln();
        cells.push(Cell { ln_mass, plus: Arm::new(q, before.1, after.1, power_plus), minus });
        before = after;
    }
    let last = low + count * dx;
    let (ln_left, ln_right) = (ln_tail((left - low) / s), ln_tail((last - right) / s));
    // To the left of the first cell the angle of w+ is at most its angle there; that of w- may be t.
    let at = |t: f64| {
        let angles = |cell: &Cell| cell.plus.angle(t).1 + cell.minus.map_or(0.0, |minus| minus.angle(t).1);
        let worst = -negative * (0.5 * t).cos().ln();
        let first = cells.first().map_or(t, |cell| cell.plus.angle(t).1);
        let left_angle = if direction == Direction::Replace { direction.turns() * t } else { first };
        let outside = (ln_left + height * left_angle).max(ln_right + direction.turns() * height * t) + worst + LN_2;
        let logs = cells.iter().map(|cell| {
            let shrink = cell.plus.shrink(t) + cell.minus.map_or(0.0, |minus| minus.shrink(t));
            cell.ln_mass - shrink + height * angles(cell)
        });
        let logs: Vec<f64> = logs.collect();
        let peak = logs.iter().copied().fold(outside, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - peak).exp()).sum::<f64>() + (outside - peak).exp();
        let growth = 0.5 * variance * t * t + peak + sum.ln();
        // A hundredth and a part in 10^9 cover rounding.
        let step = 2.0 * PI * variance * t / (growth.max(0.0) * (1.0 + 1e-9) + depth + LN_2 + 0.11);
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
    use crate::moments::nodes::{self, Nodes};
    use crate::moments::tilt::{Tilt, log_moment};
    use crate::moments::turns::{rounding, turns};

    #[test]
    fn a_larger_step_gives_the_same_samples() {
        for (s, q, c, height) in [(1.3, 0.0025, 12.0, 80.0), (8.0, 1e-5, 300.0, 2e4), (0.6, 1e-4, 2.0, 100.0)] {
            for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
                let term = Sampled { rate: q, noise_multiplier: s, doubt: 0.0, count: 1 };
                let depth = 38.0;
                let real = log_moment(&Nodes::new(term, direction, c, 0.0, depth).unwrap(), c);
                let plain = nodes::step(s, direction, c, height, depth);
                let dx = step(term, direction, c, real.0, height, depth);
                let case = format!("{direction:?} ({s}, {q}, {c}): steps {plain} and {dx}");
                // Four decibels below the larger step: an oracle.
                let tilt = |dx| Tilt::new(&Nodes::with_step(term, direction, c, dx, depth).unwrap(), c, real);
                let (fine, coarse) = (tilt(0.4 * dx.max(plain)), tilt(dx.max(plain)));
                let h = height / 20.0;
                for (j, (a, b)) in turns(&fine, h, 20).into_iter().zip(turns(&coarse, h, 20)).enumerate() {
                    let y = h * (j + 1) as f64;
                    let allowed =
                        fine.error(y, rounding(fine.nodes.len())) + coarse.error(y, rounding(coarse.nodes.len()));
                    assert!(
                        (a.0 - b.0).hypot(a.1 - b.1) <= allowed && allowed < 1e-9,
                        "{case}, y = {y}: {a:?} {b:?} {allowed}"
                    );
                }
            }
        }
        // Where little turns, much is gained.
        let term = Sampled { rate: 1e-5, noise_multiplier: 8.0, doubt: 0.0, count: 1 };
        let gained = step(term, Direction::Remove, 20.0, 1e-3, 2e4, 38.0);
        assert!(gained > 10.0 * nodes::step(8.0, Direction::Remove, 20.0, 2e4, 38.0), "{gained}");
    }
}
