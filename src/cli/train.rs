//! `dpsgd train`: data in, private model and statement out.

use super::augmentation::AugmentationArgs;
use super::clipping::ClippingArgs;
use super::config::Flags;
use super::datasets::{DataArgs, Datasets};
use super::noise::NoiseArgs;
use super::optimizer::{self, OptimizerArgs};
use super::past::PastArgs;
use super::progress::Watcher;
use super::schedules::ScheduleArgs;
use super::{Ended, Format, note, print};
use crate::checkpoint::Checkpoint;
use crate::clip::{ClipNorm, Perturbation};
use crate::data::{Dataset, Domain, Target};
use crate::evaluate::Evaluation;
use crate::journal::Journal;
use crate::model::{Architecture, Classifier};
use crate::nn::{Parameters, Sequential};
use crate::noise::NoiseRule;
use crate::plan::{Draft, Past, Plan, Unit};
use crate::recipe::{Defaults, Recipe};
use crate::report::{self, Cost, Findings, Report, RunDirectory, Twin, Utility, model_file};
use crate::run::{DeviceName, Run};
use crate::seed::Key;
use crate::train::{Trainer, Wish};
use crate::{Error, Result};
use candle_core::DType;
use clap::ValueEnum;
use dp_accountant::{Delta, Epsilon, NoiseMultiplier, Relation};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Read flags from a TOML file, such as a recipe of `configs` or the config.toml of a run; flags given beside it win.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,

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
    /// Steps, instead of passes.
    #[arg(long, value_name = "N", help_heading = "Privacy")]
    steps: Option<u32>,
    #[command(flatten)]
    past: PastArgs,
    /// Which data sets are neighbours: add-remove, replace or zero-out.
    #[arg(long, value_name = "RELATION", default_value = "add-remove", help_heading = "Privacy")]
    relation: String,
    /// Train the twin that is not private: the same model, batches and kernels without clipping and noise. Shows what privacy
    /// costs; nothing is kept.
    #[arg(long, conflicts_with_all = WITHOUT_PRIVACY, help_heading = "Privacy")]
    no_privacy: bool,
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

    /// Derive all randomness from this seed, to repeat a run; the guarantee then holds only while the seed is secret.
    #[arg(long, value_name = "S", help_heading = "Run")]
    seed: Option<u64>,
    /// Keep model, report, statement, ledger and metrics in this directory, which must not exist or be empty.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Go on with the interrupted run in --out; give the same flags again.
    #[arg(long, requires = "out", help_heading = "Run")]
    resume: bool,
    /// Seconds between two checkpoints in --out: how much work a crash can undo.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, help_heading = "Run", value_parser = seconds)]
    checkpoint_every: f64,
    /// Measure before the first and after the last step how symmetric the gradients of the first N records are, and keep it in --out;
    /// it is not private.
    #[arg(long, value_name = "N", requires = "out", help_heading = "Run", value_parser = clap::value_parser!(u32).range(2..))]
    symmetry: Option<u32>,
    /// Records, or copies of them, in memory at a time: bounds memory and changes nothing else.
    #[arg(long, value_name = "N", help_heading = "Run")]
    physical_batch: Option<NonZeroUsize>,
    /// Threads; all cores if absent.
    #[arg(long, value_name = "N", help_heading = "Run")]
    threads: Option<NonZeroUsize>,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t = DeviceArg::Cpu, help_heading = "Run")]
    device: DeviceArg,
    /// Measure accuracy and loss on the test records this often during training, for metrics.csv [default: 10]; 0 for the
    /// finished model alone. It changes nothing else.
    #[arg(long, value_name = "N", requires = "out", help_heading = "Run")]
    evaluations: Option<u32>,
    /// Show no progress.
    #[arg(long, help_heading = "Run")]
    quiet: bool,
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

