//! The flags that describe a plan, and the event they describe.

use super::covering::Covering;
use super::question::{Asked, Missing};
use crate::{Error, Place, Result};
use clap::ValueEnum;
use dp_accountant::{Accountant, Allocation, Batches, Event, Ledger, NoiseMultiplier, Relation, SamplingRate};
use serde_json::{Value, json};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// The flags that belong to a plan; `--event` replaces them all.
const FLAGS: [&str; 7] =
    ["noise_multiplier", "sampling_rate", "steps", "sampling", "records", "batch", "steps_per_epoch"];

#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    /// Noise standard deviation over clip norm.
    #[arg(long, value_name = "Z")]
    pub(super) noise_multiplier: Option<f64>,
    /// The probability with which a record is in a batch (expected batch / records).
    #[arg(long, value_name = "Q", conflicts_with_all = ["batch", "steps_per_epoch"])]
    pub(super) sampling_rate: Option<f64>,
    /// How many steps; shuffled and balls-in-bins count a part of an epoch as a whole one, and then no lower end is known.
    #[arg(long, value_name = "T")]
    pub(super) steps: Option<u64>,
    /// How records are sampled.
    #[arg(long, value_enum, default_value_t = SamplingArg::Poisson)]
    pub(super) sampling: SamplingArg,
    /// How many records there are.
    #[arg(long, value_name = "N")]
    pub(super) records: Option<u64>,
    /// How many records a batch has (under Poisson sampling, on average).
    #[arg(long, value_name = "B")]
    pub(super) batch: Option<u64>,
    /// How many steps make one pass over the records; for shuffled and balls-in-bins.
    #[arg(long, value_name = "S", conflicts_with = "batch")]
    pub(super) steps_per_epoch: Option<u64>,
    /// An event of any kind, or a ledger, as JSON, instead of the flags above; `-` reads stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = FLAGS)]
    pub(super) event: Option<PathBuf>,
    /// Which data sets are neighbours: add-remove, replace or zero-out.
    #[arg(long, default_value = "add-remove", value_name = "RELATION")]
    relation: String,
}

/// How the records of a step are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SamplingArg {
    /// Every record independently with probability Q.
    Poisson,
    /// Every record in every step.
    None,
    /// A uniformly random batch of fixed size in every step; needs --records and --batch.
    WithoutReplacement,
    /// Passes over shuffled records; needs --steps-per-epoch, or --records and --batch.
    Shuffled,
    /// In every epoch each record in one uniformly random step; needs --steps-per-epoch, or --records and --batch.
    BallsInBins,
}

/// How records are sampled, with the numbers that this needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sampling {
    Poisson(SamplingRate),
    None,
    WithoutReplacement(Batches),
    Shuffled(NonZeroU64),
    BallsInBins(Allocation),
}

impl Sampling {
    /// `steps` steps at this noise multiplier. A part of an epoch counts as a whole one: never less than what is done.
    pub(super) fn plan(self, noise_multiplier: NoiseMultiplier, steps: u64) -> Event {
        let gaussian = Event::gaussian(noise_multiplier);
        match self {
            Self::Poisson(rate) => gaussian.poisson_sampled(rate).repeated(steps),
            Self::None => gaussian.repeated(steps),
            Self::WithoutReplacement(batches) => gaussian.without_replacement(batches).repeated(steps),
            Self::Shuffled(epoch) => gaussian.shuffled(epoch).repeated(steps.div_ceil(epoch.get())),
            Self::BallsInBins(epoch) => gaussian.randomly_allocated(epoch).repeated(steps.div_ceil(epoch.steps())),
        }
    }
}

impl PlanArgs {
    /// The accountant of this name, for the neighbouring relation of these flags.
    pub(super) fn accountant(&self, name: &str) -> Result<Box<dyn Accountant>> {
        let accountant = dp_accountant::by_name(name, self.relation()?)
            .map_err(|_| Error::value("--accountant", name, dp_accountant::NAMES.join(", ")))?;
        Ok(if self.ends_within_an_epoch()? { Box::new(Covering(accountant)) } else { accountant })
    }

    /// Whether the last epoch may be a part of one, which is accounted for as a whole one.
    fn ends_within_an_epoch(&self) -> Result<bool> {
        if self.event.is_some() {
            return Ok(false);
        }
        let epoch = match self.sampling()? {
            Some(Sampling::Shuffled(epoch)) => epoch.get(),
            Some(Sampling::BallsInBins(epoch)) => epoch.steps(),
            _ => return Ok(false),
        };
        Ok(self.steps.is_none_or(|steps| steps % epoch != 0))
    }

    fn relation(&self) -> Result<Relation> {
        self.relation.parse().map_err(|_| Error::value("--relation", &self.relation, "add-remove, replace, zero-out"))
    }

    /// The noise multiplier, if it was given.
    pub(super) fn noise(&self) -> Result<Option<NoiseMultiplier>> {
        Ok(self.noise_multiplier.map(NoiseMultiplier::new).transpose()?)
    }

    /// The number of steps, if it was given.
    pub(super) fn step_count(&self) -> Result<Option<u64>> {
        match self.steps {
            Some(0) => Err(Error::value("--steps", 0, "at least 1")),
            steps => Ok(steps),
        }
    }

