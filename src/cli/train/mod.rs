//! `dpsgd train`: data in, private model and statement out.

mod args;
mod course;
mod keeping;
mod place;
mod prepared;

pub(super) use args::Args;

use super::flags::Flags;
use super::progress::Watcher;
use super::{Ended, Format, exit_code, in_flags, note, print};
use crate::distributed::Transport;
use crate::distributed::cost::NodeCost;
use crate::journal::Journal;
use crate::report::{self, Cost, Findings, Report, RunDirectory, Twin, model_file};
use crate::train::{Training, Wish};
use crate::{Error, Result};
use course::Course;
use keeping::Keeping;
use place::Place;
use prepared::Prepared;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) fn run(mut args: Args, flags: Flags, format: Format) -> anyhow::Result<Ended> {
    let stop = stop_on_signal()?;
    start_threads(args.threads)?;
    let mut transport = args.nodes.start()?;
    let node = transport.as_ref().map_or(0, |transport| transport.hosted().start);
    // Of many processes one speaks.
    args.quiet |= node != 0;
    let ended = on_nodes(&args, flags, format, transport.as_deref_mut(), &stop);
    match (ended, transport) {
        (Err(error), Some(transport)) if transport.hosted().len() < transport.nodes() => {
            let code = exit_code(&error);
            if node != 0 {
                // What all processes refuse is said once, by the first: mpirun ends the others a second later.
                std::thread::sleep(Duration::from_secs(5));
            }
            note(&format!("error: node {node}: {}", in_flags(error)));
            transport.abandon(i32::from(code));
            Ok(Ended::Interrupted)
        }
        (ended, _) => ended,
    }
}

