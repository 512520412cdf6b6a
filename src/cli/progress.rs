//! Progress: a bar on a terminal, plain lines elsewhere, and a row of metrics.csv for each entry of the journal.

use super::note;
use crate::Result;
use crate::evaluate::Evaluation;
use crate::journal::{Journal, between, is_entry};
use crate::plan::Plan;
use crate::report::MetricsFile;
use crate::train::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Watches a run: shows speed, epsilon spent and time left, and keeps the journal.
pub(super) struct Watcher<'a> {
    /// The plan that says what was spent; none for a run without privacy.
    plan: Option<&'a Plan>,
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    last_line: Instant,
    first_step: u32,
    examples: usize,
    journal: Journal,
    /// Where entries are kept while the run goes on.
    file: Option<MetricsFile>,
    test: Option<Test<'a>>,
    /// Time spent on anything but training.
    away: Duration,
}

/// Tests of the model on the way.
struct Test<'a> {
    /// How many there are in a run.
    times: u32,
    evaluate: Box<dyn Fn() -> Result<Evaluation> + Send + 'a>,
}

/// The time between two plain lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl<'a> Watcher<'a> {
    /// About to watch from `first_step` on, with the journal of the steps before.
    pub(super) fn new(plan: Option<&'a Plan>, first_step: u32, journal: Journal, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:30} step {pos}/{len}  {msg}  {eta} left");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(u64::from(first_step));
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        let (started, last_line, away) = (now, now, Duration::ZERO);
        Self { plan, bar, quiet, started, last_line, first_step, examples: 0, journal, file: None, test: None, away }
    }

    /// Adds every entry of the journal to this file when it is made.
    pub(super) fn writing(self, file: MetricsFile) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Tests the model as it is stepped at about so many of the entries, evenly spread, the last among them.
    pub(super) fn testing(self, times: u32, evaluate: impl Fn() -> Result<Evaluation> + Send + 'a) -> Self {
        Self { test: Some(Test { times, evaluate: Box::new(evaluate) }), ..self }
    }

    /// Takes note of a step.
    pub(super) fn step(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.examples += progress.clipping.examples;
        self.journal.step(progress.clipping);
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(progress.of));
            bar.set_position(u64::from(progress.step));
        }
        if is_entry(progress.step, progress.of) {
            let spent = match self.plan {
                Some(plan) => {
                    let epsilon = plan.epsilon(&progress.ledger.event())?.upper();
                    self.enter(progress, epsilon)?;
                    // A promise is not rounded down.
                    format!("epsilon {:.3}", (epsilon * 1e3).ceil() / 1e3)
                }
                None => "no privacy".into(),
            };
            self.show(progress, &spent);
        }
        Ok(())
    }

    fn enter(&mut self, progress: &Progress<'_>, epsilon: f64) -> Result<()> {
        let since = Instant::now();
        let due = |test: &&Test<'_>| is_tested(progress.step, progress.of, test.times);
        let tested = self.test.as_ref().filter(due).map(|test| (test.evaluate)()).transpose()?;
        let row = self.journal.enter(progress.step, epsilon, tested.as_ref());
        if let Some(file) = &self.file {
            file.add(&row)?;
        }
        self.away += since.elapsed();
        Ok(())
    }

    /// Time spent on training.
    fn trained(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.away)
    }

    fn show(&mut self, progress: &Progress<'_>, spent: &str) {
        let speed = self.examples as f64 / self.trained().as_secs_f64().max(1e-9);
        let message = format!("{spent}  {speed:.0} examples/s");
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        } else if !self.quiet && (self.last_line.elapsed() >= BETWEEN_LINES || progress.step == progress.of) {
            self.last_line = Instant::now();
            let done = f64::from(progress.step - self.first_step);
            let left = f64::from(progress.of - progress.step) * self.started.elapsed().as_secs_f64() / done.max(1.0);
            note(&format!("step {}/{}  {message}  {left:.0} s left", progress.step, progress.of));
        }
    }

    /// The journal so far, with the time of this watch added.
    pub(super) fn journal(&self) -> Journal {
        let mut journal = self.journal.clone();
        journal.add_seconds(self.trained().as_secs_f64());
        journal
    }

    /// The journal of the whole run; the bar goes away.
    pub(super) fn finish(self) -> Journal {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.journal()
    }
}

/// Whether the model is tested at the entry after `step`, if it is to be `times` times in a run of `of` steps. It depends on the step
/// alone, so that a resumed run is tested where an uninterrupted one is.
fn is_tested(step: u32, of: u32, times: u32) -> bool {
    let entries = u64::from(of.div_ceil(between(of)));
    let entry = u64::from(step.div_ceil(between(of)));
    let due = |entry: u64| entry * u64::from(times) / entries.max(1);
    entry > 0 && due(entry) > due(entry - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_spread_evenly_and_the_last_entry_is_among_them() {
        for (of, times) in [(80, 10), (30_000, 10), (7, 10), (1, 10), (50, 50), (101, 3), (40, 1), (60, 1000)] {
            let entries: Vec<u32> = (1..=of).filter(|step: &u32| is_entry(*step, of)).collect();
            let tested: Vec<u32> = entries.iter().copied().filter(|step| is_tested(*step, of, times)).collect();
            assert_eq!(tested.len(), entries.len().min(times as usize), "{of} {times}");
            assert_eq!(tested.last(), Some(&of), "{of} {times}");
        }
        assert!((1..=80).all(|step| !is_tested(step, 80, 0)));
    }
}
