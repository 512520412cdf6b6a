//! Inverse questions: how much noise, how many steps, how large a rate or a batch for a given epsilon.
//!
//! Every answer was evaluated: its `upper` does not exceed the target. The search assumes that epsilon is monotone in
//! the parameter to stop at the best value; were it not, the answer would still be safe.
//!
//! Each search starts where the central limit theorem puts the answer (see [`Gdp`](crate::Gdp)), or in the middle of its
//! range where that has none, so that it seldom asks the accountant more than fifteen times.

mod guess;
mod question;
mod search;

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::event::{Batches, Event};
use crate::parameters::{Delta, Epsilon, NoiseMultiplier, OutOfDomain, SamplingRate};
use question::Question;
use search::{boundary, whole};

/// A parameter on the safe side of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibrated<T> {
    /// The parameter.
    pub value: T,
    /// Epsilon at this value. `bound.upper()` is at most the target.
    pub bound: Bound,
    /// How far below the target `bound.upper()` is, >= 0.
    pub slack: f64,
    /// Whether the search ended at the end of its range instead of at the target: an even better value may exist.
    pub capped: bool,
}

/// Why there is no calibrated value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Uncalibrated {
    /// The target cannot be met with certainty by any parameter.
    #[error("target epsilon = {0}: allowed is a number > 0")]
    Target(f64),
    /// No value that was tried meets the target.
    #[error(
        "no {parameter} from {from:e} to {to:e} reaches epsilon = {target}: the least epsilon there is {least}; \
         raise the target or change the rest of the plan"
    )]
    Unreachable {
        /// The parameter, in words.
        parameter: &'static str,
        /// The least value tried.
        from: f64,
        /// The largest value tried.
        to: f64,
        /// The epsilon that was asked for.
        target: f64,
        /// The least `upper` that was seen.
        least: f64,
    },
    /// The accountant states no upper bound at all, only an estimate.
    #[error(
        "accountant {accountant} estimates epsilon ({estimate} where the plan is most private) and bounds it by nothing: \
         a {parameter} calibrated to it would promise what nobody has proved; use another accountant"
    )]
    Estimate {
        /// Who answered.
        accountant: &'static str,
        /// The parameter, in words.
        parameter: &'static str,
        /// The estimate at the private end of the range.
        estimate: f64,
    },
    /// The accountant refused the plan.
    #[error(transparent)]
    Unaccountable(#[from] Unaccountable),
    /// The search left a parameter's domain, or the range given is none.
    #[error(transparent)]
    OutOfDomain(#[from] OutOfDomain),
}

/// The values between which a parameter is searched, named by what they do to privacy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    private: f64,
    useful: f64,
}

impl Range {
    /// From the most private value to the most useful one: for a noise `private` is the larger one, for a rate the smaller.
    ///
    /// # Errors
    /// [`OutOfDomain`] unless both are finite, > 0 and different.
    pub fn new(private: f64, useful: f64) -> Result<Self, OutOfDomain> {
        let allowed = "two different finite numbers > 0";
        for value in [private, useful] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(OutOfDomain { name: "end of the range searched", value, allowed });
            }
        }
        if private == useful {
            return Err(OutOfDomain { name: "both ends of the range searched", value: private, allowed });
        }
        Ok(Self { private, useful })
    }

    /// The end at which the plan is most private.
    #[must_use]
    pub fn private(self) -> f64 {
        self.private
    }

    /// The other end.
    #[must_use]
    pub fn useful(self) -> f64 {
        self.useful
    }
}

/// The noise multipliers that are tried.
const NOISE: Range = Range { private: 1e8, useful: 1e-4 };

/// The sampling rates that are tried.
const RATE: Range = Range { private: 1e-12, useful: 1.0 };

/// The most steps that are tried.
const MOST_STEPS: u64 = u32::MAX as u64;