fn on_nodes(
    args: &Args,
    mut flags: Flags,
    format: Format,
    mut transport: Option<&mut (dyn Transport + 'static)>,
    stop: &AtomicBool,
) -> anyhow::Result<Ended> {
    // Everything that can be refused is, before a record is read for training.
    args.nodes.check_count(transport.as_deref())?;
    args.check_unit()?;
    args.past.keep_apart(args.out.as_deref())?;
    let place = Place::new(args, transport.as_deref_mut())?;
    let prepared = Prepared::new(args, &place, transport.as_deref_mut())?;
    prepared.resolve(args, &mut flags);
    let mut course = prepared.course(transport)?;
    if args.without_privacy() {
        return without_privacy(course, &prepared, &place, args, stop, format);
    }
    let (keeping, mut journal) = Keeping::open(args, &prepared, &place, &flags, course.run())?;
    if !args.quiet {
        prepared.announce()?;
    }
    if let Some(examples) = args.symmetry.filter(|_| course.run().step() == 0) {
        journal.measured(0, course.symmetry(examples as usize)?);
    }
    let mut watcher = Watcher::new(Some(&prepared.plan), course.run().step(), journal, args.quiet);
    keeping.begin(&mut course, &watcher.journal())?;
    if let Some(directory) = keeping.directory() {
        let file = directory.metrics_file(&watcher.journal())?;
        watcher = watcher.writing(file);
        if let Some(test) = &prepared.data.test {
            let evaluate = || prepared.evaluation(test);
            watcher = watcher.testing(args.evaluations.unwrap_or(EVALUATIONS), evaluate);
        }
    }
    let between = Duration::from_secs_f64(args.checkpoint_every);
    let trained = train(course.run(), &mut watcher, &keeping, stop, between);
    let journal = watcher.finish();
    keeping.end(course.run())?;
    trained?;
    if !course.run().is_done() {
        return Ok(interrupted_after(course.run(), &place, keeping.directory()));
    }
    finished(course, args, &prepared, &place, &keeping, journal, format)
}

/// After the last step: the report, kept and shown by the process of node 0.
fn finished(
    mut course: Course<'_>,
    args: &Args,
    prepared: &Prepared,
    place: &Place,
    keeping: &Keeping<'_>,
    mut journal: Journal,
    format: Format,
) -> anyhow::Result<Ended> {
    if let Some(examples) = args.symmetry {
        // The budget is spent: a diagnosis that fails must not take the model with it.
        match course.symmetry(examples as usize) {
            Ok(symmetry) => journal.measured(course.run().step(), symmetry),
            Err(error) => note(&format!("symmetry was not measured after the last step: {error}")),
        }
    }
    let costs = course.costs()?;
    if !place.leads() {
        // Until the results are on the disk there is something to go on from.
        course.wait()?;
        keeping.clear()?;
        return Ok(Ended::Done);
    }
    let report = conclude(course.run(), prepared, keeping, &journal, costs)?;
    course.wait()?;
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
    run: &mut dyn Training,
    watcher: &mut Watcher<'_>,
    keeping: &Keeping<'_>,
    stop: &AtomicBool,
    between: Duration,
) -> Result<()> {
    let keeps = keeping.directory().is_some();
    loop {
        let since = Instant::now();
        let pause = || keeps && since.elapsed() >= between;
        let trained = run.train(&mut |progress| {
            watcher.step(progress)?;
            Ok(match stop.load(Ordering::Relaxed) {
                true => Wish::Stop,
                false if pause() => Wish::Pause,
                false => Wish::Continue,
            })
        });
        keeping.stretch(run, &watcher.journal(), &trained)?;
        if trained? == Wish::Stop || run.is_done() {
            return Ok(());
        }
    }
}

/// The report of a run that is done, kept where the run is.
fn conclude(
    run: &dyn Training,
    prepared: &Prepared,
    keeping: &Keeping<'_>,
    journal: &Journal,
    costs: Option<Vec<NodeCost>>,
) -> Result<Report> {
    let (model_bytes, model_sha256) = model_file(&prepared.parameters)?;
    let findings = Findings {
        journal,
        run: &prepared.run,
        key: &prepared.key,
        data: &prepared.data.train,
        ledger: run.ledger(),
        clip_norm: run.clip_norm(),
        nodes: of_nodes(run, prepared, costs)?,
        utility: prepared.utility()?,
        cost: cost(journal),
        parameters: &prepared.parameters,
        model_sha256,
    };
    let report = Report::new(&prepared.plan, findings)?;
    keeping.finish(run, &report, &model_bytes, journal)?;
    Ok(report)
}

/// What is reported of the nodes, if there are any.
fn of_nodes(run: &dyn Training, prepared: &Prepared, costs: Option<Vec<NodeCost>>) -> Result<Option<report::OfNodes>> {
    let Some((nodes, costs)) = prepared.nodes.as_ref().zip(costs) else { return Ok(None) };
    let gap = |setting: &crate::distributed::Setting| setting.method.spectral_gap(nodes.count, &prepared.key);
    Ok(Some(report::OfNodes {
        transport: if nodes.over_mpi { "mpi" } else { "local" }.into(),
        apart: nodes.apart,
        partition: nodes.partition.clone(),
        records: nodes.shards.iter().map(Vec::len).collect(),
        setting: nodes.setting.clone(),
        spectral_gap: nodes.setting.as_ref().map(gap).transpose()?.flatten(),
        rounds: run.step(),
        promise: Vec::new(),
        costs,
    }))
}

fn without_privacy(
    mut course: Course<'_>,
    prepared: &Prepared,
    place: &Place,
    args: &Args,
    stop: &AtomicBool,
    format: Format,
) -> anyhow::Result<Ended> {
    let mut watcher = Watcher::new(None, 0, Journal::new(prepared.recipe.clone()), args.quiet);
    let trained = course.run().train(&mut |progress| {
        watcher.step(progress)?;
        Ok(if stop.load(Ordering::Relaxed) { Wish::Stop } else { Wish::Continue })
    });
    let journal = watcher.finish();
    trained?;
    if !course.run().is_done() {
        return Ok(interrupted_after(course.run(), place, None));
    }
    let costs = course.costs()?;
    if !place.leads() {
        return Ok(Ended::Done);
    }
    let nodes = of_nodes(course.run(), prepared, costs)?;
    let twin = Twin::new(&journal, &prepared.parameters, nodes, prepared.utility()?, cost(&journal))?;
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

fn interrupted_after(run: &dyn Training, place: &Place, directory: Option<&RunDirectory>) -> Ended {
    let step = run.step();
    if place.leads() {
        note(&match directory {
            Some(directory) => format!(
                "stopped after step {step}; the checkpoint in {} holds the key, keep it private; go on with the same flags and --resume",
                directory.path().display()
            ),
            None => format!("stopped after step {step}; nothing was kept"),
        });
    }
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
