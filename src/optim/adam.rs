//! Adam and AdamW, with the correction for the noise of a private gradient.

use super::{Optimizer, checked_learning_rate, checked_share, checked_weight_decay, gradient_for, state};
use crate::kernel::adam::{self, step};
use crate::nn::Parameters;
use crate::noise::Release;
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// What Adam and AdamW are told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamConfig {
    /// Step length.
    pub learning_rate: f64,
    /// How much of the running mean of gradients is kept at a step, in [0, 1).
    pub beta1: f64,
    /// How much of the running mean of squared gradients is kept at a step, in [0, 1).
    pub beta2: f64,
    /// What is added to the root of the mean square, above 0. The correction has a floor in its place.
    pub epsilon: f64,
    /// Weight decay, at least 0.
    pub weight_decay: f64,
    /// Whether the noise is taken off the mean square.
    pub bias_correction: BiasCorrection,
}

impl Default for AdamConfig {
    /// Learning rate 0.01, betas 0.9 and 0.999, epsilon 1e-8, no weight decay, the bias corrected above its own floor.
    fn default() -> Self {
        Self {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            bias_correction: BiasCorrection::Scaled,
        }
    }
}

/// Noise of standard deviation s adds s^2 to every mean square, whatever the gradient: Adam then divides all elements alike and
/// is no longer Adam. The correction divides by the root of max(v - s^2, floor) instead (Tang, Shpilevskiy and Lecuyer 2024,
/// DP-AdamBC). s is public ([`Release::deviation`]), so it costs no privacy. Releases without noise are not corrected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BiasCorrection {
    /// None: Adam as it is without noise.
    Off,
    /// With the floor [`BiasCorrection::SHARE`] times s^2, whose effect is the same at every clip norm and batch.
    Scaled,
    /// With this floor, above 0: the paper's gamma'.
    Floor(f64),
}

impl BiasCorrection {
    /// The floor of [`BiasCorrection::Scaled`] as a share of the noise variance. After t steps the mean square of pure noise
    /// strays from s^2 by about s^2 sqrt(2 / t), so that a much smaller floor lets elements without a gradient take long steps.
    pub const SHARE: f64 = 0.25;

    /// What is taken off the mean square, and the least that is left of it; none where nothing is corrected.
    fn for_noise(self, variance: f64) -> Option<(f64, f64)> {
        match self {
            _ if variance == 0.0 => None,
            Self::Off => None,
            Self::Scaled => Some((variance, Self::SHARE * variance)),
            Self::Floor(floor) => Some((variance, floor)),
        }
    }
}

/// Where weight decay acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// On the gradient, as PyTorch's `Adam` has it: `g = gradient + weight_decay w`. What it adds goes through the moments.
    Gradient,
    /// On the parameter, as in AdamW: `w = w - learning_rate weight_decay w` before the step (Loshchilov and Hutter 2019, as
    /// PyTorch's `AdamW` has it).
    Parameter,
}

/// Adam (Kingma and Ba 2015): `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, `w = w - learning_rate m' / d` with
/// `m' = m / (1 - beta1^t)`, `v' = v / (1 - beta2^t)` and `d = sqrt(v') + epsilon`, or under noise
/// `d = sqrt(max(v' - s^2, floor))`; see [`BiasCorrection`].
///
/// A step is computed in f64; parameter and moments are rounded to the type of the parameters once each.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    decay: Decay,
    factor: f64,
    /// Steps done.
    steps: u32,
    /// `(2, elements)` for each parameter in name order: means, then mean squares. None before the first step.
    moments: Vec<Tensor>,
    /// The mean square of the deviation of the noise in the releases, weighted as the mean squares of the gradient are.
    variance: f64,
}

impl Adam {
    /// # Errors
    /// When the learning rate, epsilon or floor is not finite and positive, a beta is outside [0, 1), or the weight decay is
    /// negative or not finite.
    pub fn new(config: AdamConfig, decay: Decay) -> Result<Self> {
        checked_learning_rate(config.learning_rate)?;
        checked_share("beta1", config.beta1)?;
        checked_share("beta2", config.beta2)?;
        checked_weight_decay(config.weight_decay)?;
        let positive = |name: &str, value: f64| {
            let allowed = || Error::value(name, value, "a finite number above 0");
            if value.is_finite() && value > 0.0 { Ok(()) } else { Err(allowed()) }
        };
        positive("adam epsilon", config.epsilon)?;
        if let BiasCorrection::Floor(floor) = config.bias_correction {
            positive("bias floor", floor)?;
        }
        Ok(Self { config, decay, factor: 1.0, steps: 0, moments: Vec::new(), variance: 0.0 })
    }

