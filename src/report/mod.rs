//! What a run says about itself: one [`Report`], as JSON, as a statement to be read, and checked again later.

mod assumptions;
mod citations;
mod compare;
mod directory;
mod files;
mod finished;
mod guarantees;
mod html;
mod memory;
mod metrics;
mod nodes;
mod page;
mod pictures;
mod plot;
mod scale;
mod statement;
mod twin;
mod verify;

pub use compare::{Summary, comparison};
pub use directory::{RunDirectory, model_file};
pub use files::Files;
pub use finished::FinishedRun;
pub use guarantees::{Guarantee, Protection, Route, batches_known, group_apart, group_of, guarantees};
pub use memory::peak_memory;
pub use metrics::{Metrics, MetricsFile, Row};
pub use nodes::OfNodes;
pub use page::page;
pub use statement::statement;
#[cfg(feature = "cli")]
pub(crate) use statement::{down, up};
pub use twin::Twin;
pub use verify::{Verified, verify};

use crate::clip::{ClipNorm, ClipRule, Perturbation};
use crate::data::{Dataset, Schema};
use crate::evaluate::Evaluation;
use crate::journal::Journal;
use crate::nn::Parameters;
use crate::plan::{Plan, Unit};
use crate::recipe::Recipe;
use crate::run::Run;
use crate::seed::{Key, Origin};
use crate::{Error, Result};
use dp_accountant::{Bound, Delta, Epsilon, Event, Ledger, NoiseMultiplier, Relation};
use serde::{Deserialize, Serialize};

/// Everything a finished run states. Its JSON is `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The guarantee and what it rests on.
    pub privacy: Privacy,
    /// What the model is good for. Not private with respect to the records it was measured on.
    pub utility: Utility,
    /// What the run took. Times can tell something about the data; see `SECURITY.md`.
    pub cost: Cost,
    /// The model.
    pub model: ModelFile,
    /// What clipping did over the whole run. Computed from private gradients and not privatised: do not publish.
    pub not_private: NotPrivate,
    /// The nodes of a run that was on many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<OfNodes>,
    /// What must hold for the guarantee to hold, and what else a reader must know.
    pub assumptions: Vec<String>,
    /// What was learnt and how.
    pub recipe: Recipe,
    /// Where and in what pieces the work was done.
    pub run: Run,
    /// The plan, from which the guarantee can be recomputed.
    pub plan: Plan,
    /// Versions of the programs.
    pub versions: Versions,
    /// The files beside this one, by which they are known again when a later version would write them otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
}

/// An epsilon with its bounds. `upper` is what is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The truth is not below.
    pub lower: f64,
    /// The accountant's best guess.
    pub estimate: f64,
    /// The truth is not above.
    pub upper: f64,
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {} (estimate {})", self.lower, self.upper, self.estimate)
    }
}

impl From<Bound> for Interval {
    fn from(bound: Bound) -> Self {
        Self { lower: bound.lower(), estimate: bound.estimate(), upper: bound.upper() }
    }
}

/// The guarantee and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Privacy {
    /// The epsilon spent.
    pub epsilon: Interval,
    /// The delta it holds at.
    pub delta: Delta,
    /// The epsilon that was not to be exceeded.
    pub budget: Option<Epsilon>,
    /// What the model had cost that the run started from; part of the epsilon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Interval>,
    /// What all models of the ledger cost together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<Joint>,
    /// What one unit of privacy is.
    pub unit: crate::plan::Unit,
    /// Which data sets are neighbours.
    pub neighbouring_relation: Relation,
    /// The sampler that was really run.
    pub sampler: String,
    /// The probability with which a record was in a batch, under banded noise in one of its group; none where every record is in one
    /// batch a pass.
    pub sampling_rate: Option<f64>,
    /// The public number of records.
    pub records: usize,
    /// The public number that sums were divided by: the mean size of batches.
    pub expected_batch: f64,
    /// The clipping rule.
    pub clipping: ClipRule,
    /// The largest norm of an example in a sum; the plan's clip schedule multiplies it, and adaptive clipping begins with it.
    pub clip_norm: f64,
    /// What adaptive clipping has made of it after the last step. It was computed from releases, so it may be published.
    #[serde(default)]
    pub last_clip_norm: Option<f64>,
    /// The standard deviation of the noise on every example's gradient before the clip, which the cost does not count.
    pub perturbation: Option<f64>,
    /// The mechanism.
    pub mechanism: String,
    /// Noise standard deviation over clip norm, of sum and count together under adaptive clipping; the plan's noise schedule
    /// multiplies it. Under tree noise that of a node, under banded noise that before the matrix and over its column norm too.
    pub noise_multiplier: NoiseMultiplier,
    /// Steps asked for.
    pub steps_asked: u32,
    /// Steps done: what the epsilon counts.
    pub steps: u64,
    /// The accountant that answered.
    pub accountant: String,
    /// Its version.
    pub accountant_version: String,
    /// The generator of sampling and noise.
    pub generator: String,
    /// Where its key came from.
    pub key: Origin,
    /// Where the keys came from of the runs that led to the model that the run started from: a seed if any of them had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from_key: Option<Origin>,
    /// Whether nodes released each for itself in a run that led to the model that the run started from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started_apart: bool,
    /// The stated guarantee beside two others of the same releases: with the batches known, and for a person with several records.
    pub guarantees: Vec<Guarantee>,
}

