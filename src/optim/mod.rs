//! Optimisers. They see releases only, so whatever they do is post-processing: it costs no privacy.
//!
//! [`OptimizerConfig`] says which one, with its schedule and average, and builds it.

mod adam;
mod config;
mod ema;
mod schedule;
mod scheduled;
mod sgd;
mod state;

pub use adam::{Adam, AdamConfig, BiasCorrection, Decay};
pub use config::{OptimizerConfig, Rule};
pub use ema::{Averaged, EmaConfig};
pub use schedule::{Schedule, Shape};
pub use scheduled::Scheduled;
pub use sgd::{Sgd, SgdConfig};

use crate::nn::Parameters;
use crate::noise::Release;
use crate::{Error, Result};
use candle_core::Tensor;

/// Moves the parameters along released gradients.
pub trait Optimizer: Send {
    /// One step.
    ///
    /// # Errors
    /// When the release does not fit the parameters; then nothing has moved.
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()>;

    /// The steps to come are taken with `factor` times the learning rate the optimiser was made with. Not part of its state: who
    /// calls this says it again after a restoration.
    fn scale_learning_rate(&mut self, factor: f64);

    /// Called after the last step, and possibly again: leaves in the parameters what the run is to end with.
    ///
    /// # Errors
    /// When the parameters are not those of the steps.
    fn finish(&mut self, _parameters: &Parameters) -> Result<()> {
        Ok(())
    }

    /// What the optimiser remembers from step to step: names and tensors, for a checkpoint. The tensors may share the optimiser's
    /// memory: the next step changes them.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Restores what [`Optimizer::state`] gave after some steps with these parameters.
    ///
    /// # Errors
    /// When a name is missing, or its tensor is not of the shape and type it had.
    fn restore(&mut self, parameters: &Parameters, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()>;
}

/// The gradient of a release, if it is one of these parameters.
fn gradient_for(parameters: &Parameters, release: Release) -> Result<Vec<Tensor>> {
    let gradient = release.into_gradient();
    if gradient.len() != parameters.len() {
        let reason =
            format!("a release for {} parameters given to an optimiser of {}", gradient.len(), parameters.len());
        return Err(Error::Model { reason });
    }
    for ((name, variable), released) in parameters.iter().zip(&gradient) {
        if variable.shape() != released.shape() || variable.dtype() != released.dtype() {
            let is = |tensor: &Tensor| format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
            let reason = format!("a release of {} for {name}, which is {}", is(released), is(&variable));
            return Err(Error::Model { reason });
        }
    }
    Ok(gradient)
}

/// A learning rate, wherever it is asked for.
fn checked_learning_rate(learning_rate: f64) -> Result<f64> {
    if learning_rate.is_finite() && learning_rate > 0.0 {
        return Ok(learning_rate);
    }
    Err(Error::value("learning rate", learning_rate, "a finite number above 0"))
}

/// A share kept of what was, wherever one is asked for.
fn checked_share(name: &str, share: f64) -> Result<f64> {
    if (0.0..1.0).contains(&share) {
        return Ok(share);
    }
    Err(Error::value(name, share, "a number in [0, 1)"))
}

/// A weight decay, wherever it is asked for.
fn checked_weight_decay(weight_decay: f64) -> Result<f64> {
    if weight_decay.is_finite() && weight_decay >= 0.0 {
        return Ok(weight_decay);
    }
    Err(Error::value("weight decay", weight_decay, "a finite number of at least 0"))
}