    /// The mean noise variance after step `t` with noise of this deviation: the first moment of s^2, its bias taken off. Noise that
    /// never changes has its own, to the last bit.
    fn variance_after(&self, t: u32, deviation: f64) -> f64 {
        let beta2 = self.config.beta2;
        let weight = (1.0 - beta2) / (1.0 - beta2.powf(f64::from(t)));
        if t == 1 { deviation * deviation } else { self.variance + weight * (deviation * deviation - self.variance) }
    }

    /// The numbers of step `t`, counted from 1, with this mean variance of the noise.
    fn numbers(&self, t: u32, variance: f64) -> adam::Adam {
        let AdamConfig { learning_rate, beta1, beta2, epsilon, weight_decay, bias_correction } = self.config;
        let start = |beta: f64| 1.0 / (1.0 - beta.powf(f64::from(t)));
        let rate = learning_rate * self.factor;
        let corrected = bias_correction.for_noise(variance);
        let (l2, left) = match self.decay {
            Decay::Gradient => (weight_decay, 1.0),
            Decay::Parameter => (0.0, 1.0 - rate * weight_decay),
        };
        adam::Adam {
            keep: (beta1, beta2),
            rate: rate * start(beta1),
            square_scale: start(beta2),
            correction: corrected.unwrap_or((0.0, 0.0)),
            epsilon: if corrected.is_some() { 0.0 } else { epsilon },
            l2,
            left,
        }
    }
}

impl Optimizer for Adam {
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()> {
        let deviation = release.deviation();
        let gradient = gradient_for(parameters, release)?;
        let next = self.steps.checked_add(1);
        let next = next.ok_or_else(|| Error::value("steps of Adam", self.steps, "fewer than 2^32"))?;
        if self.moments.is_empty() {
            self.moments = gradient.iter().map(zeros).collect::<Result<_>>()?;
        }
        let variance = self.variance_after(next, deviation);
        let numbers = self.numbers(next, variance);
        for ((_, variable), (gradient, moments)) in parameters.iter().zip(gradient.iter().zip(&self.moments)) {
            step(&numbers, variable.as_tensor(), gradient, moments)?;
        }
        (self.steps, self.variance) = (next, variance);
        Ok(())
    }

    fn scale_learning_rate(&mut self, factor: f64) {
        self.factor = factor;
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let numbers =
            state::counted("adam.steps", self.steps).into_iter().chain(state::number("adam.noise", self.variance));
        numbers.chain(state::named("moments", &self.moments)).collect()
    }

    fn restore(&mut self, parameters: &Parameters, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()> {
        let steps = state::count("adam.steps", state)?;
        let shape = |dims: &[usize]| vec![2, dims.iter().product()];
        let moments = if steps > 0 { state::of_parameters(parameters, "moments", state, shape)? } else { Vec::new() };
        let variance = state::read_number("adam.noise", state)?;
        (self.steps, self.moments, self.variance) = (steps, moments, variance);
        Ok(())
    }
}

fn zeros(gradient: &Tensor) -> Result<Tensor> {
    Ok(Tensor::zeros((2, gradient.elem_count()), gradient.dtype(), gradient.device())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn the_noise_taken_off_has_the_weights_of_the_squares() {
        let mut adam = Adam::new(AdamConfig { beta2: 0.9, ..AdamConfig::default() }, Decay::Gradient).unwrap();
        let (deviations, mut moment) = ([0.5_f64, 0.5, 2.0, 0.1, 0.3], 0.0);
        for (t, deviation) in (1..).zip(deviations) {
            adam.variance = adam.variance_after(t, deviation);
            moment = 0.9 * moment + 0.1 * deviation.powi(2);
            let mean = moment / (1.0 - 0.9_f64.powi(t as i32));
            assert!((adam.variance - mean).abs() <= 1e-14 * mean, "step {t}: {} for {mean}", adam.variance);
            assert!(t > 2 || adam.variance == 0.25, "noise that does not change has its own variance");
        }
    }
}
