//! `dpsgd account`: questions to the accountant.

use super::{Ended, Format, print};
use crate::{Error, Place, Result};
use clap::{Subcommand, ValueEnum};
use dp_accountant::{
    Accountant, Bound, Delta, Epsilon, Event, Ledger, NoiseMultiplier, Relation, SamplingRate, calibrate,
};
use serde_json::{Map, Value, json};
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
  dpsgd account calibrate --epsilon 2 --sampling-rate 0.01 --noise-multiplier 1.1 --delta 1e-5   (the most steps)
  dpsgd account epsilon --event model/ledger.json --delta 1e-5";

#[derive(Debug, Subcommand)]
enum Question {
    /// The epsilon that a plan costs at a delta.
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  dpsgd account epsilon --noise-multiplier 1.1 --sampling-rate 0.01 --steps 1000 --delta 1e-5"
    )]
    Epsilon {
        #[command(flatten)]
        event: EventArgs,
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
        event: EventArgs,
        /// The epsilon, 0 or more.
        #[arg(long)]
        epsilon: f64,
    },
    /// The smallest noise multiplier, or with --noise-multiplier the most steps, that an epsilon allows.
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n  dpsgd account calibrate --epsilon 2 --sampling-rate 0.01 --steps 1000 --delta 1e-5"
    )]
    Calibrate {
        #[command(flatten)]
        event: EventArgs,
        /// The epsilon that must not be exceeded.
        #[arg(long)]
        epsilon: f64,
        /// The probability with which the epsilon may fail to hold, between 0 and 1.
        #[arg(long, default_value_t = 1e-5)]
        delta: f64,
    },
}

#[derive(Debug, clap::Args)]
struct EventArgs {
    /// Noise standard deviation over clip norm.
    #[arg(long, value_name = "Z")]
    noise_multiplier: Option<f64>,
    /// The probability with which a record is in a batch (expected batch / records).
    #[arg(long, value_name = "Q")]
    sampling_rate: Option<f64>,
    /// How many releases.
    #[arg(long, value_name = "T")]
    steps: Option<u64>,
    /// How records are sampled.
    #[arg(long, value_enum, default_value_t = SamplingArg::Poisson)]
    sampling: SamplingArg,
    /// An event of any kind, or a ledger, as JSON, instead of the four flags above; `-` reads stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["noise_multiplier", "sampling_rate", "steps", "sampling"])]
    event: Option<PathBuf>,
    /// The accountant: auto, analytic, moments or rdp.
    #[arg(long, default_value = "auto", value_name = "NAME")]
    accountant: String,
    /// Which data sets are neighbours: add-remove, replace or zero-out.
    #[arg(long, default_value = "add-remove", value_name = "RELATION")]
    relation: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SamplingArg {
    /// Every record independently with probability Q.
    Poisson,
    /// Every record in every step.
    None,
}

pub(super) fn run(args: Args, format: Format) -> anyhow::Result<Ended> {
    let answer = match args.question {
        Question::Epsilon { event, delta } => epsilon(&event, delta)?,
        Question::Delta { event, epsilon } => delta(&event, epsilon)?,
        Question::Calibrate { event, epsilon, delta } => calibrated(&event, epsilon, delta)?,
    };
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&answer)? + "\n"))?,
        Format::Text => print(&text(&answer))?,
    }
    Ok(Ended::Done)
}

fn epsilon(args: &EventArgs, delta: f64) -> Result<Map<String, Value>> {
    let (accountant, delta) = (args.accountant()?, Delta::new(delta)?);
    let bound = accountant.epsilon(&args.event()?, delta)?;
    if !bound.upper().is_finite() {
        let reason =
            format!("the accountant {} knows no finite epsilon for this event; raise the noise", bound.accountant());
        return Err(Error::Refused { reason });
    }
    Ok(args.answer([("epsilon", json!(bound)), ("delta", json!(delta))], accountant.as_ref(), &bound))
}

fn delta(args: &EventArgs, epsilon: f64) -> Result<Map<String, Value>> {
    let (accountant, epsilon) = (args.accountant()?, Epsilon::new(epsilon)?);
    let bound = accountant.delta(&args.event()?, epsilon)?;
    Ok(args.answer([("delta", json!(bound)), ("epsilon", json!(epsilon))], accountant.as_ref(), &bound))
}

