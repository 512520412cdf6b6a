//! An optimiser whose learning rate follows a schedule.

use super::{Optimizer, Schedule, state};
use crate::nn::Parameters;
use crate::noise::Release;
use crate::{Error, Result};
use candle_core::Tensor;

/// Tells an optimiser its learning rate before every step. It counts the steps itself and keeps the count in its state, so that a
/// resumed run goes on where the schedule was.
pub struct Scheduled {
    inner: Box<dyn Optimizer>,
    schedule: Schedule,
    /// Steps done, and steps that will be.
    step: u32,
    of: u32,
    factor: f64,
}

impl Scheduled {
    /// `inner` on this schedule over `of` steps.
    ///
    /// # Errors
    /// When the schedule is not valid, or its warm-up takes all the steps.
    pub fn new(inner: Box<dyn Optimizer>, schedule: Schedule, of: u32) -> Result<Self> {
        let schedule = schedule.checked()?;
        if schedule.warmup > 0 && schedule.warmup >= of {
            return Err(Error::value("warmup steps", schedule.warmup, format!("fewer than the {of} steps of the run")));
        }
        Ok(Self { inner, schedule, step: 0, of, factor: 1.0 })
    }
}

impl Optimizer for Scheduled {
    fn step(&mut self, parameters: &Parameters, release: Release) -> Result<()> {
        self.inner.scale_learning_rate(self.factor * self.schedule.factor(self.step, self.of));
        self.inner.step(parameters, release)?;
        self.step = self.step.saturating_add(1);
        Ok(())
    }

    fn scale_learning_rate(&mut self, factor: f64) {
        self.factor = factor;
    }

    fn finish(&mut self, parameters: &Parameters) -> Result<()> {
        self.inner.finish(parameters)
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.inner.state().into_iter().chain(state::counted("schedule.step", self.step)).collect()
    }

    fn restore(&mut self, parameters: &Parameters, state: &dyn Fn(&str) -> Result<Tensor>) -> Result<()> {
        let step = state::count("schedule.step", state)?;
        self.inner.restore(parameters, state)?;
        self.step = step;
        Ok(())
    }
}
