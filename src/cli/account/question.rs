//! What is asked: which number of a plan is missing, and what the flags said.

use super::plan::{PlanArgs, Sampling, SamplingArg};
use crate::{Error, Result};
use dp_accountant::NoiseMultiplier;
use serde_json::Value;

/// Names and values of the flags that an answer repeats.
pub(super) type Asked = Vec<(&'static str, Value)>;

/// The one number of a plan that is not given.
pub(super) enum Missing {
    Noise { sampling: Sampling, steps: u64 },
    Steps { sampling: Sampling, noise_multiplier: NoiseMultiplier },
    Rate { noise_multiplier: NoiseMultiplier, steps: u64 },
    Batch { noise_multiplier: NoiseMultiplier, steps: u64, records: u64, fixed: bool },
}

impl Missing {
    pub(super) fn of(
        noise: Option<NoiseMultiplier>,
        steps: Option<u64>,
        sampling: Option<Sampling>,
        args: &PlanArgs,
    ) -> Result<Self> {
        let one = "exactly one of noise multiplier, steps and sampling rate (or batch) must be left out";
        match (noise, steps, sampling) {
            (None, Some(steps), Some(sampling)) => Ok(Self::Noise { sampling, steps }),
            (Some(noise_multiplier), None, Some(sampling)) => Ok(Self::Steps { sampling, noise_multiplier }),
            (Some(noise_multiplier), Some(steps), None) => match (args.sampling, args.records) {
                (SamplingArg::Poisson | SamplingArg::WithoutReplacement, Some(records)) => {
                    let fixed = args.sampling == SamplingArg::WithoutReplacement;
                    Ok(Self::Batch { noise_multiplier, steps, records, fixed })
                }
                (SamplingArg::Poisson, None) => Ok(Self::Rate { noise_multiplier, steps }),
                _ => Err(args.sampling_missing()),
            },
            (Some(_), Some(_), Some(_)) => {
                Err(Error::value("--steps", "given beside --noise-multiplier", format!("{one}: it is calibrated")))
            }
            (None, None, _) => Err(Error::value("--steps", "absent, and --noise-multiplier too", one)),
            (None, Some(_), None) | (Some(_), None, None) => Err(args.sampling_missing()),
        }
    }
}
