//! Mechanisms: the only way out of a clipped sum.
//!
//! A mechanism asks the sum for its scale, adds noise, and hands the cost back with the release: neither exists without
//! the other.

mod adaptive;
mod gaussian;
mod noiseless;

pub use adaptive::AdaptiveGaussian;
pub use gaussian::{Gaussian, StandardNormals};
pub use noiseless::Noiseless;

use crate::clip::ClippedSum;
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
}

/// A gradient that may be seen: everything computed from it is post-processing and costs nothing more.
#[derive(Debug)]
pub struct Release {
    gradient: Vec<Tensor>,
    deviation: f64,
    within: Option<f64>,
}

impl Release {
    /// The standard deviation of the noise in each element: noise multiplier times clip norm over expected batch, and 0 where
    /// there is none. It follows from the plan and from earlier releases, not from the data.
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

/// The inverse of an expected batch.
fn share_of(expected_batch: f64) -> Result<f64> {
    let share = expected_batch.recip();
    if expected_batch > 0.0 && expected_batch.is_finite() && share.is_finite() {
        return Ok(share);
    }
    Err(Error::value("expected batch", expected_batch, "a finite number above 0"))
}
