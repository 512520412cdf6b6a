//! Stochastic gradient descent with momentum.

use super::Optimizer;
use crate::kernel::update::update;
use crate::nn::Parameters;
use crate::noise::Release;
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Learning rate and momentum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SgdConfig {
    /// Step length.
    pub learning_rate: f64,
    /// How much of the last step's velocity is kept, in [0, 1).
    pub momentum: f64,
}

/// `v = momentum v + gradient`, `w = w - learning_rate v`.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    /// One tensor for each parameter in name order; none before the first step, and none without momentum.
    velocity: Vec<Tensor>,
}

impl Sgd {
    /// # Errors
    /// When the learning rate is not finite and positive, or the momentum is outside [0, 1).
    pub fn new(config: SgdConfig) -> Result<Self> {
        if !(config.learning_rate.is_finite() && config.learning_rate > 0.0) {
            return Err(Error::value("learning rate", config.learning_rate, "a finite number above 0"));
        }
        if !(0.0..1.0).contains(&config.momentum) {
            return Err(Error::value("momentum", config.momentum, "a number in [0, 1)"));
        }
        Ok(Self { config, velocity: Vec::new() })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()> {
        let mut direction = release.into_gradient();
        if self.config.momentum > 0.0 {
            if self.velocity.is_empty() {
                self.velocity = direction;
            } else {
                for (velocity, gradient) in self.velocity.iter().zip(&direction) {
                    update(velocity, self.config.momentum, gradient, 1.0)?;
                }
            }
            direction = self.velocity.clone();
        }
        for ((_, variable), direction) in parameters.iter().zip(&direction) {
            update(variable.as_tensor(), 1.0, direction, -self.config.learning_rate)?;
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.velocity.iter().enumerate().map(|(j, tensor)| (format!("velocity.{j}"), tensor.clone())).collect()
    }

    fn restore(&mut self, parameters: usize, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()> {
        let moving = self.config.momentum > 0.0;
        let velocity = |j: usize| state(&format!("velocity.{j}"));
        self.velocity = if moving { (0..parameters).map(velocity).collect::<Result<_>>()? } else { Vec::new() };
        Ok(())
    }
}
