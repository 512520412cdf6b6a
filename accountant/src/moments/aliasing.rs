//! How far the infinite sum along the contour lies above delta, and the step that makes this negligible.
//!
//! By Poisson summation the infinite sum with step h is the sum over all k of e^{2 pi k c/h} delta(eps + 2 pi k/h). The
//! term k = 0 is the answer and no term is negative. For k < 0, delta <= m, the mass of the measure, leaves together at
//! most
//!
//! A_neg = m / (e^{2 pi c/h} - 1).
//!
//! For k > 0, delta(x) <= kappa(c') M(c') e^{-c' x} at every order c' > c, kappa(c') = c'^c' / (c'+1)^(c'+1), leaves
//!
//! A_pos = kappa(c') M(c') e^{-c' eps} / (e^{2 pi (c'-c)/h} - 1).

use std::f64::consts::PI;

use super::composition::Composition;
use crate::exponentials::{ln_kappa, minus_ln_expm1};

/// Both bounds as functions of epsilon.
#[derive(Debug)]
pub(super) struct Aliasing {
    ln_negative: f64,
    /// (c', ln of kappa M(c') / (e^..-1)).
    positive: Vec<(f64, f64)>,
}

impl Aliasing {
    /// A step for which both bounds at `epsilon` are below e^`ln_allowed`, and the bounds for that step.
    ///
    /// `deviation` is the standard deviation of the composed loss under the tilt c. Orders c' that cannot be evaluated
    /// are left out; `None` when none is left.
    pub(super) fn choose(
        composition: &mut Composition,
        c: f64,
        deviation: f64,
        epsilon: f64,
        ln_allowed: f64,
    ) -> Option<(f64, Self)> {
        // For a loss that is nearly Gaussian about sqrt(2 x 40) = 9 deviations are best. A heavy right tail asks for less:
        // then ln M explodes at an order that is in some proportion to c.
        const DEVIATIONS: [f64; 6] = [1.0, 2.0, 4.0, 6.0, 9.0, 13.0];
        const SHARES: [f64; 8] = [0.003, 0.01, 0.03, 0.08, 0.15, 0.3, 0.6, 1.0];
        let mut distances: Vec<f64> = DEVIATIONS.iter().map(|count| count / deviation).collect();
        distances.extend(SHARES.iter().map(|share| share * c));
        distances.sort_by(f64::total_cmp);
        let mut bounds = Vec::new();
        let mut widest = 0.0_f64;
        for distance in distances {
            let order = c + distance;
            let Some((value, error)) = composition.log_moment(order) else { break };
            let ln_bound = value + error + ln_kappa(order);
            let step = 2.0 * PI * (order - c) / (ln_bound - order * epsilon - ln_allowed).max(1.0);
            bounds.push((order, ln_bound));
            if step < 0.5 * widest {
                break;
            }
            widest = widest.max(step);
        }
        if widest <= 0.0 {
            return None;
        }
        // A hundredth covers rounding and the 1 in e^x - 1.
        let ln_mass = composition.ln_mass();
        let step = 0.99 * widest.min(2.0 * PI * c / (ln_mass - ln_allowed).max(1.0));
        let positive =
            bounds.into_iter().map(|(order, bound)| (order, bound + minus_ln_expm1(2.0 * PI * (order - c) / step)));
        Some((step, Self { ln_negative: ln_mass + minus_ln_expm1(2.0 * PI * c / step), positive: positive.collect() }))
    }

    /// The same bounds for another step.
    #[cfg(test)]
    pub(super) fn with_step(mut self, c: f64, old: f64, new: f64) -> Self {
        self.ln_negative += minus_ln_expm1(2.0 * PI * c / new) - minus_ln_expm1(2.0 * PI * c / old);
        for (order, bound) in &mut self.positive {
            let turn = 2.0 * PI * (*order - c);
            *bound += minus_ln_expm1(turn / new) - minus_ln_expm1(turn / old);
        }
        self
    }

    /// ln of A_neg + A_pos at this epsilon, rounded up.
    pub(super) fn ln_bound(&self, epsilon: f64) -> f64 {
        let at = |(order, bound): &(f64, f64)| bound - order * epsilon + 1e-12 * (bound.abs() + order * epsilon);
        let positive = self.positive.iter().map(at).fold(f64::INFINITY, f64::min);
        let (low, high) =
            if positive < self.ln_negative { (positive, self.ln_negative) } else { (self.ln_negative, positive) };
        high + (low - high).exp().ln_1p() + 1e-9
    }
}
