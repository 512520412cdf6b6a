//! Learning-rate schedules.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The learning rate over a run, as a share of the one the optimiser was given.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps with a rising rate before the shape begins: 1 / (warmup + 1), 2 / (warmup + 1), and so on. Step 0 moves too: a
    /// release that is not used has been paid for all the same.
    pub warmup: u32,
    /// What follows.
    pub shape: Shape,
}

/// The learning rate after the warm-up. Linear and cosine reach their last share after the last step, so that a share of 0 wastes
/// no step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// Always 1.
    #[default]
    Constant,
    /// On a line from 1 to `to`.
    Linear {
        /// The share at the end, in [0, 1].
        to: f64,
    },
    /// On half a cosine from 1 to `to` (Loshchilov and Hutter 2017, equation 5, without restarts).
    Cosine {
        /// The share at the end, in [0, 1].
        to: f64,
    },
    /// Times `factor` after every `every` steps.
    Step {
        /// Steps between two changes, at least 1.
        every: u32,
        /// What the rate is multiplied by, in (0, 1].
        factor: f64,
    },
}

impl Schedule {
    /// The schedule itself, if it is one.
    ///
    /// # Errors
    /// When a share or factor is outside its range, or `every` is 0.
    pub fn checked(self) -> Result<Self> {
        match self.shape {
            Shape::Linear { to } | Shape::Cosine { to } if !(0.0..=1.0).contains(&to) => {
                Err(Error::value("final fraction", to, "a number from 0 to 1"))
            }
            Shape::Step { every: 0, .. } => Err(Error::value("decay every", 0, "at least 1 step")),
            Shape::Step { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                Err(Error::value("decay factor", factor, "a number above 0, up to 1"))
            }
            _ => Ok(self),
        }
    }

    /// Whether the rate never changes.
    pub fn is_constant(self) -> bool {
        self.warmup == 0 && self.shape == Shape::Constant
    }

    /// The share of the learning rate at `step`, counted from 0, `of` so many. Steps past the end are as the end.
    pub fn factor(self, step: u32, of: u32) -> f64 {
        if step < self.warmup {
            return (f64::from(step) + 1.0) / (f64::from(self.warmup) + 1.0);
        }
        let (done, all) = (step - self.warmup, of.saturating_sub(self.warmup));
        let progress = if done >= all { 1.0 } else { f64::from(done) / f64::from(all) };
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear { to } => 1.0 + progress * (to - 1.0),
            Shape::Cosine { to } => to + (1.0 - to) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Shape::Step { every, factor } => factor.powf(f64::from(done.checked_div(every).unwrap_or(0))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_start_at_the_end_of_the_warm_up_in_the_middle_and_at_the_end() {
        for (shape, [begin, middle, last, end]) in [
            (Shape::Constant, [1.0, 1.0, 1.0, 1.0]),
            (Shape::Linear { to: 0.2 }, [1.0, 0.6, 0.208, 0.2]),
            (Shape::Linear { to: 0.0 }, [1.0, 0.5, 0.01, 0.0]),
            (Shape::Cosine { to: 0.0 }, [1.0, 0.5, 0.000_246_719_817_134_215_15, 0.0]),
            (Shape::Cosine { to: 0.5 }, [1.0, 0.75, 0.500_123_359_908_567_1, 0.5]),
            (Shape::Step { every: 50, factor: 0.5 }, [1.0, 0.5, 0.5, 0.25]),
            (Shape::Step { every: 30, factor: 0.1 }, [1.0, 0.1, 0.001, 0.001]),
        ] {
            for warmup in [0, 1, 9] {
                let (schedule, of) = (Schedule { warmup, shape }.checked().unwrap(), 100 + warmup);
                let at = |step: u32| schedule.factor(step, of);
                for (step, expected) in [(0, begin), (50, middle), (99, last), (100, end)] {
                    assert!((at(warmup + step) - expected).abs() < 1e-15, "{schedule:?} {step}: {}", at(warmup + step));
                }
                // Past the end only what counts steps goes on.
                assert!(matches!(shape, Shape::Step { .. }) || (at(u32::MAX) - end).abs() < 1e-15, "{schedule:?}");
                if warmup == 9 {
                    assert_eq!((at(0), at(4), at(8)), (0.1, 0.5, 0.9), "{schedule:?}");
                }
                assert!((0..of).all(|step| at(step) > 0.0 && at(step) <= 1.0), "{schedule:?} wastes a step");
            }
        }
    }

    #[test]
    fn a_run_that_is_all_warm_up_has_no_shape() {
        let schedule = Schedule { warmup: 10, shape: Shape::Cosine { to: 0.0 } };
        assert_eq!((schedule.factor(4, 5), schedule.factor(0, 0)), (5.0 / 11.0, 1.0 / 11.0));
        assert!(!schedule.is_constant() && Schedule::default().is_constant());
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_name() {
        for (shape, name) in [
            (Shape::Linear { to: 1.1 }, "final fraction"),
            (Shape::Cosine { to: f64::NAN }, "final fraction"),
            (Shape::Step { every: 0, factor: 0.5 }, "decay every"),
            (Shape::Step { every: 1, factor: 0.0 }, "decay factor"),
            (Shape::Step { every: 1, factor: 1.5 }, "decay factor"),
        ] {
            let refusal = Schedule { warmup: 0, shape }.checked().unwrap_err().to_string();
            assert!(refusal.contains(name), "{refusal}");
        }
    }
}