pub(super) fn run(args: Args, mut flags: Flags, format: Format) -> anyhow::Result<Ended> {
    // Everything that can be refused is, before the directory is made and before a record is read for training.
    let stop = stop_on_signal()?;
    start_threads(args.threads)?;
    let resumed = args.resume_from()?;
    let before = args.past.read()?;
    let key = match (&resumed, args.seed.map(|seed| before.key(Key::from_seed(seed)))) {
        (Some((_, checkpoint)), None) => checkpoint.key()?,
        (Some((_, checkpoint)), Some(key)) if key == checkpoint.key()? => key,
        (Some(_), Some(_)) => return Err(Error::value("--seed", "another one", "the seed of the run, or none").into()),
        (None, Some(key)) => key,
        (None, None) => before.key(Key::from_os()?),
    };
    let device = args.run(None).device()?;
    let data = args.data.read(&key)?;
    let run = args.run(Some(&data.train));
    let past = before.past(args.relation()?, resumed.as_ref().map(|(_, checkpoint)| checkpoint.plan()))?;
    let (plan, recipe) = args.plan(&data.train, past)?;
    resolve(&mut flags, &plan, &recipe, &run);
    let parameters = Parameters::new(key.clone(), DType::F32, &device);
    let model = recipe.model.build_for(&data.train.form(), parameters.var_builder())?;
    before.load(&recipe, &parameters)?;
    let steps = if args.no_privacy { plan.draft().steps } else { plan.affordable_steps()? };
    let optimizer = recipe.optimizer.build(steps)?;
    let mut trainer = Trainer::new(&plan, &run, &key, &data.train, &model, &parameters, optimizer)?;
    if let Some(augmentation) = recipe.augmentation {
        trainer = trainer.augmented(augmentation)?;
    }
    if args.no_privacy {
        let mut watcher = Watcher::new(None, 0, Journal::new(recipe), args.quiet);
        let mut twin = trainer.without_privacy();
        let trained = twin.train(|progress| {
            watcher.step(progress)?;
            Ok(if stop.load(Ordering::Relaxed) { Wish::Stop } else { Wish::Continue })
        });
        let journal = watcher.finish();
        trained?;
        if !twin.is_done() {
            return Ok(interrupted(&twin, None));
        }
        let utility = utility(&model, &data, &parameters, &run)?;
        return print_twin(&Twin::new(&journal, &parameters, utility, cost(&journal)), format);
    }
    let fresh = resumed.is_none();
    let (directory, mut journal) = match (resumed, &args.out) {
        (Some((directory, checkpoint)), _) => {
            let journal: Journal = checkpoint.notes()?;
            same_recipe(journal.recipe(), &recipe)?;
            trainer.resume(&checkpoint)?;
            (Some(directory), journal)
        }
        (None, Some(out)) => (Some(RunDirectory::create(out)?), Journal::new(recipe.clone())),
        (None, None) => (None, Journal::new(recipe.clone())),
    };
    if !args.quiet {
        announce(&plan, journal.recipe(), &data.train)?;
    }

    if let Some(examples) = args.symmetry.filter(|_| trainer.step() == 0) {
        journal.measured(0, trainer.symmetry(examples as usize)?);
    }
    let mut watcher = Watcher::new(Some(&plan), trainer.step(), journal, args.quiet);
    if let Some(directory) = &directory {
        // Whatever happens from the first step on, there is something to go on from.
        directory.keep_checkpoint(&trainer.checkpoint(&watcher.journal())?)?;
        directory.keep_config(&flags.to_toml())?;
    }
    if let Err(error) = before.set_aside(&plan, &recipe) {
        // What an interrupted run has bought stays.
        directory.iter().filter(|_| fresh).try_for_each(RunDirectory::discard)?;
        return Err(error.into());
    }
    if let Some(directory) = &directory {
        let file = directory.metrics_file(&watcher.journal())?;
        watcher = watcher.writing(file);
        if let Some(test) = &data.test {
            let evaluate = || Evaluation::new(&model, test, &parameters, run.physical_batch);
            watcher = watcher.testing(args.evaluations.unwrap_or(EVALUATIONS), evaluate);
        }
    }
    let between = Duration::from_secs_f64(args.checkpoint_every);
    let trained = loop {
        let since = Instant::now();
        let keeps = directory.is_some();
        let pause = || keeps && since.elapsed() >= between;
        let trained = trainer.train(|progress| {
            watcher.step(progress)?;
            Ok(if stop.load(Ordering::Relaxed) || pause() { Wish::Stop } else { Wish::Continue })
        });
        match &directory {
            // Nothing was spent, by this process or one before it: nothing is kept.
            Some(directory) if fresh && trained.is_err() && trainer.step() == 0 => {
                before.settle(&plan, 0)?;
                directory.discard()?;
            }
            // Budget has been spent: whatever happens from here on, what it bought is on the disk.
            Some(directory) => directory.keep_checkpoint(&trainer.checkpoint(&watcher.journal())?)?,
            None => {}
        }
        if trained.is_err() || trainer.is_done() || stop.load(Ordering::Relaxed) {
            break trained;
        }
    };
    let mut journal = watcher.finish();
    if directory.is_none() {
        // Nothing is left to go on from.
        before.settle(&plan, trainer.step())?;
    }
    trained?;
    if !trainer.is_done() {
        return Ok(interrupted(&trainer, directory.as_ref()));
    }
    if let Some(examples) = args.symmetry {
        // The budget is spent: a diagnosis that fails must not take the model with it.
        match trainer.symmetry(examples as usize) {
            Ok(symmetry) => journal.measured(trainer.step(), symmetry),
            Err(error) => note(&format!("symmetry was not measured after the last step: {error}")),
        }
    }

    let (model_bytes, model_sha256) = model_file(&parameters)?;
    let report = Report::new(
        &plan,
        Findings {
            journal: &journal,
            run: &run,
            key: &key,
            data: &data.train,
            ledger: trainer.ledger(),
            clip_norm: trainer.clip_norm(),
            utility: utility(&model, &data, &parameters, &run)?,
            cost: cost(&journal),
            parameters: &parameters,
            model_sha256,
        },
    )?;
    if let Some(directory) = &directory {
        directory.keep_config(&flags.to_toml())?;
        directory.keep_results(&report, trainer.ledger(), &model_bytes, &journal)?;
        before.settle(&plan, trainer.step())?;
    }
    match format {
        Format::Json => print(&report.to_json()?)?,
        Format::Text => print(&report::statement(&report))?,
    }
    if !args.quiet {
        match &directory {
            Some(directory) => note(&format!("kept in {}", directory.path().display())),
            None => note("nothing was kept; add --out DIR to keep the model"),
        }
    }
    Ok(Ended::Done)
}