/// The smallest noise multiplier for which `plan` stays within `target` at `delta`, to a relative 1e-6.
///
/// Values from 1e-4 to 1e8 are tried; when even the least of them stays within the target, that is the answer and
/// `capped` is true.
///
/// # Errors
/// [`Uncalibrated`]: a target of 0, a plan that no noise up to 1e8 makes private enough, a plan the accountant refuses.
pub fn noise_multiplier(
    accountant: &dyn Accountant,
    plan: impl Fn(NoiseMultiplier) -> Event,
    target: Epsilon,
    delta: Delta,
) -> Result<Calibrated<NoiseMultiplier>, Uncalibrated> {
    let question = Question::new(accountant, "noise multiplier", target, delta)?;
    let found = boundary(&question, |z| Ok(plan(NoiseMultiplier::new(z)?)), NOISE, Some(1.0))?;
    Ok(found.try_map(NoiseMultiplier::new)?)
}

/// The largest sampling rate for which `plan` stays within `target` at `delta`, to a relative 1e-6.
///
/// Rates from 1e-12 to 1 are tried; when 1 stays within the target, that is the answer and `capped` is true.
///
/// # Errors
/// [`Uncalibrated`]: a target of 0, a plan that no rate down to 1e-12 makes private enough, a plan the accountant refuses.
pub fn sampling_rate(
    accountant: &dyn Accountant,
    plan: impl Fn(SamplingRate) -> Event,
    target: Epsilon,
    delta: Delta,
) -> Result<Calibrated<SamplingRate>, Uncalibrated> {
    let question = Question::new(accountant, "sampling rate", target, delta)?;
    let found = boundary(&question, |q| Ok(plan(SamplingRate::new(q)?)), RATE, Some(0.01))?;
    Ok(found.try_map(SamplingRate::new)?)
}

/// The largest number of steps for which `plan` stays within `target` at `delta`: one more step would exceed it.
///
/// At most `u32::MAX` steps are tried; when even those stay within the target, that is the answer and `capped` is true.
///
/// # Errors
/// [`Uncalibrated`]: a target of 0, a plan whose first step already exceeds the target, a plan the accountant refuses.
pub fn steps(
    accountant: &dyn Accountant,
    plan: impl Fn(u64) -> Event,
    target: Epsilon,
    delta: Delta,
) -> Result<Calibrated<u64>, Uncalibrated> {
    let question = Question::new(accountant, "number of steps", target, delta)?;
    whole(&question, |n| Ok(plan(n)), MOST_STEPS)
}

/// The largest batch out of `records` records for which `plan` stays within `target` at `delta`: one more record in the
/// batch would exceed it.
///
/// The plan decides what the batch means: [`Event::without_replacement`], or Poisson sampling at the rate
/// [`Batches::share`], and how many steps there are. When all records may be taken, `capped` is true.
///
/// # Errors
/// [`Uncalibrated`]: a target of 0, a plan that exceeds it with batches of one record, a plan the accountant refuses;
/// `records` = 0.
pub fn batch_size(
    accountant: &dyn Accountant,
    plan: impl Fn(Batches) -> Event,
    records: u64,
    target: Epsilon,
    delta: Delta,
) -> Result<Calibrated<u64>, Uncalibrated> {
    // Says what is wrong with no records at all.
    Batches::new(records, 1)?;
    let question = Question::new(accountant, "batch size", target, delta)?;
    whole(&question, |batch| Ok(plan(Batches::new(records, batch)?)), records)
}

/// The value nearest to `range.useful()` for which `plan` stays within `target` at `delta`, to a relative 1e-6: any
/// parameter in which epsilon is monotone, such as the scale of a Laplace noise. `name` is for messages.
///
/// # Errors
/// [`Uncalibrated`]: a target of 0, a plan that exceeds it at the private end, a plan the accountant refuses, or a value
/// for which there is no plan.
pub fn parameter(
    accountant: &dyn Accountant,
    name: &'static str,
    plan: impl Fn(f64) -> Result<Event, OutOfDomain>,
    range: Range,
    target: Epsilon,
    delta: Delta,
) -> Result<Calibrated<f64>, Uncalibrated> {
    let question = Question::new(accountant, name, target, delta)?;
    boundary(&question, plan, range, None)
}

impl<T> Calibrated<T> {
    fn try_map<U>(self, to: impl FnOnce(T) -> Result<U, OutOfDomain>) -> Result<Calibrated<U>, OutOfDomain> {
        let Self { value, bound, slack, capped } = self;
        Ok(Calibrated { value: to(value)?, bound, slack, capped })
    }
}
