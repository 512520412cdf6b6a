//! Progress: a bar on a terminal, plain lines elsewhere.

use crate::Result;
use crate::clip::Clipping;
use crate::plan::Plan;
use crate::report::Metrics;
use crate::train::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Watches a run: shows speed, epsilon spent and time left, and collects the metrics.
pub(super) struct Watcher<'a> {
    plan: &'a Plan,
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    last_line: Instant,
    first_step: u32,
    examples: usize,
    since_note: Clipping,
    /// What clipping did since the start of this process.
    pub(super) total: Clipping,
    /// Epsilon and clipping at up to [`NOTES`] points of the run.
    pub(super) metrics: Metrics,
}

/// Points of a run at which epsilon is computed and metrics are noted.
const NOTES: u32 = 50;
/// The time between two plain lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl<'a> Watcher<'a> {
    /// About to watch from `first_step` on.
    pub(super) fn new(plan: &'a Plan, first_step: u32, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:30} step {pos}/{len}  {msg}  {eta} left");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(u64::from(first_step));
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self {
            plan,
            bar,
            quiet,
            started: now,
            last_line: now,
            first_step,
            examples: 0,
            since_note: Clipping::default(),
            total: Clipping::default(),
            metrics: Metrics::default(),
        }
    }

    /// Takes note of a step.
    pub(super) fn step(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.examples += progress.clipping.examples;
        add(&mut self.since_note, progress.clipping);
        add(&mut self.total, progress.clipping);
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(progress.of));
            bar.set_position(u64::from(progress.step));
        }
        if progress.step.is_multiple_of(progress.of.div_ceil(NOTES).max(1)) || progress.step == progress.of {
            let epsilon = self.plan.epsilon(&progress.ledger.event())?.upper();
            self.metrics.note(progress.step, epsilon, std::mem::take(&mut self.since_note));
            self.show(progress, epsilon);
        }
        Ok(())
    }

    fn show(&mut self, progress: &Progress<'_>, epsilon: f64) {
        let speed = self.examples as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let message = format!("epsilon {epsilon:.3}  {speed:.0} examples/s");
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        } else if !self.quiet && (self.last_line.elapsed() >= BETWEEN_LINES || progress.step == progress.of) {
            self.last_line = Instant::now();
            let done = f64::from(progress.step - self.first_step);
            let left = f64::from(progress.of - progress.step) * self.started.elapsed().as_secs_f64() / done.max(1.0);
            eprintln!("step {}/{}  {message}  {left:.0} s left", progress.step, progress.of);
        }
    }

    /// Seconds since the start, and records per second.
    pub(super) fn finish(&self) -> (f64, f64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        (seconds, self.examples as f64 / seconds.max(1e-9))
    }
}

fn add(total: &mut Clipping, more: Clipping) {
    total.examples += more.examples;
    total.clipped += more.clipped;
    total.dropped += more.dropped;
    total.norms += more.norms;
}
