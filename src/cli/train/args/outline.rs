//! What the flags make of data: plan, recipe, and the setting of an algorithm of nodes.

use super::{Args, DeviceArg};
use crate::cli::nodes::Clipped;
use crate::clip::{ClipNorm, ClipRule, Perturbation};
use crate::data::Dataset;
use crate::distributed::Setting;
use crate::distributed::guarantee::{self, Promise};
use crate::distributed::uplink::Trust;
use crate::model::Architecture;
use crate::noise::NoiseRule;
use crate::optim::{OptimizerConfig, Rule, SgdConfig};
use crate::plan::{Draft, Past, Plan, Schedules, Unit};
use crate::recipe::{Defaults, Recipe};
use crate::{Error, Result};
use dp_accountant::{Delta, Epsilon, NoiseMultiplier};
use std::num::NonZeroUsize;

/// What a run is to be.
pub(in crate::cli::train) struct Outline {
    pub(in crate::cli::train) plan: Plan,
    pub(in crate::cli::train) recipe: Recipe,
    /// Of an algorithm of nodes.
    pub(in crate::cli::train) setting: Option<Setting>,
}

fn only_dp_sgd(what: &str) -> Error {
    let reason = format!(
        "{what} belongs to dp-sgd: other algorithms of nodes compute on the processor, clip and sample in one way and move their points \
         themselves, with --learning-rate alone"
    );
    Error::Refused { reason }
}

impl Args {
    /// What the run is to be on `nodes` nodes, if there are any beside this machine, with `records` records in all; `data` are those
    /// of this process.
    pub(in crate::cli::train) fn outline(
        &self,
        data: &Dataset,
        records: usize,
        past: Past,
        nodes: Option<usize>,
    ) -> Result<Outline> {
        let model = self.model.unwrap_or_else(|| Architecture::usual(&data.form()));
        let defaults = Defaults::new(model, records);
        let expected_batch = self.batch_size.unwrap_or(defaults.expected_batch);
        let (draft, optimizer, setting) = match nodes.filter(|_| self.nodes.has_algorithm()) {
            Some(nodes) => self.rounds(records, past, nodes, (model, defaults, expected_batch))?,
            None => {
                // Refuses flags that dp-sgd does not know.
                self.nodes.method(0.0)?;
                let optimizer = self.optimizer.config(defaults.optimizer, self.without_privacy())?;
                (self.steps_of_one_machine(records, past, defaults, expected_batch)?, optimizer, None)
            }
        };
        let plan = match self.noise_multiplier {
            // Nothing is spent, so nothing is calibrated; the noise is never drawn.
            None if self.without_privacy() => draft.with_noise(NoiseMultiplier::new(1.0)?)?,
            Some(z) => draft.with_noise(NoiseMultiplier::new(z)?)?,
            None => {
                let epsilon = draft.budget.map_or_else(|| Epsilon::new(3.0), Ok)?;
                draft.calibrated(epsilon)?
            }
        };
        if let Some(setting) = setting.as_ref().filter(|_| !self.without_privacy()) {
            Promise::of_run(&plan, setting)?;
        }
        let augmentation = self.augmentation.read(data.shape())?;
        if augmentation.is_some() && setting.is_some() {
            return Err(only_dp_sgd("--augmentation"));
        }
        Ok(Outline { plan, recipe: Recipe { data: data.name().to_string(), model, optimizer, augmentation }, setting })
    }

    fn steps_of_one_machine(
        &self,
        records: usize,
        past: Past,
        defaults: Defaults,
        expected_batch: usize,
    ) -> Result<Draft> {
        if self.nodes.unit() == Some(Unit::Client) || self.nodes.clipped() == Clipped::Messages {
            let reason = "dp-sgd clips the gradient of every example, which does not bound what a client with many of them does; take \
                          an algorithm that clips what nodes send, such as --algorithm clip21";
            return Err(Error::Refused { reason: reason.into() });
        }
        let noise = self.noise.rule()?;
        Ok(Draft {
            unit: Unit::Record,
            relation: self.relation()?,
            records,
            expected_batch,
            clip_norm: ClipNorm::new(self.clip_norm.unwrap_or(defaults.clip_norm))?,
            perturbation: self.perturbation.map(Perturbation::new).transpose()?,
            clipping: self.clipping.rule(expected_batch)?,
            noise,
            schedules: self.schedules.read()?,
            past,
            steps: self.steps(noise, records, expected_batch, defaults.epochs)?,
            delta: Delta::new(self.delta)?,
            budget: self.epsilon()?,
            accountant: self.accountant.clone(),
        })
    }