/// Puts what the run found out for itself in the place of flags: the same plan follows whatever later versions have as defaults.
fn resolve(flags: &mut Flags, plan: &Plan, recipe: &Recipe, run: &Run) {
    let draft = plan.draft();
    flags.set("privacy", "epochs", None);
    flags.set("privacy", "steps", Some(draft.steps.to_string()));
    flags.set("privacy", "batch-size", Some(draft.expected_batch.to_string()));
    flags.set("privacy", "clip-norm", Some(draft.clip_norm.get().to_string()));
    flags.set("privacy", "noise-multiplier", Some(plan.noise_multiplier().get().to_string()));
    flags.set("privacy", "epsilon", draft.budget.map(|budget| budget.get().to_string()));
    flags.set("run", "physical-batch", Some(run.physical_batch.to_string()));
    for (key, value) in optimizer::resolved(&recipe.optimizer) {
        flags.set("learning", key, Some(value));
    }
    flags.set("learning", "augmentation", recipe.augmentation.map(|augmentation| augmentation.copies().to_string()));
}

fn print_twin(twin: &Twin, format: Format) -> anyhow::Result<Ended> {
    match format {
        Format::Json => print(&twin.to_json()?)?,
        Format::Text => print(&twin.to_string())?,
    }
    Ok(Ended::Done)
}

fn utility(model: &Classifier<Sequential>, data: &Datasets, parameters: &Parameters, run: &Run) -> Result<Utility> {
    let evaluate = |test| Evaluation::new(model, test, parameters, run.physical_batch);
    let tested = data.test.as_ref().map(evaluate).transpose()?;
    Ok(Utility::new(tested.as_ref().zip(data.test.as_ref()), data.test_origin.clone()))
}

fn cost(journal: &Journal) -> Cost {
    Cost {
        training_seconds: journal.seconds(),
        examples_per_second: journal.clipping().examples as f64 / journal.seconds().max(1e-9),
        peak_memory_bytes: report::peak_memory(),
        threads: rayon::current_num_threads(),
    }
}

fn interrupted(trainer: &Trainer<'_>, directory: Option<&RunDirectory>) -> Ended {
    let step = trainer.step();
    note(&match directory {
        Some(directory) => format!(
            "stopped after step {step}; the checkpoint in {} holds the key, keep it private; go on with the same flags and --resume",
            directory.path().display()
        ),
        None => format!("stopped after step {step}; nothing was kept"),
    });
    Ended::Interrupted
}

/// Going on under another recipe would make a model that neither describes.
fn same_recipe(then: &Recipe, now: &Recipe) -> Result<()> {
    if then == now {
        return Ok(());
    }
    let reason =
        format!("the run was started under another recipe; resume with its flags\n  then: {then:?}\n  now:  {now:?}");
    Err(Error::Refused { reason })
}

