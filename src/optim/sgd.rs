//! Stochastic gradient descent with momentum.

use super::{Optimizer, checked_learning_rate, checked_share, checked_weight_decay, gradient_for, state};
use crate::kernel::update::update;
use crate::nn::Parameters;
use crate::noise::Release;
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Learning rate, momentum and weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdConfig {
    /// Step length.
    pub learning_rate: f64,
    /// How much of the last step's velocity is kept, in [0, 1).
    pub momentum: f64,
    /// Whether to step along the gradient and the momentum times the new velocity (Nesterov 1983, in the form of Sutskever,
    /// Martens, Dahl and Hinton 2013 that PyTorch has), instead of along the velocity.
    pub nesterov: bool,
    /// The multiple of the parameter that is added to its gradient, before the velocity.
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    /// Learning rate 0.1, and nothing else.
    fn default() -> Self {
        Self { learning_rate: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }
}

/// `g = gradient + weight_decay w`, `v = momentum v + g`, `w = w - learning_rate v`; with Nesterov's momentum
/// `w = w - learning_rate (g + momentum v)`. The velocity is the first `g` after the first step. As PyTorch's `SGD` without
/// dampening.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    factor: f64,
    /// One tensor for each parameter in name order; none before the first step, and none without momentum.
    velocity: Vec<Tensor>,
}

impl Sgd {
    /// # Errors
    /// When the learning rate is not finite and positive, the momentum is outside [0, 1), the weight decay is negative or not
    /// finite, or Nesterov's momentum is asked for without momentum.
    pub fn new(config: SgdConfig) -> Result<Self> {
        checked_learning_rate(config.learning_rate)?;
        checked_share("momentum", config.momentum)?;
        checked_weight_decay(config.weight_decay)?;
        if config.nesterov && config.momentum == 0.0 {
            return Err(Error::value("momentum", config.momentum, "a number above 0 with Nesterov's momentum"));
        }
        Ok(Self { config, factor: 1.0, velocity: Vec::new() })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()> {
        let SgdConfig { learning_rate, momentum, nesterov, weight_decay } = self.config;
        let mut direction = gradient_for(parameters, release)?;
        if weight_decay > 0.0 {
            for ((_, variable), gradient) in parameters.iter().zip(&direction) {
                update(gradient, 1.0, variable.as_tensor(), weight_decay)?;
            }
        }
        if momentum > 0.0 {
            if self.velocity.is_empty() {
                self.velocity = if nesterov { copies(&direction)? } else { direction.clone() };
            } else {
                for (velocity, gradient) in self.velocity.iter().zip(&direction) {
                    update(velocity, momentum, gradient, 1.0)?;
                }
            }
            if nesterov {
                for (gradient, velocity) in direction.iter().zip(&self.velocity) {
                    update(gradient, 1.0, velocity, momentum)?;
                }
            } else {
                direction = self.velocity.clone();
            }
        }
        for ((_, variable), direction) in parameters.iter().zip(&direction) {
            update(variable.as_tensor(), 1.0, direction, -(learning_rate * self.factor))?;
        }
        Ok(())
    }

    fn scale_learning_rate(&mut self, factor: f64) {
        self.factor = factor;
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        state::named("velocity", &self.velocity).collect()
    }

    fn restore(&mut self, parameters: &Parameters, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()> {
        let moving = self.config.momentum > 0.0;
        self.velocity =
            if moving { state::of_parameters(parameters, "velocity", state, <[usize]>::to_vec)? } else { Vec::new() };
        Ok(())
    }
}

fn copies(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    tensors.iter().map(|tensor| Ok(tensor.copy()?)).collect()
}
