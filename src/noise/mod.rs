//! Mechanisms: the only way out of a clipped sum.
//!
//! A mechanism asks the sum for its scale, adds noise, and hands the cost back with the release: neither exists without
//! the other.

mod adaptive;
mod banded;
mod gaussian;
mod noiseless;
mod rule;
mod tree;

pub use adaptive::AdaptiveGaussian;
pub use banded::Banded;
pub use gaussian::{Gaussian, StandardNormals};
pub use noiseless::Noiseless;
pub use rule::NoiseRule;
pub use tree::Tree;

use crate::clip::{ClipNorm, ClippedSum};
use crate::{Error, Result};
use candle_core::Tensor;
use dp_accountant::Event;

/// Turns a clipped sum into something that may be seen, and says what that costs.
pub trait Mechanism: Send {
    /// Releases the sum.
    ///
    /// # Errors
    /// When the mechanism cannot bound what the sum would reveal; then nothing is released.
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)>;

    /// What a release costs on the data it was computed from, before any amplification.
    fn event(&self) -> Event;

    /// Whether the next release goes on with the last one: their noise is correlated, and its event, amplified, is that of all
    /// releases since the last that did not go on, in the place of what was recorded for them.
    fn continues(&self) -> bool {
        false
    }
}

/// A gradient that may be seen: everything computed from it is post-processing and costs nothing more.
#[derive(Debug)]
pub struct Release {
    gradient: Vec<Tensor>,
    deviation: f64,
    within: Option<f64>,
}

impl Release {
    /// The standard deviation of the noise in each element of this one release, and 0 where there is none. For independent
    /// noise it is noise multiplier times clip norm over expected batch, under adaptive clipping with the noise multiplier that
    /// is left for the sum; for a tree or a banded matrix it differs from step to step. It follows from the plan and from
    /// earlier releases, not from the data.
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// The released share of examples whose norm was within the clip norm, where the mechanism releases one. Noise may take it below 0
    /// and above 1.
    pub fn within(&self) -> Option<f64> {
        self.within
    }

    /// The released mean gradient, a tensor for each parameter in name order.
    pub fn into_gradient(self) -> Vec<Tensor> {
        self.gradient
    }
}

/// The standard deviation of noise that is `multiplier` times `bound`.
fn ordinary(multiplier: f64, bound: f64) -> Result<f64> {
    let deviation = multiplier * bound;
    // Below the normal numbers the product is rounded by a share of itself, or to nothing.
    if deviation.is_normal() {
        return Ok(deviation);
    }
    let reason = format!(
        "noise of {multiplier} times the bound {bound} of the sum is not an ordinary number; clip the sum, or choose another noise multiplier"
    );
    Err(Error::Refused { reason })
}

/// The bound of a sum, if it is the clip norm but for what the bounds of many groups are rounded up by.
///
/// Correlated noise is of many steps: under another bound the noise of earlier steps would not be what this one takes off.
fn fixed_bound(sum: &ClippedSum, clip_norm: ClipNorm) -> Result<f64> {
    let (bound, clip_norm) = (sum.bound(), clip_norm.get());
    if (bound / clip_norm - 1.0).abs() <= 1e-9 {
        return Ok(bound);
    }
    let reason = format!("correlated noise for sums of the bound {clip_norm} was given one of the bound {bound}");
    Err(Error::Refused { reason })
}

/// The inverse of an expected batch.
fn share_of(expected_batch: f64) -> Result<f64> {
    let share = expected_batch.recip();
    if expected_batch > 0.0 && expected_batch.is_finite() && share.is_finite() {
        return Ok(share);
    }
    Err(Error::value("expected batch", expected_batch, "a finite number above 0"))
}
