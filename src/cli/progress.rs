//! Progress: a bar on a terminal, plain lines elsewhere.

use super::note;
use crate::Result;
use crate::journal::Journal;
use crate::plan::Plan;
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
}

/// Points of a run at which epsilon is computed, shown and entered in the journal.
const ENTRIES: u32 = 50;
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
        Self { plan, bar, quiet, started: now, last_line: now, first_step, examples: 0, journal }
    }

    /// Takes note of a step.
    pub(super) fn step(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.examples += progress.clipping.examples;
        self.journal.step(progress.clipping);
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(progress.of));
            bar.set_position(u64::from(progress.step));
        }
        if progress.step.is_multiple_of(progress.of.div_ceil(ENTRIES).max(1)) || progress.step == progress.of {
            let spent = match self.plan {
                Some(plan) => {
                    let epsilon = plan.epsilon(&progress.ledger.event())?.upper();
                    self.journal.enter(progress.step, epsilon);
                    // A promise is not rounded down.
                    format!("epsilon {:.3}", (epsilon * 1e3).ceil() / 1e3)
                }
                None => "no privacy".into(),
            };
            self.show(progress, &spent);
        }
        Ok(())
    }

    fn show(&mut self, progress: &Progress<'_>, spent: &str) {
        let speed = self.examples as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
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
        journal.add_seconds(self.started.elapsed().as_secs_f64());
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