/// The first signal asks for a stop after the current step; a second one ends the process at once.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(stop)
}

fn seconds(word: &str) -> Result<f64> {
    let seconds = word.parse::<f64>().ok().filter(|seconds| (0.0..1e9).contains(seconds));
    seconds.ok_or_else(|| Error::value("--checkpoint-every", word, "seconds, from 0 to 1e9"))
}

/// How often a model is tested during training unless the user says otherwise.
const EVALUATIONS: u32 = 10;

/// More than any machine has use for, and few enough to start.
const MOST_THREADS: usize = 1024;

/// So many records of a language model that its logits, one for each token at each place, are at most 2^24.
fn logits_in_memory(data: &Dataset) -> NonZeroUsize {
    let form = data.form();
    let (Domain::Tokens { vocabulary }, Target::NextToken) = (form.domain, form.target) else {
        return NonZeroUsize::MAX;
    };
    let records = (1usize << 24) / data.width().saturating_mul(vocabulary).max(1);
    NonZeroUsize::new(records).unwrap_or(NonZeroUsize::MIN)
}

fn start_threads(threads: Option<NonZeroUsize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    if threads.get() > MOST_THREADS {
        return Err(Error::value("--threads", threads, format!("1 to {MOST_THREADS}")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build_global()
        .map_err(|error| Error::value("--threads", format!("{threads} ({error})"), "a number the system can start"))
}

fn announce(plan: &Plan, recipe: &Recipe, data: &Dataset) -> Result<()> {
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
        plan.draft().expected_batch,
        plan.noise_multiplier().get()
    ));
    Ok(())
}

impl Args {
    fn resume_from(&self) -> Result<Option<(RunDirectory, Checkpoint)>> {
        match &self.out {
            Some(out) if self.resume => RunDirectory::open(out).map(Some),
            Some(out) => {
                // Found out now rather than after the data is read; it is made only when everything else is in order.
                RunDirectory::create(out)?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// `data` is there when it is known how large a record is.
    fn run(&self, data: Option<&Dataset>) -> Run {
        let device = match self.device {
            DeviceArg::Cpu => DeviceName::Cpu,
            DeviceArg::Cuda => DeviceName::Cuda,
            DeviceArg::Metal => DeviceName::Metal,
        };
        let default = Run::default();
        let usual = || data.map_or(default.physical_batch, |data| default.physical_batch.min(logits_in_memory(data)));
        Run { device, physical_batch: self.physical_batch.unwrap_or_else(usual), ..default }
    }

    fn plan(&self, data: &Dataset, past: Past) -> Result<(Plan, Recipe)> {
        let model = self.model.unwrap_or_else(|| Architecture::usual(&data.form()));
        let defaults = Defaults::new(model, data.len());
        let expected_batch = self.batch_size.unwrap_or(defaults.expected_batch);
        let noise = self.noise.rule()?;
        let draft = Draft {
            unit: Unit::Record,
            relation: self.relation()?,
            records: data.len(),
            expected_batch,
            clip_norm: ClipNorm::new(self.clip_norm.unwrap_or(defaults.clip_norm))?,
            perturbation: self.perturbation.map(Perturbation::new).transpose()?,
            clipping: self.clipping.rule(expected_batch)?,
            noise,
            schedules: self.schedules.read()?,
            past,
            steps: self.steps(noise, data.len(), expected_batch, defaults.epochs)?,
            delta: Delta::new(self.delta)?,
            budget: self.epsilon()?,
            accountant: self.accountant.clone(),
        };
        let plan = match self.noise_multiplier {
            // Nothing is spent, so nothing is calibrated; the noise is never drawn.
            None if self.no_privacy => draft.with_noise(NoiseMultiplier::new(1.0)?)?,
            Some(z) => draft.with_noise(NoiseMultiplier::new(z)?)?,
            None => {
                let epsilon = draft.budget.map_or_else(|| Epsilon::new(3.0), Ok)?;
                draft.calibrated(epsilon)?
            }
        };
        let optimizer = self.optimizer.config(defaults.optimizer, self.no_privacy)?;
        let augmentation = self.augmentation.read(data.shape())?;
        Ok((plan, Recipe { data: data.name().to_string(), model, optimizer, augmentation }))
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

    fn relation(&self) -> Result<Relation> {
        self.relation.parse().map_err(|_| Error::value("--relation", &self.relation, "add-remove, replace, zero-out"))
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
