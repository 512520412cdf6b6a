//! The flags that choose a clipping rule.

use crate::clip::{Adaptive, ClipRule, Stabiliser};
use crate::{Error, Result};
use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub(super) struct ClippingArgs {
    /// How gradients are brought below the clip norm.
    #[arg(long, value_name = "RULE", value_enum, default_value_t = RuleName::Flat, help_heading = "Privacy")]
    clipping: RuleName,
    /// gamma of --clipping automatic [default: 0.01].
    #[arg(long, value_name = "G", help_heading = "Privacy")]
    clipping_gamma: Option<f64>,
    /// r of --clipping psac [default: 0.1].
    #[arg(long, value_name = "R", help_heading = "Privacy")]
    clipping_r: Option<f64>,
    /// Share of examples that --clipping adaptive keeps within the clip norm [default: 0.5].
    #[arg(long, value_name = "G", help_heading = "Privacy")]
    clipping_quantile: Option<f64>,
    /// How fast --clipping adaptive moves the clip norm [default: 0.2].
    #[arg(long, value_name = "ETA", help_heading = "Privacy")]
    clipping_rate: Option<f64>,
    /// Standard deviation of the noise on the number of examples that --clipping adaptive counts [default: batch size / 20].
    #[arg(long, value_name = "S", help_heading = "Privacy")]
    clipping_count_noise: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RuleName {
    /// Weight min(1, C / norm).
    Flat,
    /// Each of K layers flat, at C / sqrt(K).
    PerLayer,
    /// Each of K parameters flat, at C / sqrt(K).
    PerParameter,
    /// Weight C / (norm + gamma).
    Automatic,
    /// Weight C / norm.
    Normalised,
    /// Weight C / (norm + r / (norm + r)).
    Psac,
    /// Weight min(1, C / norm), C follows a quantile of the norms from --clip-norm on.
    Adaptive,
}

impl ClippingArgs {
    /// # Errors
    /// When a constant is out of its range, or given to a rule that has none of its name.
    pub(super) fn rule(&self, expected_batch: usize) -> Result<ClipRule> {
        let constant = |flag: &str, value: Option<f64>, default: Stabiliser| {
            value.map_or(Ok(default), |value| Stabiliser::new(flag, value))
        };
        let rule = match self.clipping {
            RuleName::Flat => ClipRule::Flat,
            RuleName::PerLayer => ClipRule::PerLayer,
            RuleName::PerParameter => ClipRule::PerParameter,
            RuleName::Automatic if self.clipping_gamma == Some(0.0) => {
                let allowed = "a finite number above 0; --clipping normalised is the rule without gamma";
                return Err(Error::value("--clipping-gamma", 0, allowed));
            }
            RuleName::Automatic => {
                ClipRule::Automatic { gamma: constant("--clipping-gamma", self.clipping_gamma, Stabiliser::GAMMA)? }
            }
            RuleName::Normalised => ClipRule::Normalised,
            RuleName::Psac => ClipRule::Psac { r: constant("--clipping-r", self.clipping_r, Stabiliser::R)? },
            RuleName::Adaptive => ClipRule::Adaptive(Adaptive::new(
                self.clipping_quantile.unwrap_or(Adaptive::QUANTILE),
                self.clipping_rate.unwrap_or(Adaptive::RATE),
                self.clipping_count_noise.unwrap_or_else(|| Adaptive::count_noise_for(expected_batch)),
            )?),
        };
        let constants = [
            ("--clipping-gamma", self.clipping_gamma, "automatic"),
            ("--clipping-r", self.clipping_r, "psac"),
            ("--clipping-quantile", self.clipping_quantile, "adaptive"),
            ("--clipping-rate", self.clipping_rate, "adaptive"),
            ("--clipping-count-noise", self.clipping_count_noise, "adaptive"),
        ];
        for (flag, value, owner) in constants.into_iter().filter(|(_, _, owner)| *owner != rule.name()) {
            if let Some(value) = value {
                let allowed = format!("no value beside --clipping {}; it belongs to --clipping {owner}", rule.name());
                return Err(Error::value(flag, value, allowed));
            }
        }
        Ok(rule)
    }
}

/// The constants of `rule`, by the flags that give them.
pub(super) fn resolved(rule: &ClipRule) -> Vec<(&'static str, String)> {
    match rule {
        ClipRule::Flat | ClipRule::PerLayer | ClipRule::PerParameter | ClipRule::Normalised => Vec::new(),
        ClipRule::Automatic { gamma } => vec![("clipping-gamma", gamma.get().to_string())],
        ClipRule::Psac { r } => vec![("clipping-r", r.get().to_string())],
        ClipRule::Adaptive(rule) => vec![
            ("clipping-quantile", rule.quantile().to_string()),
            ("clipping-rate", rule.rate().to_string()),
            ("clipping-count-noise", rule.count_noise().to_string()),
        ],
    }
}
