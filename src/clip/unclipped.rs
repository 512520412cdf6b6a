//! No clipping, for comparison with training that is not private.

use super::Clip;
use crate::grad::Norms;

/// Weight one for every example: nothing is bounded, so no mechanism with a guarantee accepts the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclipped;

impl Clip for Unclipped {
    fn bounds(&self) -> Vec<f64> {
        vec![f64::INFINITY]
    }

    fn weights(&self, norms: &Norms) -> Vec<f64> {
        norms.rows().flatten().map(|_| 1.0).collect()
    }
}
