//! The flags of `dpsgd train`, and the plan, recipe and run that they make.

use crate::cli::augmentation::AugmentationArgs;
use crate::cli::clipping::ClippingArgs;
use crate::cli::datasets::DataArgs;
use crate::cli::nodes::{Clipped, NodesArgs};
use crate::cli::noise::NoiseArgs;
use crate::cli::optimizer::OptimizerArgs;
use crate::cli::past::PastArgs;
use crate::cli::schedules::ScheduleArgs;
use crate::clip::{ClipNorm, ClipRule, Perturbation};
use crate::data::{Dataset, Domain, Target};
use crate::distributed::Setting;
use crate::distributed::guarantee::{self, Promise};
use crate::distributed::uplink::Trust;
use crate::model::Architecture;
use crate::noise::NoiseRule;
use crate::optim::{OptimizerConfig, Rule, SgdConfig};
use crate::plan::{Draft, Past, Plan, Schedules, Unit};
use crate::recipe::{Defaults, Recipe};
use crate::run::{DeviceName, Run};
use crate::{Error, Result};
use clap::ValueEnum;
use dp_accountant::{Delta, Epsilon, NoiseMultiplier, Relation};
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Read flags from a TOML file, such as a recipe of `configs` or the config.toml of a run; flags given beside it win.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) data: DataArgs,

    /// The epsilon to reach and never to exceed [default: 3]. With --noise-multiplier: training stops before it is exceeded.
    #[arg(long, value_name = "E", help_heading = "Privacy")]
    epsilon: Option<f64>,
    /// Noise standard deviation over clip norm, instead of the one that --epsilon needs.
    #[arg(long, value_name = "Z", help_heading = "Privacy")]
    noise_multiplier: Option<f64>,
    /// The probability with which the epsilon may fail to hold; below 1 / records.
    #[arg(long, value_name = "D", default_value_t = 1e-5, help_heading = "Privacy")]
    delta: f64,
    /// The largest norm of a per-example gradient in a sum.
    #[arg(long, value_name = "C", help_heading = "Privacy")]
    clip_norm: Option<f64>,
    /// Add Gaussian noise of this standard deviation to every coordinate of every example's gradient before the clip, against
    /// clipping bias. Costs nothing; raise the learning rate with it.
    #[arg(long, value_name = "K", help_heading = "Privacy")]
    perturbation: Option<f64>,
    #[command(flatten)]
    clipping: ClippingArgs,
    #[command(flatten)]
    noise: NoiseArgs,
    #[command(flatten)]
    schedules: ScheduleArgs,
    /// Expected records in a batch. Batches are drawn at random: their real sizes vary.
    #[arg(long, value_name = "B", help_heading = "Privacy")]
    batch_size: Option<usize>,
    /// Expected passes over the data.
    #[arg(long, value_name = "N", conflicts_with = "steps", help_heading = "Privacy")]
    epochs: Option<f64>,
    /// Steps, instead of passes; of an algorithm of nodes rounds.
    #[arg(long, value_name = "N", help_heading = "Privacy")]
    steps: Option<u32>,
    #[command(flatten)]
    pub(super) past: PastArgs,
    /// Which data sets are neighbours: add-remove, replace or zero-out [default: add-remove; zero-out for clients that trust nobody].
    #[arg(long, value_name = "RELATION", help_heading = "Privacy")]
    relation: Option<String>,
    /// Train the twin that is not private: the same model, batches and kernels without clipping and noise. Shows what privacy
    /// costs; nothing is kept.
    #[arg(long, conflicts_with_all = WITHOUT_PRIVACY, help_heading = "Privacy")]
    pub(super) no_privacy: bool,
    /// The accountant: auto, analytic, moments, pld or rdp.
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "Privacy")]
    accountant: String,

    /// The architecture: logistic, mlp or cnn; for text bag, lstm or transformer [default: logistic; bag; lstm with
    /// --language-model].
    #[arg(long, value_name = "NAME", help_heading = "Learning")]
    model: Option<Architecture>,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    #[command(flatten)]
    augmentation: AugmentationArgs,
    #[command(flatten)]
    pub(super) nodes: NodesArgs,

    /// Derive all randomness from this seed, to repeat a run; the guarantee then holds only while the seed is secret.
    #[arg(long, value_name = "S", help_heading = "Run")]
    pub(super) seed: Option<u64>,
    /// Keep model, report, statement, ledger and metrics in this directory, which must not exist or be empty.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub(super) out: Option<PathBuf>,
    /// Go on with the interrupted run in --out; give the same flags again.
    #[arg(long, requires = "out", help_heading = "Run")]
    pub(super) resume: bool,
    /// Seconds between two checkpoints in --out: how much work a crash can undo.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, help_heading = "Run", value_parser = seconds)]
    pub(super) checkpoint_every: f64,
    /// Measure before the first and after the last step how symmetric the gradients of the first N records are, and keep it in --out;
    /// it is not private.
    #[arg(long, value_name = "N", requires = "out", help_heading = "Run", value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) symmetry: Option<u32>,
    /// Records, or copies of them, in memory at a time: bounds memory, and changes the model by float rounding only.
    #[arg(long, value_name = "N", help_heading = "Run")]
    physical_batch: Option<NonZeroUsize>,
    /// Threads; all cores if absent.
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t = DeviceArg::Cpu, help_heading = "Run")]
    device: DeviceArg,
    /// Measure accuracy and loss on the test records this often during training, for metrics.csv [default: 10]; 0 for the
    /// finished model alone. It changes nothing else.
    #[arg(long, value_name = "N", requires = "out", help_heading = "Run")]
    pub(super) evaluations: Option<u32>,
    /// Show no progress.
    #[arg(long, help_heading = "Run")]
    pub(super) quiet: bool,
}

