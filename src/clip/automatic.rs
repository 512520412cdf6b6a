//! Automatic clipping: every gradient is normalised, and there is hardly a clip norm left to tune.
//!
//! Weight `C / (norm + gamma)`. With gamma above 0 this is AUTO-S (Bu, Wang, Zha and Karypis 2022, arXiv 2206.07136) and, up to
//! names, DP-NSGD (Yang, Zhang, Chen and Liu 2022, arXiv 2206.13033); with gamma = 0 it is AUTO-V of the former, here called
//! normalised. C only scales the step: twice the clip norm is twice the learning rate.
//!
//! Guarantee: a gradient of norm n enters with the norm `C n / (n + gamma)`, which is at most C. So one record moves the sum by as
//! much as under flat clipping, and costs the same.

use super::quotient::quotient;
use super::{Clip, ClipNorm, Stabiliser};
use crate::grad::Norms;

/// Weight `C / (norm + gamma)` for the whole gradient of an example; `C / norm` without gamma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Automatic {
    clip_norm: ClipNorm,
    gamma: Option<Stabiliser>,
}

/// Without gamma, shorter gradients have the weight of this norm: 1e120 at most, which in f64 still meets any gradient of f32
/// without overflow. A gradient of norm 0 adds nothing whatever its weight.
const SHORTEST: f64 = 1e-100;

impl Automatic {
    /// AUTO-S: scales every gradient to a norm below `clip_norm`; those much shorter than `gamma` stay in proportion.
    pub fn new(clip_norm: ClipNorm, gamma: Stabiliser) -> Self {
        Self { clip_norm, gamma: Some(gamma) }
    }

    /// AUTO-V, gamma = 0: scales every gradient to the norm `clip_norm`, however short it is.
    pub fn normalised(clip_norm: ClipNorm) -> Self {
        Self { clip_norm, gamma: None }
    }

    fn weight(&self, norm: f64) -> f64 {
        // Neither is below the norm: a sum with a positive number does not round below what it was added to.
        let length = self.gamma.map_or_else(|| norm.max(SHORTEST), |gamma| norm + gamma.get());
        quotient(self.clip_norm.get(), length, norm)
    }
}

impl Clip for Automatic {
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

    fn automatic(c: f64, gamma: f64) -> Automatic {
        Automatic::new(ClipNorm::new(c).unwrap(), Stabiliser::new("gamma", gamma).unwrap())
    }

    #[test]
    fn weights_are_those_of_the_formula() {
        // C / (norm + gamma), by hand.
        for (c, gamma, norm, weight) in
            [(1.0, 0.01, 0.0, 100.0), (1.0, 0.25, 0.25, 2.0), (3.0, 0.5, 5.5, 0.5), (1.0, 1.0, 1e300, 1e-300)]
        {
            let found = automatic(c, gamma).weight(norm);
            assert!((found - weight).abs() <= 1e-15 * weight, "{c}, {gamma}, {norm}: {found}");
        }
        let normalised = Automatic::normalised(ClipNorm::new(3.0).unwrap());
        assert_eq!((normalised.weight(6.0), normalised.weight(0.5)), (0.5, 6.0));
    }

    #[test]
    fn the_contribution_grows_with_the_norm_and_stays_below_the_clip_norm() {
        let rule = automatic(2.0, 0.01);
        let contributions: Vec<f64> = (-12..8).map(|i| 10f64.powi(i)).map(|norm| norm * rule.weight(norm)).collect();
        assert!(contributions.is_sorted() && contributions.iter().all(|c| *c < 2.0), "{contributions:?}");
        assert!(contributions[0] < 1e-9 && contributions[19] > 1.999_999);
    }

    #[test]
    fn a_gradient_of_norm_zero_has_a_finite_weight_without_gamma() {
        for c in [1e-20, 1.0, 1e20] {
            let rule = Automatic::normalised(ClipNorm::new(c).unwrap());
            for norm in [0.0, 5e-324, 1e-310, 1e-200] {
                assert_eq!(rule.weight(norm), c / SHORTEST);
            }
        }
    }
}