    /// How records are sampled; `None` where nothing says how many a step takes.
    pub(super) fn sampling(&self) -> Result<Option<Sampling>> {
        let batches = match (self.records, self.batch) {
            (Some(records), Some(batch)) => Some(Batches::new(records, batch)?),
            (None, Some(_)) => return Err(Error::value("--records", "absent", "a number of records, with --batch")),
            _ => None,
        };
        let epoch = || -> Result<Option<NonZeroU64>> {
            if let Some(batches) = batches {
                return Ok(NonZeroU64::new(batches.records().div_ceil(batches.batch())));
            }
            let Some(steps) = self.steps_per_epoch else { return Ok(None) };
            NonZeroU64::new(steps).map(Some).ok_or_else(|| Error::value("--steps-per-epoch", 0, "at least 1"))
        };
        let unused = |flag: &str, value: Option<String>, why: &str| match value {
            Some(value) => Err(Error::value(flag, value, why)),
            None => Ok(()),
        };
        let rate = self.sampling_rate.map(|rate| rate.to_string());
        let per_epoch = self.steps_per_epoch.map(|steps| steps.to_string());
        match self.sampling {
            SamplingArg::Poisson => {
                unused("--steps-per-epoch", per_epoch, "absent with --sampling poisson: give --sampling-rate")?;
                let rate = self.sampling_rate.map(SamplingRate::new).transpose()?;
                Ok(rate.or(batches.map(Batches::share)).map(Sampling::Poisson))
            }
            SamplingArg::None => {
                let why = "absent with --sampling none: every record is in every step";
                unused("--sampling-rate", rate, why)?;
                unused("--batch", self.batch.map(|batch| batch.to_string()), why)?;
                unused("--steps-per-epoch", per_epoch, why)?;
                Ok(Some(Sampling::None))
            }
            SamplingArg::WithoutReplacement => {
                let why = "absent with --sampling without-replacement: give --records and --batch";
                unused("--sampling-rate", rate, why)?;
                unused("--steps-per-epoch", per_epoch, why)?;
                Ok(batches.map(Sampling::WithoutReplacement))
            }
            SamplingArg::Shuffled | SamplingArg::BallsInBins => {
                unused("--sampling-rate", rate, "absent: give --steps-per-epoch, or --records and --batch")?;
                let Some(epoch) = epoch()? else { return Ok(None) };
                Ok(Some(match self.sampling {
                    SamplingArg::Shuffled => Sampling::Shuffled(epoch),
                    _ => Sampling::BallsInBins(Allocation::new(epoch.get(), 1)?),
                }))
            }
        }
    }

    /// What flag says how many records a step takes.
    pub(super) fn sampling_missing(&self) -> Error {
        match self.sampling {
            SamplingArg::Poisson | SamplingArg::None => {
                let allowed = "a rate above 0 and at most 1, or --records and --batch, or --sampling none";
                Error::value("--sampling-rate", "absent", allowed)
            }
            SamplingArg::WithoutReplacement => {
                Error::value("--batch", "absent", "with --records: records in a batch and in all")
            }
            SamplingArg::Shuffled | SamplingArg::BallsInBins => {
                Error::value("--steps-per-epoch", "absent", "steps of one pass, or --records and --batch")
            }
        }
    }

    /// The event, from the flags or from the file.
    pub(super) fn event(&self) -> Result<Event> {
        if let Some(path) = &self.event {
            return read(path);
        }
        let absent = |flag: &str| Error::value(flag, "absent", "a number, or --event FILE");
        let noise_multiplier = self.noise()?.ok_or_else(|| absent("--noise-multiplier"))?;
        let steps = self.step_count()?.ok_or_else(|| absent("--steps"))?;
        Ok(self.sampling()?.ok_or_else(|| self.sampling_missing())?.plan(noise_multiplier, steps))
    }

    /// What is given and what is not, of the three numbers of a plan.
    pub(super) fn missing(&self) -> Result<Missing> {
        let (noise, steps, sampling) = (self.noise()?, self.step_count()?, self.sampling()?);
        Missing::of(noise, steps, sampling, self)
    }

    /// What the flags say, for the answer.
    pub(super) fn asked(&self) -> Result<Asked> {
        if self.event.is_some() {
            return Ok(Vec::new());
        }
        let name = self.sampling.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string());
        let rate = match self.sampling()? {
            Some(Sampling::Poisson(rate)) => Some(rate),
            _ => None,
        };
        let all = [
            ("noise_multiplier", self.noise_multiplier.map(|z| json!(z))),
            ("sampling", Some(json!(name))),
            ("sampling_rate", rate.map(|rate| json!(rate))),
            ("records", self.records.map(|n| json!(n))),
            ("batch", self.batch.map(|b| json!(b))),
            ("steps_per_epoch", self.steps_per_epoch.map(|s| json!(s))),
            ("steps", self.steps.map(|t| json!(t))),
        ];
        Ok(all.into_iter().filter_map(|(name, value)| value.map(|value: Value| (name, value))).collect())
    }
}

/// The event or ledger in a file.
fn read(path: &Path) -> Result<Event> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(Error::io("read", path))?
    } else {
        std::fs::read_to_string(path).map_err(Error::io("read", path))?
    };
    if let Ok(ledger) = serde_json::from_str::<Ledger>(&text) {
        return Ok(ledger.event());
    }
    serde_json::from_str(&text).map_err(|error| {
        let place = Place::line(path, error.line() as u64);
        Error::data(place, error.to_string(), "an event, such as {\"gaussian\": {\"noise_multiplier\": 1.1}}")
    })
}
