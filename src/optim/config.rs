//! Which optimiser, with which schedule and average: what a recipe says.

use super::{Adam, AdamConfig, Averaged, Decay, EmaConfig, Optimizer, Schedule, Scheduled, Sgd, SgdConfig};
use crate::Result;
use serde::{Deserialize, Serialize};

/// An optimiser, its schedule and its average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// How a step is taken.
    pub rule: Rule,
    /// How the learning rate changes over the run.
    pub schedule: Schedule,
    /// The average of the parameters that the run ends with; none for the parameters of the last step.
    pub ema: Option<EmaConfig>,
}

/// How a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Gradient descent, with momentum and weight decay.
    Sgd(SgdConfig),
    /// Adam, with weight decay on the gradient.
    Adam(AdamConfig),
    /// Adam, with weight decay on the parameter.
    AdamW(AdamConfig),
}

impl From<Rule> for OptimizerConfig {
    /// At a constant learning rate, without an average.
    fn from(rule: Rule) -> Self {
        Self { rule, schedule: Schedule::default(), ema: None }
    }
}

impl OptimizerConfig {
    /// The optimiser, for a run of `steps` steps.
    ///
    /// # Errors
    /// When a number is outside its range, or the warm-up takes all the steps.
    pub fn build(&self, steps: u32) -> Result<Box<dyn Optimizer>> {
        let mut optimizer: Box<dyn Optimizer> = match self.rule {
            Rule::Sgd(config) => Box::new(Sgd::new(config)?),
            Rule::Adam(config) => Box::new(Adam::new(config, Decay::Gradient)?),
            Rule::AdamW(config) => Box::new(Adam::new(config, Decay::Parameter)?),
        };
        if !self.schedule.is_constant() {
            optimizer = Box::new(Scheduled::new(optimizer, self.schedule, steps)?);
        }
        Ok(match self.ema {
            Some(ema) => Box::new(Averaged::new(optimizer, ema)?),
            None => optimizer,
        })
    }
}
