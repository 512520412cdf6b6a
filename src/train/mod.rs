//! The training loop.

mod tensors;
mod training;

use tensors::on_device;
pub use tensors::tensors;
pub(crate) use tensors::token_tensors;
pub use training::Training;

use crate::augment::Augmentation;
use crate::checkpoint::{Checkpoint, Fingerprint};
use crate::clip::{Clip, ClipNorm, ClippedSum, Clipping, Symmetry, Unclipped};
use crate::data::Dataset;
use crate::distributed::cost::NodeCost;
use crate::distributed::{Shards, point_of};
use crate::grad::{PerExample, Recorded, probe_isolation_of};
use crate::kernel::team::awake;
use crate::model::Model;
use crate::nn::Parameters;
use crate::noise::{Mechanism, Noiseless};
use crate::optim::Optimizer;
use crate::plan::Plan;
use crate::run::Run;
use crate::sample::Batch;
use crate::seed::Key;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use dp_accountant::Ledger;
use std::cell::OnceCell;
use std::num::NonZeroUsize;

/// A model, its data and its plan, on the way from the first step to the last.
pub struct Trainer<'a> {
    plan: &'a Plan,
    run: &'a Run,
    key: &'a Key,
    data: &'a Dataset,
    model: &'a dyn Model,
    parameters: &'a Parameters,
    optimizer: Box<dyn Optimizer>,
    ledger: Ledger,
    step: u32,
    affordable: u32,
    /// That of the step to come.
    clip_norm: ClipNorm,
    /// That of the last step, for a step that goes on with it.
    mechanism: Option<Box<dyn Mechanism>>,
    /// Whether gradients are clipped and noise is added.
    private: bool,
    augmentation: Option<Augmentation>,
    /// Where the records are on many nodes.
    shards: Option<Shards<'a>>,
    /// Of the data, once it is asked for: the records do not change.
    fingerprint: OnceCell<Fingerprint>,
}

/// What a step did, for whoever watches. The clipping is computed from private gradients and not privatised.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Steps done.
    pub step: u32,
    /// Steps that will be done if nobody stops the run.
    pub of: u32,
    /// What has been spent.
    pub ledger: &'a Ledger,
    /// What clipping did in the step. Not private.
    pub clipping: Clipping,
}

/// What a watcher wants after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Continue,
    /// Stop here for a moment, as to keep a checkpoint.
    Pause,
    /// Stop here; the trainer stays where it is.
    Stop,
}

impl<'a> Trainer<'a> {
    /// Checks that plan, data and model belong together, before any budget is spent. `key` must be fresh: noise is a function
    /// of key and step, and two runs with one key on different data would share it.
    ///
    /// # Errors
    /// When the plan's record count is not the data's, when the accountant cannot state the plan's cost, when the isolation
    /// probe or the coverage check refuses the model, or when not one step fits the budget.
    pub fn new(
        plan: &'a Plan,
        run: &'a Run,
        key: &'a Key,
        data: &'a Dataset,
        model: &'a dyn Model,
        parameters: &'a Parameters,
        optimizer: Box<dyn Optimizer>,
    ) -> Result<Self> {
        if plan.draft().records != data.len() {
            let allowed = format!("the {} records of {}", data.len(), data.name());
            return Err(Error::value("records", plan.draft().records, allowed));
        }
        // A cost that cannot be stated afterwards must not be incurred.
        if !plan.epsilon(&plan.event()?)?.upper().is_finite() {
            let reason = "the plan has no finite epsilon; raise the noise multiplier".to_string();
            return Err(Error::Refused { reason });
        }
        probe_isolation_of(model, parameters, &data.form(), run.engine(), key)?;
        let ledger = plan.draft().past.ledger();
        let (affordable, clip_norm) = (plan.affordable_steps()?, plan.first_clip_norm()?);
        Ok(Self {
            plan,
            run,
            key,
            data,
            model,
            parameters,
            optimizer,
            ledger,
            step: 0,
            affordable,
            clip_norm,
            mechanism: None,
            private: true,
            augmentation: None,
            shards: None,
            fingerprint: OnceCell::new(),
        })
    }

    /// The twin of this run that is not private: the same model, batches and kernels, and neither clipping nor noise. What it
    /// takes less in time and reaches more in accuracy is the cost of privacy; its ledger says that there is no guarantee.
    #[must_use]
    pub fn without_privacy(self) -> Self {
        Self { private: false, affordable: self.plan.draft().steps, ..self }
    }

