//! What the trapezoid rule of [`moment`](super::moment) can err by: its step and its ends.

use std::f64::consts::{LN_2, PI};

use super::grid::{Grid, Window};
use crate::normal::{LN_SQRT_2PI, ln_tail};
use crate::relation::Relation;
use crate::terms::Sampled;

/// ln of a bound on the trapezoid sum of Q g beyond both ends of the nodes.
pub(super) fn ln_ends(term: Sampled, relation: Relation, order: f64, window: &Window<'_>, dx: f64) -> f64 {
    let Sampled { rate: q, noise_multiplier: s, .. } = term;
    let (low, high) = window.ends;
    // Right: g <= e^{alpha l} there, and ln(Q e^{alpha l}) has a slope of at most (centre - x)/s^2, because ln(1 - q +
    // q e^u) has a slope of at most 1/s^2. From its value at the last node on, the integrand is thus below a multiple of
    // the density of N(centre, s^2), which falls beyond its centre: its sum is below its integral.
    let d = (high - Grid::centre(relation, order)) / s;
    let last = window.nodes.last().map_or(f64::INFINITY, |node| node.ln_weight + order * node.loss);
    let right = last + (s / dx).ln() + LN_SQRT_2PI + 0.5 * d * d + ln_tail(d);
    // Left: P < Q, so Q g <= alpha (Q - P), which is at most alpha q times the density of Q's (other) component.
    let component = match relation {
        Relation::Replace => -1.0,
        Relation::AddRemove | Relation::ZeroOut => 0.0,
    };
    let left = (order * q).ln() + ln_tail((component - low) / s);
    // Twice the larger one bounds the sum; a hundredth covers the rounding of the logarithms.
    right.max(left) + LN_2 + 0.01
}

/// ln kappa, minimised over the shift t of the contour (in units of s^2).
pub(super) fn ln_kappa(term: Sampled, relation: Relation, order: f64, dx: f64) -> f64 {
    const TRIALS: i32 = 24;
    let variance = term.noise_multiplier * term.noise_multiplier;
    // Without the cosine the best shift is 2 pi / dx.
    let widest = PI.min(2.0 * PI / dx);
    let at = |trial: i32| {
        let t = widest * f64::from(trial) / f64::from(TRIALS);
        let growth = match relation {
            Relation::Replace => -(order - 1.0) * (0.5 * t).cos().ln(),
            Relation::AddRemove | Relation::ZeroOut => 0.0,
        };
        let decay = 2.0 * PI * variance * t / dx;
        // 1/(e^d - 1) = e^{-d} / (1 - e^{-d})
        LN_2 + 0.5 * variance * t * t + growth - decay - (-(-decay).exp_m1()).ln()
    };
    // Every shift is valid, so one that cannot be evaluated is left out; a hundredth covers rounding.
    (1..=TRIALS).map(at).filter(|value| !value.is_nan()).fold(f64::INFINITY, f64::min) + 0.01
}
