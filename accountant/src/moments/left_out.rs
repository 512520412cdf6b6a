//! What no contour is made for, as an upper bound on its share of delta, or as a closed form.
//!
//! Far outcomes count with their probability, or as [`beyond`](super::beyond) says. Sequences of outcomes of a piece have
//! at every order c' > 0 a share of at most kappa(c') M(c') e^{-c' eps}. Small losses are bounded, so orders far beyond
//! those of contours are best for them.

use super::beyond::Beyond;
use super::chernoff;
use super::composition::Composition;
use crate::exponentials::{ln_add, ln_kappa};

/// Tolerance in ln c'.
const COARSE: f64 = 0.03;

/// The bound as a function of epsilon.
#[derive(Debug, Clone)]
pub(super) struct LeftOut {
    /// Far outcomes without a closed form, and those that labels cut off.
    ln_far: f64,
    beyond: Option<Beyond>,
    pieces: Vec<Negligible>,
}

/// (c', ln of kappa M(c')) of one piece.
#[derive(Debug, Clone)]
pub(super) struct Negligible(Vec<(f64, f64)>);

impl Negligible {
    /// With the orders c' that are best near this epsilon. `start` is a guess at them.
    pub(super) fn new(piece: &mut Composition, epsilon: f64, start: f64) -> Self {
        let mut bounds = Vec::new();
        if let Some(best) = chernoff::delta(piece, epsilon, Some(start), COARSE) {
            for factor in [0.8, 0.9, 1.0, 1.1, 1.2] {
                let order = factor * best.order;
                if let Some((value, error)) = piece.log_moment(order) {
                    bounds.push((order, value + error + ln_kappa(order)));
                }
            }
        }
        Self(bounds)
    }

    /// ln of the bound at this epsilon, rounded up.
    pub(super) fn ln_bound(&self, epsilon: f64) -> f64 {
        let at = |(order, bound): &(f64, f64)| bound - order * epsilon + 1e-12 * (1.0 + bound.abs() + order * epsilon);
        self.0.iter().map(at).fold(0.0, f64::min)
    }
}

impl LeftOut {
    /// All outcomes of `part` that are far.
    pub(super) fn far(part: &Composition) -> Self {
        Self { ln_far: part.ln_far(), beyond: None, pieces: Vec::new() }
    }

    /// Far outcomes that have a closed form.
    pub(super) fn beyond(part: &Composition, beyond: Beyond) -> Self {
        Self { ln_far: part.ln_cut_off(), beyond: Some(beyond), pieces: Vec::new() }
    }

    pub(super) fn add(&mut self, piece: Negligible) {
        self.pieces.push(piece);
    }

    /// ln of a bound on what delta may exceed the contours and the closed form by at this epsilon, rounded up.
    pub(super) fn ln_bound(&self, epsilon: f64) -> f64 {
        let short = self.beyond.as_ref().map_or(f64::NEG_INFINITY, |beyond| beyond.ln_short(epsilon));
        let pieces = self.pieces.iter().map(|piece| piece.ln_bound(epsilon));
        pieces.fold(ln_add(self.ln_far, short), ln_add)
    }

    /// What has a closed form: value, derivative and error.
    pub(super) fn closed_form(&self, epsilon: f64) -> (f64, f64, f64) {
        self.beyond.as_ref().map_or((0.0, 0.0, 0.0), |beyond| beyond.value(epsilon))
    }
}