/// What the models that share a ledger cost together, as it was when the run entered the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// The epsilon of whoever sees all of them.
    pub epsilon: Interval,
    /// How many there are beside this one.
    pub others: usize,
}

/// What the model is good for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Utility {
    /// The share of test records classified rightly.
    pub test_accuracy: Option<f64>,
    /// Their mean cross-entropy in nats, if it is finite; for language models that of a token.
    pub test_loss: Option<f64>,
    /// For language models: e to the power of that, the number of equally likely tokens that would be as hard to foretell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_perplexity: Option<f64>,
    /// How many test records.
    pub test_records: Option<usize>,
    /// Where they came from.
    pub test_data: Option<String>,
    /// The test records of each class, in the order of the model's outputs; empty without a test set.
    pub classes: Vec<ClassResult>,
}

/// How the test records of a class are classified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassResult {
    /// The name of the class.
    pub class: String,
    /// How many test records it has.
    pub records: usize,
    /// How many of them are classified rightly.
    pub right: usize,
}

impl Utility {
    /// What an evaluation on `test` found, test records that came from `origin`; nothing without one.
    pub fn new(tested: Option<(&Evaluation, &Dataset)>, origin: Option<String>) -> Self {
        let classes = tested.map_or_else(Vec::new, |(evaluation, test)| {
            let names = test.classes().iter().cloned();
            let counts = evaluation.classes().iter().copied();
            names.zip(counts).map(|(class, (records, right))| ClassResult { class, records, right }).collect()
        });
        Self {
            test_accuracy: tested.and_then(|(evaluation, _)| evaluation.accuracy()),
            test_loss: tested.and_then(|(evaluation, _)| evaluation.loss()),
            test_perplexity: tested.and_then(|(evaluation, _)| evaluation.perplexity()),
            test_records: tested.map(|(evaluation, _)| evaluation.records()),
            test_data: origin,
            classes,
        }
    }
}

/// What the run took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds in the training loop, of all processes that the run was in.
    pub training_seconds: f64,
    /// Records sampled per second of that.
    pub examples_per_second: f64,
    /// The largest resident memory of the process, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Threads the kernels could use.
    pub threads: usize,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// The architecture's name.
    pub architecture: String,
    /// Its trained numbers.
    pub parameters: usize,
    /// Whether all of them are finite; otherwise training diverged and the model is of no use.
    pub finite: bool,
    /// The shape of one record it takes.
    pub input_shape: Vec<usize>,
    /// The names of its classes, in the order of its outputs.
    pub classes: Vec<String>,
    /// How its inputs are made from a file: columns, categories, ranges. What of it was seen in the data rather than declared
    /// is named among the assumptions.
    pub schema: Schema,
    /// SHA-256 of the safetensors file.
    pub sha256: String,
}

/// Diagnostics from private gradients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NotPrivate {
    /// The share of sampled examples whose gradient was scaled down.
    pub clipped_fraction: f64,
    /// The mean norm of finite gradients before clipping.
    pub mean_gradient_norm: f64,
    /// Examples left out because their gradient was not finite.
    pub dropped_examples: usize,
}

/// Versions of the programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub dpsgd: String,
    /// The accountant crate.
    pub dp_accountant: String,
}

/// What a report is made of, apart from the plan.
pub struct Findings<'a> {
    /// What was learnt and how, and what happened on the way.
    pub journal: &'a Journal,
    /// Where and in what pieces.
    pub run: &'a Run,
    /// The key, of which only the origin is told.
    pub key: &'a Key,
    /// The data the model was trained on.
    pub data: &'a Dataset,
    /// What was spent.
    pub ledger: &'a Ledger,
    /// The clip norm after the last step.
    pub clip_norm: ClipNorm,
    /// The nodes, if there were any beside this machine.
    pub nodes: Option<OfNodes>,
    /// What the model is good for.
    pub utility: Utility,
    /// What the run took.
    pub cost: Cost,
    /// The trained numbers.
    pub parameters: &'a Parameters,
    /// SHA-256 of the model file.
    pub model_sha256: String,
}

