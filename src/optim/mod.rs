//! Optimisers. They see releases only, so whatever they do is post-processing.

mod sgd;

pub use sgd::{Sgd, SgdConfig};

use crate::Result;
use crate::nn::Parameters;
use crate::noise::Release;
use candle_core::Tensor;

/// Moves the parameters along released gradients.
pub trait Optimizer: Send {
    /// One step.
    ///
    /// # Errors
    /// When the release does not fit the parameters.
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()>;

    /// What the optimiser remembers from step to step: names and tensors, for a checkpoint.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Restores what [`Optimizer::state`] gave for a model of this many parameters.
    ///
    /// # Errors
    /// When a name is missing.
    fn restore(&mut self, parameters: usize, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()>;
}
