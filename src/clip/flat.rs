//! Flat clipping: scale a gradient down to the clip norm if it is longer (Abadi et al. 2016, Algorithm 1).

use super::{Clip, ClipNorm};
use crate::grad::Norms;

/// Weight `min(1, C / norm)` for the whole gradient of an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flat {
    clip_norm: ClipNorm,
}

impl Flat {
    /// Clips at `clip_norm`.
    pub fn new(clip_norm: ClipNorm) -> Self {
        Self { clip_norm }
    }
}

impl Clip for Flat {
    fn bounds(&self) -> Vec<f64> {
        vec![self.clip_norm.get()]
    }

    fn weights(&self, norms: &Norms) -> Vec<f64> {
        let c = self.clip_norm.get();
        let weight = |norm: f64| {
            let weight = if norm <= c { 1.0 } else { c / norm };
            // The quotient may have rounded up: the product must not exceed C.
            if weight * norm > c { weight.next_down() } else { weight }
        };
        norms.rows().flatten().map(|norm| if norm.is_finite() { weight(*norm) } else { 0.0 }).collect()
    }
}
