//! The flags that choose a clipping rule.

use crate::clip::{ClipRule, Stabiliser};
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
}

impl ClippingArgs {
    /// # Errors
    /// When a constant is out of its range, or given to a rule that has none of its name.
    pub(super) fn rule(&self) -> Result<ClipRule> {
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
        };
        let (gamma, r) = (("--clipping-gamma", self.clipping_gamma), ("--clipping-r", self.clipping_r));
        let others = match rule {
            ClipRule::Automatic { .. } => vec![(r, "psac")],
            ClipRule::Psac { .. } => vec![(gamma, "automatic")],
            _ => vec![(gamma, "automatic"), (r, "psac")],
        };
        for ((flag, value), owner) in others {
            if let Some(value) = value {
                let allowed = format!("no value beside --clipping {}; it belongs to --clipping {owner}", rule.name());
                return Err(Error::value(flag, value, allowed));
            }
        }
        Ok(rule)
    }
}
