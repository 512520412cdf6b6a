//! The flags that say how the model is moved, and the optimiser they lead to.

use crate::optim::{AdamConfig, BiasCorrection, EmaConfig, OptimizerConfig, Rule, Schedule, SgdConfig, Shape};
use crate::{Error, Result};
use clap::ValueEnum;

/// Which optimiser, with which numbers. A flag of another optimiser or schedule than the one asked for is refused.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Learning")]
pub(super) struct OptimizerArgs {
    /// The optimiser.
    #[arg(long, value_enum, default_value_t = Name::Sgd)]
    optimizer: Name,
    /// Step length [default: of the model for sgd, 0.01 for adam and adamw].
    #[arg(long, value_name = "R")]
    learning_rate: Option<f64>,
    /// sgd: how much of the last step's velocity is kept, from 0 to below 1.
    #[arg(long, value_name = "M")]
    momentum: Option<f64>,
    /// sgd: Nesterov's momentum.
    #[arg(long)]
    nesterov: bool,
    /// The multiple of the parameters that is added to their gradient; for adamw taken off the parameters themselves, times the
    /// learning rate [default: 0, and 0.01 for adamw].
    #[arg(long, value_name = "W")]
    weight_decay: Option<f64>,
    /// adam, adamw: how much of the mean gradient is kept, from 0 to below 1 [default: 0.9].
    #[arg(long, value_name = "M")]
    beta1: Option<f64>,
    /// adam, adamw: how much of the mean squared gradient is kept, from 0 to below 1 [default: 0.999].
    #[arg(long, value_name = "M")]
    beta2: Option<f64>,
    /// adam, adamw: what is added to the root of the mean square where the noise is not taken off it [default: 1e-8].
    #[arg(long, value_name = "X")]
    adam_epsilon: Option<f64>,
    /// adam, adamw: leave the noise in the mean square.
    #[arg(long)]
    no_bias_correction: bool,
    /// adam, adamw: the least that is left of the mean square when the noise is taken off it [default: a quarter of the noise
    /// variance].
    #[arg(long, value_name = "X", conflicts_with = "no_bias_correction")]
    bias_floor: Option<f64>,
    /// How the learning rate changes over the run.
    #[arg(long, value_enum, default_value_t = ScheduleName::Constant)]
    schedule: ScheduleName,
    /// Steps with a rising learning rate, before the schedule begins.
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup_steps: u32,
    /// linear, cosine: the share of the learning rate at the end, from 0 to 1 [default: 0].
    #[arg(long, value_name = "F")]
    final_fraction: Option<f64>,
    /// step: steps between two changes of the learning rate.
    #[arg(long, value_name = "N")]
    decay_every: Option<u32>,
    /// step: what the learning rate is multiplied by [default: 0.5].
    #[arg(long, value_name = "F")]
    decay_factor: Option<f64>,
    /// End with an exponential moving average of the parameters that keeps this much of itself at a step, from 0 to below 1.
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Gradient descent with momentum.
    Sgd,
    /// Adam; its mean squares are corrected for the noise.
    Adam,
    /// Adam with decoupled weight decay, corrected likewise.
    #[value(name = "adamw")]
    AdamW,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScheduleName {
    /// The same at every step.
    Constant,
    /// On a line down to --final-fraction.
    Linear,
    /// On half a cosine down to --final-fraction.
    Cosine,
    /// Times --decay-factor after every --decay-every steps.
    Step,
}

impl OptimizerArgs {
    /// The optimiser asked for; `sgd` has the defaults of its model. `no_privacy` says that nothing will be noisy.
    pub(super) fn config(&self, defaults: OptimizerConfig, no_privacy: bool) -> Result<OptimizerConfig> {
        let rule = match (self.optimizer, defaults.rule) {
            (Name::Sgd, Rule::Sgd(defaults)) => Rule::Sgd(self.sgd(defaults)?),
            (Name::Sgd, _) => Rule::Sgd(self.sgd(SgdConfig::default())?),
            (Name::Adam, _) => Rule::Adam(self.adam(0.0, no_privacy)?),
            (Name::AdamW, _) => Rule::AdamW(self.adam(0.01, no_privacy)?),
        };
        let ema = self.ema.map(|decay| EmaConfig { decay, warmup: true });
        Ok(OptimizerConfig { rule, schedule: self.schedule()?, ema })
    }

    fn sgd(&self, defaults: SgdConfig) -> Result<SgdConfig> {
        let only = |flag, value| only(flag, value, "--optimizer adam or adamw", "--optimizer sgd");
        only("--beta1", shown(self.beta1))?;
        only("--beta2", shown(self.beta2))?;
        only("--adam-epsilon", shown(self.adam_epsilon))?;
        only("--no-bias-correction", given(self.no_bias_correction))?;
        only("--bias-floor", shown(self.bias_floor))?;
        Ok(SgdConfig {
            learning_rate: self.learning_rate.unwrap_or(defaults.learning_rate),
            momentum: self.momentum.unwrap_or(defaults.momentum),
            nesterov: self.nesterov,
            weight_decay: self.weight_decay.unwrap_or(defaults.weight_decay),
        })
    }