fn calibrated(args: &EventArgs, epsilon: f64, delta: f64) -> Result<Map<String, Value>> {
    if args.event.is_some() {
        return Err(Error::value("--event", "given", "not with calibrate: an event has its noise already"));
    }
    let (accountant, target, delta) = (args.accountant()?, Epsilon::new(epsilon)?, Delta::new(delta)?);
    let rate = args.rate()?;
    let (name, value, bound, capped) = match (args.noise_multiplier, args.steps) {
        (None, Some(steps)) => {
            steps_in_range(steps)?;
            let event = |z| one(z, rate).repeated(steps);
            let found = calibrate::noise_multiplier(accountant.as_ref(), event, target, delta)?;
            ("noise_multiplier", json!(found.value), found.bound, found.capped)
        }
        (Some(z), None) => {
            let step = one(NoiseMultiplier::new(z)?, rate);
            let found = calibrate::steps(accountant.as_ref(), |n| step.clone().repeated(n), target, delta)?;
            ("steps", json!(found.value), found.bound, found.capped)
        }
        (Some(_), Some(_)) => {
            return Err(Error::value(
                "--steps",
                "given beside --noise-multiplier",
                "one of the two: the other is calibrated",
            ));
        }
        (None, None) => {
            return Err(Error::value(
                "--steps",
                "absent",
                "a number of steps, or --noise-multiplier to calibrate the steps",
            ));
        }
    };
    let head = [(name, value), ("epsilon", json!(bound)), ("delta", json!(delta))];
    let mut answer = args.answer(head, accountant.as_ref(), &bound);
    if capped {
        answer.insert("note".into(), json!("the search ended at the edge of its range: the true value lies beyond"));
    }
    Ok(answer)
}

fn one(z: NoiseMultiplier, rate: Option<SamplingRate>) -> Event {
    let gaussian = Event::gaussian(z);
    match rate {
        Some(rate) => gaussian.poisson_sampled(rate),
        None => gaussian,
    }
}

fn steps_in_range(steps: u64) -> Result<u64> {
    if steps == 0 { Err(Error::value("--steps", steps, "at least 1")) } else { Ok(steps) }
}

impl EventArgs {
    fn accountant(&self) -> Result<Box<dyn Accountant>> {
        let relation: Relation = self
            .relation
            .parse()
            .map_err(|_| Error::value("--relation", &self.relation, "add-remove, replace, zero-out"))?;
        dp_accountant::by_name(&self.accountant, relation)
            .map_err(|_| Error::value("--accountant", &self.accountant, dp_accountant::NAMES.join(", ")))
    }

    fn rate(&self) -> Result<Option<SamplingRate>> {
        match (self.sampling, self.sampling_rate) {
            (SamplingArg::Poisson, Some(rate)) => Ok(Some(SamplingRate::new(rate)?)),
            (SamplingArg::None, None) => Ok(None),
            (SamplingArg::Poisson, None) => {
                Err(Error::value("--sampling-rate", "absent", "a rate above 0 and at most 1, or --sampling none"))
            }
            (SamplingArg::None, Some(rate)) => {
                Err(Error::value("--sampling-rate", rate, "absent with --sampling none: every record is in every step"))
            }
        }
    }

    fn event(&self) -> Result<Event> {
        if let Some(path) = &self.event {
            let text = if path.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin()).map_err(Error::io("read", path))?
            } else {
                std::fs::read_to_string(path).map_err(Error::io("read", path))?
            };
            if let Ok(ledger) = serde_json::from_str::<Ledger>(&text) {
                return Ok(ledger.event());
            }
            return serde_json::from_str(&text).map_err(|error| {
                let place = Place::line(path, error.line() as u64);
                Error::data(place, error.to_string(), "an event, such as {\"gaussian\": {\"noise_multiplier\": 1.1}}")
            });
        }
        let absent = |flag: &str| Error::value(flag, "absent", "a number, or --event FILE");
        let z = NoiseMultiplier::new(self.noise_multiplier.ok_or_else(|| absent("--noise-multiplier"))?)?;
        let steps = steps_in_range(self.steps.ok_or_else(|| absent("--steps"))?)?;
        Ok(one(z, self.rate()?).repeated(steps))
    }

    /// The answer and the question it belongs to.
    fn answer<const N: usize>(
        &self,
        head: [(&str, Value); N],
        accountant: &dyn Accountant,
        bound: &Bound,
    ) -> Map<String, Value> {
        let mut answer: Map<String, Value> = head.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        answer.insert("accountant".into(), json!(bound.accountant()));
        answer.insert("relation".into(), json!(accountant.relation()));
        let sampling = match self.sampling {
            SamplingArg::Poisson => "poisson",
            SamplingArg::None => "none",
        };
        let question = [
            ("noise_multiplier", self.noise_multiplier.map(|z| json!(z))),
            ("sampling", self.event.is_none().then(|| json!(sampling))),
            ("sampling_rate", self.sampling_rate.map(|q| json!(q))),
            ("steps", self.steps.map(|t| json!(t))),
        ];
        for (name, value) in question {
            if let Some(value) = value {
                answer.entry(name).or_insert(value);
            }
        }
        answer
    }
}

fn text(answer: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in answer {
        let value = match value {
            Value::Object(bound) => {
                let part = |part: &str| bound.get(part).map(plain).unwrap_or_default();
                format!("{} (upper bound; not below {})", part("upper"), part("lower"))
            }
            other => plain(other),
        };
        out += &format!("{:<18}{value}\n", name.replace('_', " "));
    }
    out
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
