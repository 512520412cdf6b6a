//! The flags that choose how the noise of different steps goes together.

use crate::noise::NoiseRule;
use crate::{Error, Result};
use clap::ValueEnum;
use std::num::NonZeroU32;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Privacy")]
pub(super) struct NoiseArgs {
    /// How the noise of different steps goes together, and with it how batches are drawn.
    #[arg(long, value_name = "RULE", value_enum, default_value_t = RuleName::Independent)]
    noise: RuleName,
    /// Bands of --noise banded: noise is correlated over so many steps, and a record takes part in every so many-th at most
    /// [default: 4].
    #[arg(long, value_name = "B")]
    bands: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RuleName {
    /// Fresh noise in every step, on Poisson samples.
    Independent,
    /// Sums of gradients have the noise of a binary tree for each pass, on disjoint batches.
    Tree,
    /// Noise correlated by a banded matrix, on cyclic Poisson samples.
    Banded,
}

impl NoiseArgs {
    /// # Errors
    /// When bands are given to a rule that has none.
    pub(super) fn rule(&self) -> Result<NoiseRule> {
        let rule = match self.noise {
            RuleName::Independent => NoiseRule::Independent,
            RuleName::Tree => NoiseRule::Tree,
            RuleName::Banded => NoiseRule::Banded { bands: self.bands.unwrap_or(NoiseRule::BANDS) },
        };
        match (rule, self.bands) {
            (NoiseRule::Independent | NoiseRule::Tree, Some(bands)) => {
                let allowed = format!("no value beside --noise {}; it belongs to --noise banded", rule.name());
                Err(Error::value("--bands", bands, allowed))
            }
            _ => Ok(rule),
        }
    }
}
