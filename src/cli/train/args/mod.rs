//! The flags of `dpsgd train`.

mod outline;

pub(super) use outline::Outline;

use crate::cli::augmentation::AugmentationArgs;
use crate::cli::clipping::ClippingArgs;
use crate::cli::datasets::DataArgs;
use crate::cli::nodes::NodesArgs;
use crate::cli::noise::NoiseArgs;
use crate::cli::optimizer::OptimizerArgs;
use crate::cli::past::PastArgs;
use crate::cli::schedules::ScheduleArgs;
use crate::data::{Dataset, Domain, Target};
use crate::distributed::uplink::Trust;
use crate::model::Architecture;
use crate::plan::Unit;
use crate::run::{DeviceName, Run};
use crate::{Error, Result};
use clap::ValueEnum;
use dp_accountant::{Epsilon, Relation};
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
