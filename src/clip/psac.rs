//! Per-sample adaptive clipping (DP-PSAC, Xia et al. 2023, AAAI, arXiv 2212.00328).
//!
//! Weight `C / (norm + r / (norm + r))`. Long gradients are scaled to C as by normalising. For r below 1 those near a norm of
//! `sqrt(r) - r` have the largest weight, `C / (2 sqrt(r) - r)`, and shorter ones fall back to the weight C; from r = 1 on the
//! largest weight is C, at norm 0. Unlike automatic clipping it does not enlarge gradients without limit just because they are
//! short.
//!
//! Guarantee: `r / (norm + r)` is above 0, so a gradient enters with a norm below C. One record moves the sum by no more than
//! under flat clipping, and costs the same.

use super::quotient::quotient;
use super::{Clip, ClipNorm, Stabiliser};
use crate::grad::Norms;

/// Weight `C / (norm + r / (norm + r))` for the whole gradient of an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Psac {
    clip_norm: ClipNorm,
    r: Stabiliser,
}

impl Psac {
    /// Scales every gradient to a norm below `clip_norm`.
    pub fn new(clip_norm: ClipNorm, r: Stabiliser) -> Self {
        Self { clip_norm, r }
    }

    fn weight(&self, norm: f64) -> f64 {
        let r = self.r.get();
        // Not below the norm: what is added is not negative, and a sum with it does not round below what it was added to.
        quotient(self.clip_norm.get(), norm + r / (norm + r), norm)
    }
}

impl Clip for Psac {
    fn bounds(&self) -> Vec<f64> {
        vec![self.clip_norm.get()]
    }

    fn weights(&self, norms: &Norms) -> Vec<f64> {
        norms.rows().flatten().map(|norm| self.weight(*norm)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn psac(c: f64, r: f64) -> Psac {
        Psac::new(ClipNorm::new(c).unwrap(), Stabiliser::new("r", r).unwrap())
    }

    #[test]
    fn the_weight_peaks_where_calculus_says() {
        // The denominator n + r / (n + r) has its minimum 2 sqrt(r) - r at n = sqrt(r) - r.
        for (r, at, peak) in [(0.01, 0.09, 5.2632), (0.1, 0.2162, 1.8781)] {
            let rule = psac(1.0, r);
            assert!((rule.weight(at) - peak).abs() < 5e-5, "r = {r}: {} at {at}", rule.weight(at));
            assert!((rule.weight(at) - 1.0 / (2.0 * f64::sqrt(r) - r)).abs() < 1e-6);
            let grid = (0..=40_000).map(|i| f64::from(i) * 1e-4);
            let best = grid.max_by(|a, b| rule.weight(*a).total_cmp(&rule.weight(*b))).unwrap();
            assert!((best - at).abs() <= 1e-4, "r = {r}: the largest weight is at {best}");
        }
    }

    #[test]
    fn from_r_1_on_the_weight_falls_from_the_clip_norm() {
        for r in [1.0, 1.5, 4.0, 100.0] {
            let (rule, mut last) = (psac(2.0, r), f64::INFINITY);
            assert_eq!(rule.weight(0.0), 2.0);
            for norm in (0..1000).map(|i| f64::from(i) * 0.05) {
                let weight = rule.weight(norm);
                assert!(weight <= last, "r = {r}: {weight} at {norm}");
                last = weight;
            }
        }
    }

    #[test]
    fn weights_are_those_of_the_formula_and_not_of_its_misreading() {
        // At norm 0 the denominator is r / r = 1; the misreading r / norm + r would be infinite there.
        assert_eq!(psac(3.0, 0.1).weight(0.0), 3.0);
        // 0.5 + 0.5 / (0.5 + 0.5) = 1, and 1 + 3 / (1 + 3) = 1.75.
        assert_eq!(psac(2.0, 0.5).weight(0.5), 2.0);
        assert_eq!(psac(7.0, 3.0).weight(1.0), 4.0);
    }

    #[test]
    fn the_contribution_stays_below_the_clip_norm() {
        for r in [1e-20, 0.01, 0.1, 1.0, 1e20] {
            for norm in (-30..8).map(|i| 10f64.powi(i)) {
                let contribution = norm * psac(2.0, r).weight(norm);
                assert!(contribution <= 2.0, "r = {r}: {contribution} at {norm}");
            }
        }
        assert!(1e6 * psac(2.0, 0.1).weight(1e6) > 1.999_999);
    }
}
