//! What a run is made of, once everything that can be refused has been.

use super::Args;
use crate::checkpoint::Checkpoint;
use crate::cli::datasets::Datasets;
use crate::cli::flags::Flags;
use crate::cli::past::Before;
use crate::cli::{clipping, note, optimizer};
use crate::data::{Dataset, Domain, Target};
use crate::evaluate::Evaluation;
use crate::model::Classifier;
use crate::nn::{Parameters, Sequential};
use crate::noise::NoiseRule;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::report::{RunDirectory, Utility};
use crate::run::Run;
use crate::seed::Key;
use crate::train::Trainer;
use crate::{Error, Result};
use candle_core::DType;

/// A run that was stopped: where it is, and how far it had come.
pub(super) type Interrupted = (RunDirectory, Checkpoint);

/// What a run is made of.
pub(super) struct Prepared {
    pub(super) before: Before,
    pub(super) key: Key,
    pub(super) data: Datasets,
    pub(super) plan: Plan,
    pub(super) recipe: Recipe,
    pub(super) run: Run,
    pub(super) parameters: Parameters,
    model: Classifier<Sequential>,
    private: bool,
}

impl Prepared {
    /// Reads what the flags name; with it comes the interrupted run to go on with.
    pub(super) fn new(args: &Args) -> Result<(Self, Option<Interrupted>)> {
        args.past.keep_apart(args.out.as_deref())?;
        let interrupted = interrupted(args)?;
        let checkpoint = interrupted.as_ref().map(|(_, checkpoint)| checkpoint);
        let before = args.past.read()?;
        let key = match (checkpoint, args.seed.map(|seed| before.key(Key::from_seed(seed)))) {
            (Some(checkpoint), None) => checkpoint.key()?,
            (Some(checkpoint), Some(key)) if key == checkpoint.key()? => key,
            (Some(_), Some(_)) => return Err(Error::value("--seed", "another one", "the seed of the run, or none")),
            (None, Some(key)) => key,
            (None, None) => before.key(Key::from_os()?),
        };
        let device = args.run(None).device()?;
        let data = args.data.read(&key)?;
        let run = args.run(Some(&data.train));
        let past = before.past(args.relation()?, checkpoint.map(Checkpoint::plan))?;
        let (plan, recipe) = args.plan(&data.train, past)?;
        let parameters = Parameters::new(key.clone(), DType::F32, &device);
        let model = recipe.model.build_for(&data.train.form(), parameters.var_builder())?;
        before.load(&recipe, data.train.schema(), &parameters)?;
        let private = !args.no_privacy;
        Ok((Self { before, key, data, plan, recipe, run, parameters, model, private }, interrupted))
    }

    /// The trainer at the first step.
    pub(super) fn trainer(&self) -> Result<Trainer<'_>> {
        let steps = if self.private { self.plan.affordable_steps()? } else { self.plan.draft().steps };
        let optimizer = self.recipe.optimizer.build(steps)?;
        let (plan, run, key) = (&self.plan, &self.run, &self.key);
        let trainer = Trainer::new(plan, run, key, &self.data.train, &self.model, &self.parameters, optimizer)?;
        match self.recipe.augmentation {
            Some(augmentation) => trainer.augmented(augmentation),
            None => Ok(trainer),
        }
    }

    /// How the model does on these records as it stands.
    pub(super) fn evaluation(&self, records: &Dataset) -> Result<Evaluation> {
        Evaluation::new(&self.model, records, &self.parameters, self.run.physical_batch)
    }

    /// What the model is good for as it stands.
    pub(super) fn utility(&self) -> Result<Utility> {
        let tested = self.data.test.as_ref().map(|test| self.evaluation(test)).transpose()?;
        Ok(Utility::new(tested.as_ref().zip(self.data.test.as_ref()), self.data.test_origin.clone()))
    }

    /// Puts what the run found out for itself in the place of flags: the same plan follows whatever later versions have as defaults.
    pub(super) fn resolve(&self, flags: &mut Flags) {
        let Self { plan, recipe, run, data, .. } = self;
        let draft = plan.draft();
        flags.set("privacy", "epochs", None);
        flags.set("privacy", "steps", Some(draft.steps.to_string()));
        flags.set("privacy", "batch-size", Some(draft.expected_batch.to_string()));
        flags.set("privacy", "clip-norm", Some(draft.clip_norm.get().to_string()));
        flags.set("privacy", "noise-multiplier", Some(plan.noise_multiplier().get().to_string()));
        flags.set("privacy", "epsilon", draft.budget.map(|budget| budget.get().to_string()));
        for (key, value) in clipping::resolved(&draft.clipping) {
            flags.set("privacy", key, Some(value));
        }
        if let NoiseRule::Banded { bands } = draft.noise {
            flags.set("privacy", "bands", Some(bands.to_string()));
        }
        if let Domain::Tokens { .. } = data.train.form().domain {
            flags.set("data", "length", Some(data.train.width().to_string()));
        }
        flags.set("run", "physical-batch", Some(run.physical_batch.to_string()));
        flags.set("learning", "model", Some(recipe.model.name().to_string()));
        for (key, value) in optimizer::resolved(&recipe.optimizer) {
            flags.set("learning", key, Some(value));
        }
        flags.set(
            "learning",
            "augmentation",
            recipe.augmentation.map(|augmentation| augmentation.copies().to_string()),
        );
    }

    /// Says what is about to be trained.
    pub(super) fn announce(&self) -> Result<()> {
        let Self { plan, recipe, .. } = self;
        let data = &self.data.train;
        note(&format!(
            "{}: {} records of shape {:?}, {}; model {}; {} steps of expected batch {}, noise multiplier {:.4}",
            recipe.data,
            data.len(),
            data.shape(),
            match data.form().target {
                Target::Class(classes) => format!("{classes} classes"),
                Target::NextToken => "each token to be foretold".into(),
            },
            recipe.model.name(),
            plan.affordable_steps()?,
            (plan.mean_batch() * 1e4).round() / 1e4,
            plan.noise_multiplier().get()
        ));
        Ok(())
    }
}

fn interrupted(args: &Args) -> Result<Option<Interrupted>> {
    match &args.out {
        Some(out) if args.resume => RunDirectory::open(out).map(Some),
        Some(out) => {
            // Found out now rather than after the data is read; it is made only when everything else is in order.
            RunDirectory::create(out)?;
            Ok(None)
        }
        None => Ok(None),
    }
}
