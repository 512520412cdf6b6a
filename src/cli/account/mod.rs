//! `dpsgd account`: questions to the accountant.

mod answer;
mod calibrated;
mod clip21_noise;
mod compare;
mod covering;
mod curve;
mod plan;
mod question;

use super::{Ended, Format, print};
use crate::{Error, Result};
use answer::Answer;
use clap::Subcommand;
use clip21_noise::Clip21NoiseArgs;
use dp_accountant::{Bound, Delta, Epsilon};
use plan::PlanArgs;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    question: Question,
}

const EXAMPLES: &str = "Examples:
  dpsgd account epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5
  dpsgd account delta --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --epsilon 2
  dpsgd account calibrate --epsilon 2 --sampling-rate 0.01 --steps 1000 --delta 1e-5
  dpsgd account compare --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5
  dpsgd account curve --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --svg curve.svg
  dpsgd account clip21-noise --nominal-epsilon 8 --rounds 1000 --delta 1e-5
  dpsgd account epsilon --event model/ledger.json --delta 1e-5";

#[derive(Debug, Subcommand)]
enum Question {
    /// The epsilon that a plan costs at a delta.
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:
  dpsgd account epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5
  dpsgd account epsilon --noise-multiplier 1.1 --sampling balls-in-bins --records 60000 --batch 600 --steps 1000"
    )]
    Epsilon {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        by: By,
        /// The probability with which the epsilon may fail to hold, between 0 and 1.
        #[arg(long, default_value_t = 1e-5)]
        delta: f64,
    },
    /// The delta that a plan costs at an epsilon.
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  dpsgd account delta --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --epsilon 2"
    )]
    Delta {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        by: By,
        /// The epsilon, 0 or more.
        #[arg(long)]
        epsilon: f64,
    },
    /// The number that is left out of a plan: the smallest noise multiplier, the most steps, the largest rate or batch.
    #[command(
        allow_negative_numbers = true,
        after_help = "Examples:
  dpsgd account calibrate --epsilon 2 --sampling-rate 0.01 --steps 1000                      (the noise multiplier)
  dpsgd account calibrate --epsilon 2 --sampling-rate 0.01 --noise-multiplier 1.1            (the steps)
  dpsgd account calibrate --epsilon 2 --noise-multiplier 1.1 --steps 1000                    (the sampling rate)
  dpsgd account calibrate --epsilon 2 --noise-multiplier 1.1 --steps 1000 --records 60000    (the batch)"
    )]
    Calibrate {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        by: By,
        /// The epsilon that must not be exceeded.
        #[arg(long)]
        epsilon: f64,
        /// The probability with which the epsilon may fail to hold, between 0 and 1.
        #[arg(long, default_value_t = 1e-5)]
        delta: f64,
    },
    /// The epsilon of one plan by every accountant, side by side, with widths and times.
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  dpsgd account compare --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5"
    )]
    Compare {
        #[command(flatten)]
        plan: PlanArgs,
        /// The probability with which the epsilon may fail to hold, between 0 and 1.
        #[arg(long, default_value_t = 1e-5)]
        delta: f64,
    },
    /// The epsilon of a plan at deltas from 1e-1 to 1e-15, as a table and a picture.
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  dpsgd account curve --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --svg curve.svg"
    )]
    Curve {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        by: By,
        /// Draws the curve into this SVG file.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// What the noise formula of published experiments with Clip21 is worth: the epsilon that its noise really gives.
    #[command(
        name = "clip21-noise",
        allow_negative_numbers = true,
        after_help = "Example:\n  dpsgd account clip21-noise --nominal-epsilon 8 --rounds 1000 --delta 1e-5"
    )]
    Clip21Noise(Clip21NoiseArgs),
}

#[derive(Debug, clap::Args)]
struct By {
    /// The accountant: auto, analytic, gdp, moments, pld or rdp.
    #[arg(long, default_value = "auto", value_name = "NAME")]
    accountant: String,
}

pub(super) fn run(args: Args, format: Format) -> anyhow::Result<Ended> {
    let (answer, text): (Answer, fn(&Answer) -> String) = match args.question {
        Question::Epsilon { plan, by, delta } => (epsilon(&plan, &by.accountant, delta)?, answer::text),
        Question::Delta { plan, by, epsilon } => (delta(&plan, &by.accountant, epsilon)?, answer::text),
        Question::Calibrate { plan, by, epsilon, delta } => {
            (calibrated::calibrated(&plan, &by.accountant, epsilon, delta)?, answer::text)
        }
        Question::Compare { plan, delta } => (compare::compare(&plan, delta)?, compare::text),
        Question::Curve { plan, by, svg } => (curve::curve(&plan, &by.accountant, svg.as_deref())?, curve::text),
        Question::Clip21Noise(args) => (clip21_noise::worth(&args)?, answer::text),
    };
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&answer)? + "\n"))?,
        Format::Text => print(&text(&answer))?,
    }
    Ok(Ended::Done)
}

fn epsilon(plan: &PlanArgs, accountant: &str, delta: f64) -> Result<Answer> {
    let (accountant, delta) = (plan.accountant(accountant)?, Delta::new(delta)?);
    let bound = accountant.epsilon(&plan.event()?, delta)?;
    if !bound.estimate().is_finite() {
        let reason =
            format!("the accountant {} knows no finite epsilon for this event; raise the noise", bound.accountant());
        return Err(Error::Refused { reason });
    }
    let head = [("epsilon", json!(bound)), ("delta", json!(delta))];
    let mut answer = answer::of(head, plan, accountant.as_ref(), Some(&bound))?;
    remark(&mut answer, &bound);
    Ok(answer)
}

fn delta(plan: &PlanArgs, accountant: &str, epsilon: f64) -> Result<Answer> {
    let (accountant, epsilon) = (plan.accountant(accountant)?, Epsilon::new(epsilon)?);
    let bound = accountant.delta(&plan.event()?, epsilon)?;
    let head = [("delta", json!(bound)), ("epsilon", json!(epsilon))];
    let mut answer = answer::of(head, plan, accountant.as_ref(), Some(&bound))?;
    remark(&mut answer, &bound);
    Ok(answer)
}

/// What must be said beside an answer that is no guarantee.
fn remark(answer: &mut Answer, bound: &Bound) {
    if bound.accountant() == "gdp" {
        answer.insert("note".into(), json!("an estimate by the central limit theorem, often too small: no guarantee"));
    }
}