    /// Learns from the mean gradients of random copies of the sampled records. The cost is the same, and so are the batches; the
    /// physical batch counts copies, and those of one record are in memory together.
    ///
    /// # Errors
    /// When the records cannot be augmented, or steps were taken without these copies.
    pub fn augmented(self, augmentation: Augmentation) -> Result<Self> {
        augmentation.check(self.data.shape())?;
        if self.step > 0 && self.augmentation != Some(augmentation) {
            let reason = format!(
                "{} steps were taken without these copies; augment before the first step, or before resuming",
                self.step
            );
            return Err(Error::Refused { reason });
        }
        Ok(Self { augmentation: Some(augmentation), ..self })
    }

    /// Shares the work among nodes: batches, noise and cost are those of one machine ([`Shards`]). Every process of the run has the same
    /// plan, key, data and parameters, and takes the same steps.
    ///
    /// # Errors
    /// When processes have different plans, keys or shards.
    pub fn among(self, mut shards: Shards<'a>) -> Result<Self> {
        let start = point_of(self.parameters)?;
        // One process has one copy of the records.
        let records = if shards.spans_processes() { Some(Fingerprint::of(self.data)?) } else { None };
        shards.agree((self.plan, self.key), &start, records.as_ref())?;
        Ok(Self { shards: Some(shards), fingerprint: OnceCell::new(), ..self })
    }

