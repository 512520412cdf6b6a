//! `dpsgd account clip21-noise`: what the noise formula of published experiments with Clip21 is worth.

use super::answer::Answer;
use crate::distributed::guarantee::true_epsilon_of_papers_formula;
use crate::{Error, Result};
use dp_accountant::{Delta, Epsilon};
use serde_json::json;
use std::num::NonZeroU32;

#[derive(Debug, clap::Args)]
pub(super) struct Clip21NoiseArgs {
    /// The epsilon that the formula is given, above 0.
    #[arg(long, value_name = "EPSILON")]
    nominal_epsilon: f64,
    /// The probability with which the epsilon may fail to hold, between 0 and 1.
    #[arg(long, default_value_t = 1e-5)]
    delta: f64,
    /// In how many rounds every node sends a message, T.
    #[arg(long, value_name = "T")]
    rounds: u32,
}

const FLAW: &str = "the formula s = (t / epsilon) sqrt(T ln(1 / delta)) (Islamov et al. 2025, arXiv 2502.11682) is not \
    the noise that (epsilon, delta) needs: T rounds of it are one Gaussian with mu = epsilon / sqrt(ln(1 / delta)) for \
    a client that is absent, which moves a message by t, and with twice that mu for a client or a record that is \
    replaced, which moves it by up to 2t";

pub(super) fn worth(args: &Clip21NoiseArgs) -> Result<Answer> {
    let rounds = NonZeroU32::new(args.rounds).ok_or_else(|| Error::value("--rounds", args.rounds, "at least 1"))?;
    let (nominal, delta) = (Epsilon::new(args.nominal_epsilon)?, Delta::new(args.delta)?);
    let formula = true_epsilon_of_papers_formula(nominal, delta, rounds)?;
    let entries = [
        ("noise_multiplier", json!(formula.noise_multiplier)),
        ("epsilon_absent", json!(formula.absent)),
        ("epsilon_replaced", json!(formula.replaced)),
        ("nominal_epsilon", json!(nominal)),
        ("delta", json!(delta)),
        ("rounds", json!(rounds)),
        ("accountant", json!(formula.absent.accountant())),
        ("note", json!(FLAW)),
    ];
    Ok(entries.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
