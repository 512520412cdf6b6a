//! Outcomes of large loss, whose share of delta has a closed form.
//!
//! Where an outcome is labelled far although it is not too improbable to matter, sequences with a far outcome have
//!
//! E_P[(1 - e^{eps - L})_+ ; far] = P(far) - e^eps Q(far) + E_P[(e^{eps - L} - 1)_+ ; far],
//!
//! and the last term, from those whose loss is below epsilon all the same, is at most e^eps Q(far, L < eps), for every
//! t > 0 at most e^{(1+t) eps} (sum of n_i E_Q[(1 - v_i) e^{-tL_i}]) prod (E_Q e^{-tL_j})^{n_j}. The factors of the product
//! are at least 1, and they are moments of the ADD direction. All this for REMOVE, whose losses are at least ln(1 - q).

use std::f64::consts::LN_2;

use super::composition::Composition;
use super::direction::Direction;
use super::label::Label;
use super::part::Part;
use crate::exponentials::ln_add;
use crate::normal::{LN_SQRT_2PI, ln_tail};
use crate::rdp::minimise;

const E: f64 = f64::EPSILON;

/// P(far) - e^eps Q(far), and what it may fall short by.
#[derive(Debug, Clone)]
pub(super) struct Beyond {
    /// P of any far outcome, P less Q of it, and a bound on the error of either.
    mass: f64,
    surplus: f64,
    doubt: f64,
    /// (1 + t, ln of the factor of e^{(1+t) eps}).
    short: Vec<(f64, f64)>,
}

/// Beyond so many widths inside the far end the rest is bounded at once; and the size of cells, in widths.
const DEPTH: (i32, f64) = (160, 0.25);

/// Turns of a pointer that take as long as a cell.
const TURNS: f64 = 10.0;

impl Beyond {
    /// For the far outcomes of these parts, with the orders t that are best near this epsilon.
    ///
    /// `opposite` is the whole composition in the ADD direction.
    pub(super) fn new(parts: &[Part], opposite: &mut Composition, epsilon: f64) -> Option<Self> {
        let (mut ln_none, mut ratio, mut doubt) = (0.0, 0.0, 0.0);
        for part in parts {
            let count = part.term.count as f64;
            let (mass, surplus, error) = part.beyond();
            ln_none += count * (-mass).ln_1p();
            ratio += count * (surplus / (1.0 - mass)).ln_1p();
            doubt += 2.0 * count * (error + 16.0 * E * mass);
        }
        let (mass, surplus) = (-ln_none.exp_m1(), ln_none.exp() * ratio.exp_m1());
        let mut coefficient = |t: f64| {
            opposite.spend(TURNS * f64::from(DEPTH.0) * parts.len() as f64)?;
            let far = parts.iter().map(|part| ln_short(part, t) + (part.term.count as f64).ln());
            let far = far.fold(f64::NEG_INFINITY, ln_add);
            let (rest, error) = opposite.log_moment(t)?;
            // What the other direction leaves out, at its largest loss.
            let left_out = (opposite.ln_far() + t * opposite.largest_single_loss()).exp();
            Some(far + rest + error + 1.01 * left_out + 1e-9)
        };
        let at = |ln_t: f64| coefficient(ln_t.exp()).map_or(f64::INFINITY, |ln| ln + (1.0 + ln_t.exp()) * epsilon);
        let (ln_t, value) = minimise(at, (20.0 / epsilon).ln(), (-20.0, 40.0), 0.05);
        if !value.is_finite() {
            return None;
        }
        let mut short = Vec::new();
        for factor in [0.9, 1.0, 1.1] {
            let t = factor * ln_t.exp();
            short.push((1.0 + t, coefficient(t)?));
        }
        Some(Self { mass, surplus, doubt, short })
    }

    /// The closed form at this epsilon, its derivative, and its error.
    pub(super) fn value(&self, epsilon: f64) -> (f64, f64, f64) {
        let under_q = self.mass - self.surplus;
        let value = self.surplus - epsilon.exp_m1() * under_q;
        let slope = -epsilon.exp() * under_q;
        let error = (1.0 + epsilon.exp()) * (self.doubt + 8.0 * E * self.mass) + 8.0 * E * value.abs();
        (value, slope, error)
    }

    /// ln of a bound on what the closed form may fall short by.
    pub(super) fn ln_short(&self, epsilon: f64) -> f64 {
        let at = |(order, ln): &(f64, f64)| ln + order * epsilon + 1e-12 * (1.0 + ln.abs() + order * epsilon);
        self.short.iter().map(at).fold(f64::INFINITY, f64::min)
    }
}

/// ln of a bound on E_Q[(1 - v) e^{-tL}], Q the N(0, s^2) of REMOVE, cell by cell, each factor at its worse end.
fn ln_short(part: &Part, t: f64) -> f64 {
    let s = part.term.noise_multiplier;
    let Label { high, width, .. } = part.label;
    // e^{-tL} = (P/n) e^{cL} at c = -1 - t.
    let tilt = |z: f64| part.ln_tilt(-1.0 - t, z);
    let mut total = ln_tail(high / s) + tilt(high);
    for k in 0..DEPTH.0 {
        let (inner, outer) = (f64::from(k + 1) * DEPTH.1, f64::from(k) * DEPTH.1);
        let (from, to) = (high - inner * width, high - outer * width);
        let near = if from > 0.0 {
            from / s
        } else if to < 0.0 {
            to / s
        } else {
            0.0
        };
        // 1 - v is at most the normal tail at the far end of the cell.
        let ln_missing = if outer < 30.0 { ln_tail(outer) } else { -0.5 * outer * outer - LN_2 };
        let ln_density = -0.5 * near * near - LN_SQRT_2PI + (DEPTH.1 * width / s).ln();
        total = ln_add(total, ln_density + ln_missing + tilt(from));
    }
    let last = f64::from(DEPTH.0) * DEPTH.1;
    ln_add(total, -0.5 * last * last - t * (-part.term.rate).ln_1p())
}

/// Whether the closed form holds for this direction.
pub(super) fn applies(composition: &Composition) -> bool {
    composition.direction == Direction::Remove && !composition.terms.is_empty()
}