/// Flags that would say nothing of a run without clipping and noise, or keep what it makes.
const WITHOUT_PRIVACY: [&str; 21] = [
    "epsilon",
    "noise_multiplier",
    "delta",
    "clip_norm",
    "clipping",
    "clipping_gamma",
    "clipping_r",
    "clipping_quantile",
    "clipping_rate",
    "clipping_count_noise",
    "ledger",
    "extend",
    "noise_schedule",
    "clip_schedule",
    "perturbation",
    "relation",
    "accountant",
    "bias_floor",
    "no_bias_correction",
    "out",
    "resume",
];

const EXAMPLES: &str = "Examples:
  dpsgd train --epsilon 1 --out digits
  dpsgd train --data people.csv --label income --range age=0:120 --holdout 0.2 --epsilon 1
  dpsgd train --data a9a --test-data a9a.t --epsilon 1
  dpsgd train --data train-images-idx3-ubyte.gz --test-data t10k-images-idx3-ubyte.gz --model cnn
  dpsgd train --noise-multiplier 4 --epochs 100 --epsilon 2      (stops before epsilon exceeds 2)";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceArg {
    /// The processor.
    Cpu,
    /// The first CUDA device; needs a build with --features cuda.
    Cuda,
    /// The first Metal device; needs a build with --features metal.
    Metal,
}

impl Args {
    /// `data` is there when it is known how large a record is.
    pub(super) fn run(&self, data: Option<&Dataset>) -> Run {
        let device = match self.device {
            DeviceArg::Cpu => DeviceName::Cpu,
            DeviceArg::Cuda => DeviceName::Cuda,
            DeviceArg::Metal => DeviceName::Metal,
        };
        let default = Run::default();
        let usual = || data.map_or(default.physical_batch, |data| default.physical_batch.min(logits_in_memory(data)));
        Run { device, physical_batch: self.physical_batch.unwrap_or_else(usual), ..default }
    }

    /// Whether the run is to have no privacy.
    pub(super) fn without_privacy(&self) -> bool {
        self.no_privacy || self.nodes.unit().is_none()
    }

    /// Whom the run protects, if it does anybody.
    fn unit(&self) -> Option<Unit> {
        self.nodes.unit().filter(|_| !self.no_privacy)
    }

    /// Whether flags say something of a guarantee, or keep what a run makes, beside a unit that is promised nothing.
    pub(super) fn check_unit(&self) -> Result<()> {
        let given = [
            ("--epsilon", self.epsilon.is_some()),
            ("--noise-multiplier", self.noise_multiplier.is_some()),
            ("--clip-norm", self.clip_norm.is_some()),
            ("--perturbation", self.perturbation.is_some()),
            ("--out", self.out.is_some()),
            ("--relation", self.relation.is_some()),
            ("--trust", self.nodes.trusts()),
            ("--clipped", self.nodes.says_what_is_clipped()),
        ];
        let given = given.into_iter().chain(self.past.given());
        match given.into_iter().find(|(_, given)| *given && self.nodes.unit().is_none()) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::value(flag, "given", "nothing beside --unit none, which promises nothing")),
        }
    }

    /// What the run is to be on `nodes` nodes, if there are any beside this machine, with `records` records in all; `data` are those
    /// of this process.
    pub(super) fn outline(&self, data: &Dataset, records: usize, past: Past, nodes: Option<usize>) -> Result<Outline> {
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

    fn epsilon(&self) -> Result<Option<Epsilon>> {
        match self.epsilon {
            Some(epsilon) if !(epsilon.is_finite() && epsilon > 0.0) => {
                Err(Error::value("--epsilon", epsilon, "a finite number above 0"))
            }
            Some(epsilon) => Ok(Some(Epsilon::new(epsilon)?)),
            None => Ok(None),
        }
    }

    pub(super) fn relation(&self) -> Result<Relation> {
        let Some(relation) = &self.relation else {
            let alone = self.nodes.unit() == Some(Unit::Client) && self.nodes.trust()? == Trust::Local;
            return Ok(if alone { Relation::ZeroOut } else { Relation::AddRemove });
        };
        relation.parse().map_err(|_| Error::value("--relation", relation, "add-remove, replace, zero-out"))
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

/// What a run is to be.
pub(super) struct Outline {
    pub(super) plan: Plan,
    pub(super) recipe: Recipe,
    /// Of an algorithm of nodes.
    pub(super) setting: Option<Setting>,
}

fn only_dp_sgd(what: &str) -> Error {
    let reason = format!(
        "{what} belongs to dp-sgd: other algorithms of nodes compute on the processor, clip and sample in one way and move their points \
         themselves, with --learning-rate alone"
    );
    Error::Refused { reason }
}

/// So many records of a language model that its logits, one for each token at each place, are at most 2^24.
fn logits_in_memory(data: &Dataset) -> NonZeroUsize {
    let form = data.form();
    let (Domain::Tokens { vocabulary }, Target::NextToken) = (form.domain, form.target) else {
        return NonZeroUsize::MAX;
    };
    let records = (1usize << 24) / data.width().saturating_mul(vocabulary).max(1);
    NonZeroUsize::new(records).unwrap_or(NonZeroUsize::MIN)
}

fn seconds(word: &str) -> Result<f64> {
    let seconds = word.parse::<f64>().ok().filter(|seconds| (0.0..1e9).contains(seconds));
    seconds.ok_or_else(|| Error::value("--checkpoint-every", word, "seconds, from 0 to 1e9"))
}