    /// The plan, but for its noise, of an algorithm of nodes: its steps are answers of a node, or rounds for the unit client.
    fn rounds(
        &self,
        records: usize,
        past: Past,
        nodes: usize,
        (model, defaults, expected_batch): (Architecture, Defaults, usize),
    ) -> Result<(Draft, OptimizerConfig, Option<Setting>)> {
        let OptimizerConfig { rule: Rule::Sgd(usual), .. } = defaults.optimizer else {
            return Err(only_dp_sgd("--optimizer"));
        };
        let plain =
            |learning_rate| OptimizerConfig::from(Rule::Sgd(SgdConfig { learning_rate, momentum: 0.0, ..usual }));
        let optimizer = self.optimizer.config(plain(usual.learning_rate), self.without_privacy())?;
        let step = match optimizer.rule {
            Rule::Sgd(sgd) if optimizer == plain(sgd.learning_rate) => sgd.learning_rate,
            _ => return Err(only_dp_sgd("an optimiser, a schedule or an average beside --learning-rate")),
        };
        let Some(method) = self.nodes.method(step)? else { return Err(only_dp_sgd("--algorithm")) };
        let trust = self.nodes.trust()?;
        // Of clients and in studies a batch is no part of a guarantee: without --batch-size nodes answer with all they have.
        let private_records = self.unit() == Some(Unit::Record);
        if let Some(size) = self.batch_size.filter(|size| !(1..=records).contains(size)) {
            return Err(Error::value("--batch-size", size, format!("1 to the number of records, {records}")));
        }
        let minibatch = match self.nodes.unit() {
            Some(Unit::Record) if private_records => None,
            // The twin of a private run has batches as large.
            Some(Unit::Record) => NonZeroUsize::new(expected_batch),
            _ => self.batch_size.and_then(NonZeroUsize::new),
        };
        let batch = if private_records { expected_batch } else { minibatch.map_or(records, NonZeroUsize::get) };
        let rounds = match self.steps {
            Some(rounds) => rounds,
            None => {
                let answers = self.steps(NoiseRule::Independent, records, batch, defaults.epochs)?;
                method.rounds_within(u64::from(answers)).max(1)
            }
        };
        let setting = Setting { method, nodes, trust, width: self.nodes.width(), model, minibatch };
        let draft = self.draft_of_rounds(records, past, &setting, rounds, (expected_batch, defaults.clip_norm))?;
        Ok((draft, optimizer, Some(setting)))
    }

    fn draft_of_rounds(
        &self,
        all: usize,
        past: Past,
        setting: &Setting,
        rounds: u32,
        (expected_batch, usual_clip_norm): (usize, f64),
    ) -> Result<Draft> {
        let (clipping, noise, schedules) =
            (self.clipping.rule(expected_batch)?, self.noise.rule()?, self.schedules.read()?);
        let given = [
            ("--perturbation", self.perturbation.is_some()),
            ("--clipping adaptive", clipping.adaptive().is_some()),
            ("correlated noise", noise != NoiseRule::Independent),
            ("a noise or clip schedule", schedules != Schedules::default()),
            ("--symmetry", self.symmetry.is_some()),
            ("--device", self.device != DeviceArg::Cpu),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(only_dp_sgd(flag));
        }
        let answers = |rounds| {
            let answers = setting.method.answers(rounds);
            if answers == 0 && rounds > 0 {
                let allowed = "at least 2, as no node is asked for anything in the first round";
                return Err(Error::value("--steps", rounds, allowed));
            }
            u32::try_from(answers).map_err(|_| Error::value("answers of a node", answers, "fewer than 2^32"))
        };
        let unit = self.unit();
        let sampled = expected_batch < all;
        let (records, expected_batch, clip_norm, steps) = match (unit, self.nodes.clipped()) {
            (None, _) => (all, expected_batch, ClipNorm::ONE, rounds),
            (Some(Unit::Record), Clipped::Examples) => {
                let clip_norm = ClipNorm::new(self.clip_norm.unwrap_or(usual_clip_norm))?;
                (all, expected_batch, clip_norm, answers(rounds)?)
            }
            (Some(Unit::Client), Clipped::Messages) => {
                self.check_clients(&past, &clipping, setting)?;
                let central = setting.trust == Trust::Central;
                let participants = setting.method.participants().filter(|_| central);
                let taking_part = participants.map_or(setting.nodes, |some| some.get() as usize);
                (setting.nodes, taking_part, setting.method.radius().unwrap_or(ClipNorm::ONE), rounds)
            }
            (Some(Unit::Client), Clipped::Examples) => return Err(guarantee::examples_of_clients()),
            (Some(Unit::Record), Clipped::Messages) => return Err(guarantee::records_in_messages(sampled)),
        };
        Ok(Draft {
            unit: unit.unwrap_or_default(),
            relation: self.relation()?,
            clipping,
            past,
            budget: self.epsilon()?,
            accountant: self.accountant.clone(),
            ..Draft::new(records, expected_batch, steps, clip_norm, Delta::new(self.delta)?)
        })
    }

    /// Refuses what says nothing of clients, or what is counted of records.
    fn check_clients(&self, past: &Past, clipping: &ClipRule, setting: &Setting) -> Result<()> {
        let given = [("--clip-norm", self.clip_norm.is_some()), ("--clipping", *clipping != ClipRule::Flat)];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            let allowed = "nothing for the unit client, whose messages are clipped to --message-clip";
            return Err(Error::value(flag, "given", allowed));
        }
        if !past.is_none() {
            let reason = "--ledger and --extend count what records have spent, and a client may have other records in every run; leave them \
                          out, or take the unit record";
            return Err(Error::Refused { reason: reason.into() });
        }
        match setting.method.participants().filter(|some| some.get() as usize > setting.nodes) {
            None => Ok(()),
            Some(some) => {
                Err(Error::value("--participants", some, format!("1 to the number of nodes, {}", setting.nodes)))
            }
        }
    }

    /// An integer, fixed before the noise is calibrated for it.
    fn steps(&self, noise: NoiseRule, records: usize, expected_batch: usize, default_epochs: f64) -> Result<u32> {
        if let Some(steps) = self.steps {
            return Ok(steps);
        }
        let epochs = self.epochs.unwrap_or(default_epochs);
        let steps = noise.steps_of(epochs, records, expected_batch).round().max(1.0);
        if !(epochs.is_finite() && epochs > 0.0 && steps < f64::from(u32::MAX)) {
            return Err(Error::value("--epochs", epochs, "a number above 0 that makes fewer than 2^32 steps"));
        }
        Ok(steps as u32)
    }
}