    /// Goes on from a checkpoint: the same parameters, optimiser, ledger and step, so that every later bit is the same.
    ///
    /// Bring the same model and the same settings of the optimiser: the checkpoint knows parameters by name and shape, and neither
    /// what the model computes with them, nor the learning rate. With others, steps that the interrupted run had taken after the
    /// checkpoint would be taken again with other sums under the same noise.
    ///
    /// # Errors
    /// When the checkpoint is of another plan, key or other records, when its ledger is not what its steps cost, when its
    /// parameters are not those of the model, when it was written with another augmentation or optimiser, or when it lacks the
    /// clip norm that adaptive clipping has come to. Parameters, ledger and step are then what they were; the optimiser may have
    /// taken up what it found.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        if checkpoint.nodes()?.is_some() {
            let reason =
                "the checkpoint was written by an algorithm of many nodes; resume with the flags of the first run";
            return Err(Error::Refused { reason: reason.into() });
        }
        if checkpoint.plan() != self.plan {
            return Err(Error::Refused {
                reason: format!(
                    "the checkpoint was written under another plan; resume with the flags of the first run\n  then: {}\n  now:  {}",
                    describe(checkpoint.plan()),
                    describe(self.plan)
                ),
            });
        }
        if !checkpoint.is_of(self.fingerprint()?) {
            let reason = "the checkpoint was written for other records, or for others at each node; going on with these would release two sums under one noise".to_string();
            return Err(Error::Refused { reason });
        }
        // The file could have been changed: what it says was spent must be what its steps cost.
        let spent = self.plan.event_of(checkpoint.step())?;
        if checkpoint.ledger().event() != spent || checkpoint.step() > self.affordable || checkpoint.key()? != *self.key
        {
            let reason = "the ledger, step and key of the checkpoint are not those of one run of this plan".to_string();
            return Err(Error::Refused { reason });
        }
        // Its value alone is taken as it stands: whatever it is, the noise is scaled with it.
        let clip_norm = match (self.plan.draft().clipping.adaptive(), checkpoint.clip_norm()) {
            (None, None) => self.plan.scheduled_clip_norm(checkpoint.step())?,
            (Some(_), Some(clip_norm)) => clip_norm,
            _ => {
                let reason = "the checkpoint holds a clip norm that its plan has not, or lacks the one its plan needs";
                return Err(Error::Refused { reason: reason.to_string() });
            }
        };
        if checkpoint.augmentation() != self.augmentation {
            let reason =
                "the run of the checkpoint learnt from other copies of its records; resume with the same augmentation";
            return Err(Error::Refused { reason: reason.to_string() });
        }
        checkpoint.restore(self.parameters, self.optimizer.as_mut())?;
        self.clip_norm = clip_norm;
        self.mechanism = None;
        // The same as that of the checkpoint, which does not say where the run's own entries begin.
        self.ledger = self.plan.draft().past.ledger_after(&self.plan.steps_event(checkpoint.step())?);
        self.step = checkpoint.step();
        Ok(())
    }

    /// Takes steps until the plan is done, the budget is spent, or `watch` wishes to stop or pause: that is what comes back, and
    /// `Continue` where nothing is left to do. In a run of many processes the watcher of node 0 decides for all. After the last step the parameters
    /// are what the optimiser ends with ([`Optimizer::finish`]): its average of them, if it keeps one. What `watch` sees are the
    /// parameters as they are stepped.
    ///
    /// # Errors
    /// Whatever a step refuses; the steps before it are in the ledger.
    pub fn train(&mut self, watch: impl FnMut(&Progress<'_>) -> Result<Wish> + Send) -> Result<Wish> {
        awake(|| self.steps(watch))
    }

    fn steps(&mut self, mut watch: impl FnMut(&Progress<'_>) -> Result<Wish>) -> Result<Wish> {
        let mut ended = Wish::Continue;
        let mut sampler = self.plan.sampler(self.key, self.step)?;
        let names: Vec<String> = self.parameters.iter().map(|(name, _)| name).collect();

        while self.step < self.affordable {
            let (clip, mut mechanism) = self.doors(&names)?;
            let batch = sampler.next_batch();
            let sum = self.clipped(&batch, clip.as_ref())?;
            let clipping = sum.clipping();

            let continues = mechanism.continues();
            let (release, event) = mechanism.release(sum)?;
            let event = sampler.amplify(event);
            if continues {
                self.ledger.record_over_last(event);
            } else {
                self.ledger.record(event);
            }
            self.mechanism = Some(mechanism);
            self.step += 1;
            self.clip_norm = self.plan.clip_norm_after(self.clip_norm, &release, self.step)?;
            self.optimizer.step(self.parameters, release)?;

            let progress = Progress { step: self.step, of: self.affordable, ledger: &self.ledger, clipping };
            ended = watch(&progress)?;
            if let Some(shards) = &mut self.shards {
                ended = shards.wish(ended)?;
            }
            if ended != Wish::Continue {
                break;
            }
        }
        if self.is_done() {
            self.optimizer.finish(self.parameters)?;
        }
        Ok(ended)
    }

    /// The doors of the step to come: the rule into the sum of a model with the parameters `names`, and the mechanism out of it.
    fn doors(&mut self, names: &[String]) -> Result<(Box<dyn Clip>, Box<dyn Mechanism>)> {
        if self.private {
            let mechanism = match self.mechanism.take().filter(|mechanism| mechanism.continues()) {
                Some(last) => last,
                None => self.plan.mechanism(self.key, self.step)?,
            };
            return Ok((self.plan.clip(self.clip_norm, names), mechanism));
        }
        Ok((Box::new(Unclipped), Box::new(Noiseless::new(self.plan.mean_batch())?)))
    }

    /// The clipped sum of a batch, of one node or of all.
    fn clipped(&mut self, batch: &Batch, clip: &dyn Clip) -> Result<ClippedSum> {
        let Some(mut shards) = self.shards.take() else { return self.clipped_here(batch, clip, self.key) };
        let sum = shards.sum(batch, self.key, |part, key| self.clipped_here(part, clip, key));
        self.shards = Some(shards);
        sum
    }

    /// The clipped sum of records whose examples may have been perturbed before; what is drawn for single examples is drawn from `key`.
    fn clipped_here(&self, batch: &Batch, clip: &dyn Clip, key: &Key) -> Result<ClippedSum> {
        let mut place = 0;
        let gradients = batch.micro_batches(self.examples_at_a_time()).map(|rows| {
            let from = place;
            place += rows.len();
            self.averaged(rows, from, key)
        });
        let Some(perturbation) = self.plan.draft().perturbation.filter(|_| self.private) else {
            return ClippedSum::new(self.parameters, clip, gradients);
        };
        let mut first = 0;
        let perturbed = gradients.map(|gradients| {
            let (gradients, from) = (gradients?, first);
            first += gradients.batch();
            Ok(perturbation.of(gradients, key, self.step, from))
        });
        ClippedSum::new(self.parameters, clip, perturbed)
    }

    /// As many examples as have a physical batch of copies.
    fn examples_at_a_time(&self) -> NonZeroUsize {
        let copies = self.augmentation.map_or(NonZeroUsize::MIN, Augmentation::copies);
        NonZeroUsize::new(self.run.physical_batch.get() / copies).unwrap_or(NonZeroUsize::MIN)
    }

    /// The per-example gradients of the records of a batch from the place `from` on, means over their copies if there are any.
    fn averaged(&self, rows: &[usize], from: usize, key: &Key) -> Result<Recorded> {
        let Some(augmentation) = self.augmentation else { return self.per_example(rows) };
        let (features, labels) = augmentation.copies_of(self.data, rows, key, self.step, from)?;
        let (xs, ys) = on_device(features, labels, self.data.shape(), self.parameters)?;
        let recorded = Recorded::new(self.model, self.parameters, &xs, &ys, self.run.engine())?;
        recorded.averaged(augmentation.copies())
    }

    /// The per-example gradients of some records.
    fn per_example(&self, rows: &[usize]) -> Result<Recorded> {
        let (xs, ys) = tensors(self.data, rows, self.parameters)?;
        Recorded::new(self.model, self.parameters, &xs, &ys, self.run.engine())
    }

    /// How symmetric the gradients of the first `examples` records (themselves, not copies of them) are where the parameters
    /// stand now. All of them are in memory together. Not private.
    ///
    /// # Errors
    /// When there are fewer than two, or a gradient is not finite.
    pub fn symmetry(&self, examples: usize) -> Result<Symmetry> {
        let rows: Vec<usize> = (0..examples.min(self.data.len())).collect();
        let gradients = Tensor::cat(&self.per_example(&rows)?.instantiated()?, 1)?.to_dtype(DType::F32)?;
        let dim = gradients.dim(1)?;
        Symmetry::of(&gradients.flatten_all()?.to_vec1()?, dim, self.clip_norm.get(), self.key)
    }

    /// What has been spent.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The clip norm of the step to come. Under adaptive clipping it was computed from releases, so it may be published.
    pub fn clip_norm(&self) -> ClipNorm {
        self.clip_norm
    }

    /// Steps done.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Whether every step that can be taken has been.
    pub fn is_done(&self) -> bool {
        self.step == self.affordable
    }

    /// Everything needed to go on from here, with notes of the caller's own. It holds the key: whoever reads it can subtract
    /// the noise.
    ///
    /// # Errors
    /// When the notes have no form in JSON, or the tensors cannot be read from their device.
    pub fn checkpoint(&self, notes: &impl serde::Serialize) -> Result<Checkpoint> {
        let notes =
            serde_json::to_value(notes).map_err(|error| Error::value("notes", error, "something JSON can hold"))?;
        let clip_norm = self.plan.draft().clipping.adaptive().map(|_| self.clip_norm);
        let (spent, state) = ((&self.ledger, self.step, clip_norm), (self.parameters, self.optimizer.as_ref()));
        let learnt = (self.fingerprint()?, self.augmentation);
        Checkpoint::new(self.plan, self.key, learnt, spent, state, notes)
    }

    /// What each node has moved and how long it took, of all nodes, in the process that hosts node 0; nothing where there is one machine.
    ///
    /// # Errors
    /// When another node is gone.
    pub fn costs(&mut self) -> Result<Option<Vec<NodeCost>>> {
        self.shards.as_mut().map_or(Ok(None), Shards::costs)
    }

    /// Waits, in a run of many processes, until all have come here.
    ///
    /// # Errors
    /// When another node is gone.
    pub fn wait(&mut self) -> Result<()> {
        self.shards.as_mut().map_or(Ok(()), Shards::wait)
    }

    /// What the process of node 0 says, in all processes of a run.
    ///
    /// # Errors
    /// When another node is gone.
    pub fn first_says(&mut self, own: bool) -> Result<bool> {
        self.shards.as_mut().map_or(Ok(own), |shards| shards.first_says(own))
    }

    fn fingerprint(&self) -> Result<&Fingerprint> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let fingerprint = Fingerprint::of(self.data)?;
        let fingerprint = match &self.shards {
            // What is drawn for examples is drawn by their places at a node.
            Some(shards) => fingerprint.dealt([shards.nodes_of_records()]),
            None => fingerprint,
        };
        Ok(self.fingerprint.get_or_init(|| fingerprint))
    }
}

fn describe(plan: &Plan) -> String {
    serde_json::to_string(plan).unwrap_or_default()
}