    fn adam(&self, weight_decay: f64, no_privacy: bool) -> Result<AdamConfig> {
        let chosen = self.optimizer.to_possible_value().map_or_else(String::new, |name| name.get_name().to_string());
        let chosen = format!("--optimizer {chosen}");
        only("--momentum", shown(self.momentum), "--optimizer sgd", &chosen)?;
        only("--nesterov", given(self.nesterov), "--optimizer sgd", &chosen)?;
        let bias_correction = match self.bias_floor {
            _ if self.no_bias_correction => BiasCorrection::Off,
            Some(floor) => BiasCorrection::Floor(floor),
            None => BiasCorrection::Scaled,
        };
        if bias_correction != BiasCorrection::Off && !no_privacy {
            let chosen = "the bias correction, which has --bias-floor instead";
            only("--adam-epsilon", shown(self.adam_epsilon), "--no-bias-correction", chosen)?;
        }
        let defaults = AdamConfig::default();
        Ok(AdamConfig {
            learning_rate: self.learning_rate.unwrap_or(defaults.learning_rate),
            beta1: self.beta1.unwrap_or(defaults.beta1),
            beta2: self.beta2.unwrap_or(defaults.beta2),
            epsilon: self.adam_epsilon.unwrap_or(defaults.epsilon),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            bias_correction,
        })
    }

    fn schedule(&self) -> Result<Schedule> {
        let name = self.schedule.to_possible_value().map_or_else(String::new, |name| name.get_name().to_string());
        let chosen = format!("--schedule {name}");
        if !matches!(self.schedule, ScheduleName::Linear | ScheduleName::Cosine) {
            only("--final-fraction", shown(self.final_fraction), "--schedule linear or cosine", &chosen)?;
        }
        if self.schedule != ScheduleName::Step {
            only("--decay-every", shown(self.decay_every), "--schedule step", &chosen)?;
            only("--decay-factor", shown(self.decay_factor), "--schedule step", &chosen)?;
        }
        let to = self.final_fraction.unwrap_or(0.0);
        let shape = match (self.schedule, self.decay_every) {
            (ScheduleName::Constant, _) => Shape::Constant,
            (ScheduleName::Linear, _) => Shape::Linear { to },
            (ScheduleName::Cosine, _) => Shape::Cosine { to },
            (ScheduleName::Step, Some(every)) => Shape::Step { every, factor: self.decay_factor.unwrap_or(0.5) },
            (ScheduleName::Step, None) => {
                return Err(Error::value("--schedule", "step", "step with --decay-every N"));
            }
        };
        Schedule { warmup: self.warmup_steps, shape }.checked()
    }
}

/// The numbers of `config`, by the flags that give them.
pub(super) fn resolved(config: &OptimizerConfig) -> Vec<(&'static str, String)> {
    let numbers = match config.rule {
        Rule::Sgd(sgd) => {
            vec![("learning-rate", sgd.learning_rate), ("weight-decay", sgd.weight_decay), ("momentum", sgd.momentum)]
        }
        Rule::Adam(adam) | Rule::AdamW(adam) => {
            let mut numbers = vec![
                ("learning-rate", adam.learning_rate),
                ("weight-decay", adam.weight_decay),
                ("beta1", adam.beta1),
                ("beta2", adam.beta2),
            ];
            match adam.bias_correction {
                BiasCorrection::Off => numbers.push(("adam-epsilon", adam.epsilon)),
                BiasCorrection::Floor(floor) => numbers.push(("bias-floor", floor)),
                // Its floor is a share of the noise variance, which is no flag.
                BiasCorrection::Scaled => {}
            }
            numbers
        }
    };
    let of_schedule = match config.schedule.shape {
        Shape::Constant => None,
        Shape::Linear { to } | Shape::Cosine { to } => Some(("final-fraction", to)),
        Shape::Step { factor, .. } => Some(("decay-factor", factor)),
    };
    numbers.into_iter().chain(of_schedule).map(|(flag, number)| (flag, number.to_string())).collect()
}

/// The value of a flag, if it was given one.
fn shown<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// A flag without a value.
fn given(flag: bool) -> Option<String> {
    flag.then(|| "given".to_string())
}

/// A flag that would say nothing beside what was chosen must not be there.
fn only(flag: &str, value: Option<String>, with: &str, chosen: &str) -> Result<()> {
    match value {
        None => Ok(()),
        Some(value) => Err(Error::value(flag, value, format!("it only with {with}; this run has {chosen}"))),
    }
}
