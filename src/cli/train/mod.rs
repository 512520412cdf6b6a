//! `dpsgd train`: data in, private model and statement out.

mod args;
mod keeping;
mod prepared;

pub(super) use args::Args;

use super::flags::Flags;
use super::progress::Watcher;
use super::{Ended, Format, note, print};
use crate::journal::Journal;
use crate::report::{self, Cost, Findings, Report, RunDirectory, Twin, model_file};
use crate::train::{Trainer, Wish};
use crate::{Error, Result};
use keeping::Keeping;
use prepared::Prepared;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) fn run(args: Args, mut flags: Flags, format: Format) -> anyhow::Result<Ended> {
    // Everything that can be refused is, before the directory is made and before a record is read for training.
    let stop = stop_on_signal()?;
    start_threads(args.threads)?;
    let (prepared, interrupted) = Prepared::new(&args)?;
    prepared.resolve(&mut flags);
    let mut trainer = prepared.trainer()?;
    if args.no_privacy {
        return without_privacy(trainer.without_privacy(), &prepared, &args, &stop, format);
    }
    let (keeping, mut journal) = Keeping::open(&args, &prepared, &flags, interrupted, &mut trainer)?;
    if !args.quiet {
        prepared.announce()?;
    }
    if let Some(examples) = args.symmetry.filter(|_| trainer.step() == 0) {
        journal.measured(0, trainer.symmetry(examples as usize)?);
    }
    let mut watcher = Watcher::new(Some(&prepared.plan), trainer.step(), journal, args.quiet);
    keeping.begin(&trainer, &watcher.journal())?;
    if let Some(directory) = keeping.directory() {
        let file = directory.metrics_file(&watcher.journal())?;
        watcher = watcher.writing(file);
        if let Some(test) = &prepared.data.test {
            let evaluate = || prepared.evaluation(test);
            watcher = watcher.testing(args.evaluations.unwrap_or(EVALUATIONS), evaluate);
        }
    }
    let between = Duration::from_secs_f64(args.checkpoint_every);
    let trained = train(&mut trainer, &mut watcher, &keeping, &stop, between);
    let mut journal = watcher.finish();
    keeping.end(&trainer)?;
    trained?;
    if !trainer.is_done() {
        return Ok(interrupted_after(&trainer, keeping.directory()));
    }
    if let Some(examples) = args.symmetry {
        // The budget is spent: a diagnosis that fails must not take the model with it.
        match trainer.symmetry(examples as usize) {
            Ok(symmetry) => journal.measured(trainer.step(), symmetry),
            Err(error) => note(&format!("symmetry was not measured after the last step: {error}")),
        }
    }
    let report = conclude(&trainer, &prepared, &keeping, &journal)?;
    match format {
        Format::Json => print(&report.to_json()?)?,
        Format::Text => print(&report::statement(&report))?,
    }
    if !args.quiet {
        match keeping.directory() {
            Some(directory) => note(&format!("kept in {}", directory.path().display())),
            None => note("nothing was kept; add --out DIR to keep the model"),
        }
    }
    Ok(Ended::Done)
}

/// Trains, and stops for a checkpoint every so often, until the run is done, fails or is to stop.
fn train(
    trainer: &mut Trainer<'_>,
    watcher: &mut Watcher<'_>,
    keeping: &Keeping<'_>,
    stop: &AtomicBool,
    between: Duration,
) -> Result<()> {
    let keeps = keeping.directory().is_some();
    loop {
        let since = Instant::now();
        let pause = || keeps && since.elapsed() >= between;
        let trained = trainer.train(|progress| {
            watcher.step(progress)?;
            Ok(if stop.load(Ordering::Relaxed) || pause() { Wish::Stop } else { Wish::Continue })
        });
        keeping.stretch(trainer, &watcher.journal(), &trained)?;
        if trained.is_err() || trainer.is_done() || stop.load(Ordering::Relaxed) {
            return trained;
        }
    }
}

/// The report of a run that is done, kept where the run is.
fn conclude(trainer: &Trainer<'_>, prepared: &Prepared, keeping: &Keeping<'_>, journal: &Journal) -> Result<Report> {
    let (model_bytes, model_sha256) = model_file(&prepared.parameters)?;
    let findings = Findings {
        journal,
        run: &prepared.run,
        key: &prepared.key,
        data: &prepared.data.train,
        ledger: trainer.ledger(),
        clip_norm: trainer.clip_norm(),
        utility: prepared.utility()?,
        cost: cost(journal),
        parameters: &prepared.parameters,
        model_sha256,
    };
    let report = Report::new(&prepared.plan, findings)?;
    keeping.finish(trainer, &report, &model_bytes, journal)?;
    Ok(report)
}

fn without_privacy(
    mut twin: Trainer<'_>,
    prepared: &Prepared,
    args: &Args,
    stop: &AtomicBool,
    format: Format,
) -> anyhow::Result<Ended> {
    let mut watcher = Watcher::new(None, 0, Journal::new(prepared.recipe.clone()), args.quiet);
    let trained = twin.train(|progress| {
        watcher.step(progress)?;
        Ok(if stop.load(Ordering::Relaxed) { Wish::Stop } else { Wish::Continue })
    });
    let journal = watcher.finish();
    trained?;
    if !twin.is_done() {
        return Ok(interrupted_after(&twin, None));
    }
    let twin = Twin::new(&journal, &prepared.parameters, prepared.utility()?, cost(&journal));
    match format {
        Format::Json => print(&twin.to_json()?)?,
        Format::Text => print(&twin.to_string())?,
    }
    Ok(Ended::Done)
}

fn cost(journal: &Journal) -> Cost {
    Cost {
        training_seconds: journal.seconds(),
        examples_per_second: journal.clipping().examples as f64 / journal.seconds().max(1e-9),
        peak_memory_bytes: report::peak_memory(),
        threads: rayon::current_num_threads(),
    }
}

fn interrupted_after(trainer: &Trainer<'_>, directory: Option<&RunDirectory>) -> Ended {
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

/// How often a model is tested during training unless the user says otherwise.
const EVALUATIONS: u32 = 10;

/// More than any machine has use for, and few enough to start.
const MOST_THREADS: usize = 1024;

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
