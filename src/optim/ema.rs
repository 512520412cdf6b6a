//! The exponential moving average of the parameters.

use super::{Optimizer, checked_share, state};
use crate::kernel::update::approach;
use crate::nn::Parameters;
use crate::noise::Release;
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// How the average forgets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaConfig {
    /// How much of the average is kept at a step, in [0, 1).
    pub decay: f64,
    /// Whether step t, counted from 0, keeps at most (1 + t) / (10 + t), so that the start is soon forgotten (as in De, Berrada,
    /// Hayes, Smith and Balle 2022).
    pub warmup: bool,
}

/// Keeps an average of the parameters beside the steps of an optimiser: `a = a + (1 - decay) (w - a)` after every step, from the
/// parameters before the first. Steps are taken as without it; [`Optimizer::finish`] puts the average into the parameters.
///
/// The average of released parameters is post-processing and costs no privacy. It has less of the noise of the last steps. Parameters
/// that are not trained are not averaged.
pub struct Averaged {
    inner: Box<dyn Optimizer>,
    config: EmaConfig,
    /// Steps averaged.
    steps: u32,
    /// One tensor for each parameter in name order; none before the first step.
    average: Vec<Tensor>,
}

impl Averaged {
    /// The average beside the steps of `inner`.
    ///
    /// # Errors
    /// When the decay is outside [0, 1).
    pub fn new(inner: Box<dyn Optimizer>, config: EmaConfig) -> Result<Self> {
        checked_share("ema", config.decay)?;
        Ok(Self { inner, config, steps: 0, average: Vec::new() })
    }

    fn decay(&self) -> f64 {
        let t = f64::from(self.steps);
        if self.config.warmup { self.config.decay.min((1.0 + t) / (10.0 + t)) } else { self.config.decay }
    }
}

impl Optimizer for Averaged {
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()> {
        if self.average.is_empty() {
            self.average = parameters.iter().map(|(_, variable)| Ok(variable.copy()?)).collect::<Result<_>>()?;
        }
        self.inner.step(parameters, release)?;
        let share = 1.0 - self.decay();
        for (average, (_, variable)) in self.average.iter().zip(parameters.iter()) {
            approach(average, variable.as_tensor(), share)?;
        }
        self.steps = self.steps.saturating_add(1);
        Ok(())
    }

    fn scale_learning_rate(&mut self, factor: f64) {
        self.inner.scale_learning_rate(factor);
    }

    fn finish(&mut self, parameters: &Parameters) -> Result<()> {
        self.inner.finish(parameters)?;
        if self.average.is_empty() {
            return Ok(());
        }
        if self.average.len() != parameters.len() {
            let reason = format!("an average of {} parameters for a model of {}", self.average.len(), parameters.len());
            return Err(Error::Model { reason });
        }
        for (average, (_, variable)) in self.average.iter().zip(parameters.iter()) {
            variable.set(average)?;
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let average = state::counted("average.steps", self.steps).into_iter();
        self.inner.state().into_iter().chain(average).chain(state::named("average", &self.average)).collect()
    }

    fn restore(&mut self, parameters: &Parameters, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()> {
        let steps = state::count("average.steps", state)?;
        let average = |prefix: &str| state::of_parameters(parameters, prefix, state, <[usize]>::to_vec);
        let average = if steps > 0 { average("average")? } else { Vec::new() };
        self.inner.restore(parameters, state)?;
        (self.steps, self.average) = (steps, average);
        Ok(())
    }
}