impl Privacy {
    /// What `plan` and the ledger of its run, on these nodes if there were any, add up to.
    ///
    /// # Errors
    /// When the accountant refuses the ledger.
    pub fn new(plan: &Plan, ledger: &Ledger, key: Origin, nodes: Option<&OfNodes>) -> Result<Self> {
        let (draft, event) = (plan.draft(), ledger.event());
        let bound = plan.epsilon(&event)?;
        let steps = ledger.steps().checked_sub(draft.past.steps()).ok_or_else(|| {
            let reason = "the ledger holds less than the model that the run started from had cost".to_string();
            Error::Refused { reason }
        })?;
        let past = &draft.past;
        let has_start = past.model != Event::nothing();
        let started_from = has_start.then(|| plan.epsilon(&past.model)).transpose()?.map(Interval::from);
        let joint = past
            .others
            .as_ref()
            .map(|others| Ok::<_, Error>(Joint { epsilon: plan.joint_epsilon(&event)?.into(), others: others.runs }));
        let joint = joint.transpose()?;
        Ok(Self {
            epsilon: bound.into(),
            delta: draft.delta,
            budget: draft.budget,
            started_from,
            joint,
            unit: draft.unit,
            neighbouring_relation: draft.relation,
            sampler: match draft.unit {
                Unit::Client if draft.expected_batch == draft.records => "none".into(),
                Unit::Client | Unit::Record => draft.noise.sampler(),
            },
            sampling_rate: plan.sampling_rate(),
            records: draft.records,
            expected_batch: plan.mean_batch(),
            clipping: draft.clipping,
            clip_norm: draft.clip_norm.get(),
            last_clip_norm: None,
            perturbation: draft.perturbation.map(Perturbation::get),
            mechanism: draft.noise.mechanism(),
            noise_multiplier: plan.noise_multiplier(),
            steps_asked: draft.steps,
            steps,
            accountant: bound.accountant().into(),
            accountant_version: dp_accountant::VERSION.into(),
            generator: "ChaCha20".into(),
            key,
            started_from_key: past.keys,
            started_apart: past.apart,
            guarantees: guarantees(plan, &event, bound, past.apart || nodes.is_some_and(OfNodes::release_apart))?,
        })
    }

    /// Where the keys came from of this run and of those it started from: a seed if any of them had one, for the guarantee then
    /// rests on it.
    pub fn keys(&self) -> Origin {
        match self.started_from_key {
            Some(Origin::Seed) => Origin::Seed,
            Some(Origin::OperatingSystem) | None => self.key,
        }
    }
}

impl Report {
    /// States what `plan` and its ledger add up to.
    ///
    /// # Errors
    /// When the accountant refuses the ledger.
    pub fn new(plan: &Plan, found: Findings<'_>) -> Result<Self> {
        let last_clip_norm = plan.draft().clipping.adaptive().map(|_| found.clip_norm.get());
        let nodes = found.nodes.map(|nodes| nodes.promising(plan)).transpose()?;
        let privacy = Privacy::new(plan, found.ledger, found.key.origin(), nodes.as_ref())?;
        let privacy = Privacy { last_clip_norm, ..privacy };
        let recipe = found.journal.recipe();
        let model = ModelFile {
            architecture: recipe.model.name().into(),
            parameters: found.parameters.elements(),
            finite: found.parameters.is_finite()?,
            input_shape: found.data.shape().to_vec(),
            classes: found.data.classes().to_vec(),
            schema: found.data.schema().clone(),
            sha256: found.model_sha256,
        };
        let clipping = found.journal.clipping();
        let not_private = NotPrivate {
            clipped_fraction: clipping.clipped_fraction(),
            mean_gradient_norm: clipping.mean_norm(),
            dropped_examples: clipping.dropped,
        };
        let versions =
            Versions { dpsgd: env!("CARGO_PKG_VERSION").into(), dp_accountant: dp_accountant::VERSION.into() };
        let report = Self {
            assumptions: assumptions::all(&privacy, nodes.as_ref(), &model, found.data, &found.utility),
            nodes,
            privacy,
            utility: found.utility,
            cost: found.cost,
            model,
            not_private,
            recipe: recipe.clone(),
            run: found.run.clone(),
            plan: plan.clone(),
            versions,
            files: None,
        };
        let files = Some(Files::of(&report, &found.journal.metrics()));
        Ok(Self { files, ..report })
    }

    /// Whether nodes released each for itself, in this run or one that it started from.
    #[cfg(feature = "cli")]
    pub(crate) fn is_apart(&self) -> bool {
        self.plan.draft().past.apart || self.nodes.as_ref().is_some_and(OfNodes::release_apart)
    }

    /// Whether this version wrote it, and would write the same words again.
    pub(crate) fn is_of_this_version(&self) -> bool {
        self.versions.dpsgd == env!("CARGO_PKG_VERSION")
    }

    /// The report as JSON, ending in a line break.
    ///
    /// # Errors
    /// Never for a report of finite numbers.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        Ok(text.map_err(|error| Error::value("report", error, "finite numbers"))? + "\n")
    }
}
