//! Inverse questions: how much noise, how many steps, how large a sampling rate for a given epsilon.
//!
//! Every answer was evaluated: its `upper` does not exceed the target. The search assumes that epsilon is monotone in
//! the parameter to stop at the best value; were it not, the answer would still be safe.

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::{Delta, Epsilon, NoiseMultiplier, OutOfDomain, SamplingRate};
use crate::rdp::Rdp;

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
    /// The accountant refused the plan.
    #[error(transparent)]
    Unaccountable(#[from] Unaccountable),
    /// The search left a parameter's domain.
    #[error(transparent)]
    OutOfDomain(#[from] OutOfDomain),
}

/// The noise multipliers that are tried.
const NOISE: (f64, f64) = (1e-4, 1e8);

/// The sampling rates that are tried.
const RATE: (f64, f64) = (1e-12, 1.0);

/// The most steps that are tried.
const MOST_STEPS: u64 = u32::MAX as u64;

/// Relative distance between the value returned and one that exceeds the target.
const TOLERANCE: f64 = 1e-6;

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
    let question = Question { accountant, target: positive(target)?, delta };
    let ask = |z: f64| question.ask(&plan(NoiseMultiplier::new(z)?));
    let (value, bound, capped) = boundary("noise multiplier", ask, question.target, (NOISE.1, NOISE.0), 1.0)?;
    Ok(question.answer(NoiseMultiplier::new(value)?, bound, capped))
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
    let question = Question { accountant, target: positive(target)?, delta };
    let ask = |q: f64| question.ask(&plan(SamplingRate::new(q)?));
    let (value, bound, capped) = boundary("sampling rate", ask, question.target, RATE, 0.01)?;
    Ok(question.answer(SamplingRate::new(value)?, bound, capped))
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
    let question = Question { accountant, target: positive(target)?, delta };
    let ask = |n: u64| question.ask(&plan(n));
    let first = ask(1)?;
    if first.upper() > question.target {
        return Err(Uncalibrated::Unreachable {
            parameter: "number of steps",
            from: 1.0,
            to: 1.0,
            target: question.target,
            least: first.upper(),
        });
    }
    let (mut safe, mut bound) = (1, first);
    let mut exceeding = None;
    while exceeding.is_none() && safe < MOST_STEPS {
        let next = (safe * 8).min(MOST_STEPS);
        let answer = ask(next)?;
        if answer.upper() <= question.target {
            (safe, bound) = (next, answer);
        } else {
            exceeding = Some((next, answer));
        }
    }
    let Some((mut over, mut excess)) = exceeding else {
        return Ok(question.answer(safe, bound, true));
    };
    let mut narrow = Narrow::default();
    while over - safe > 1 {
        let guess = narrow.next((safe as f64, bound.upper()), (over as f64, excess.upper()), question.target) as u64;
        let next = guess.clamp(safe + 1, over - 1);
        let answer = ask(next)?;
        if answer.upper() <= question.target {
            (safe, bound) = (next, answer);
        } else {
            (over, excess) = (next, answer);
        }
    }
    Ok(question.answer(safe, bound, false))
}

fn positive(target: Epsilon) -> Result<f64, Uncalibrated> {
    if target.get() > 0.0 { Ok(target.get()) } else { Err(Uncalibrated::Target(target.get())) }
}

struct Question<'a> {
    accountant: &'a dyn Accountant,
    target: f64,
    delta: Delta,
}

impl Question<'_> {
    fn ask(&self, event: &Event) -> Result<Bound, Uncalibrated> {
        match self.accountant.epsilon(event, self.delta) {
            // Numbers beyond f64 mean a loss beyond every target: the search goes on to more privacy.
            Err(Unaccountable::Overflow { .. }) => {
                Ok(Bound::new(0.0, f64::INFINITY, f64::INFINITY, self.accountant.name())
                    .map_err(Unaccountable::Contradiction)?)
            }
            // The search may pass through plans that the contour cannot certify: the Renyi bound holds there too, and the
            // answer says whose it is.
            Err(Unaccountable::Uncertified { .. }) => {
                Ok(Rdp::new(self.accountant.relation()).epsilon(event, self.delta)?)
            }
            answer => Ok(answer?),
        }
    }

    fn answer<T>(&self, value: T, bound: Bound, capped: bool) -> Calibrated<T> {
        Calibrated { value, bound, slack: self.target - bound.upper(), capped }
    }
}

/// The value nearest to `range.1` that stays within the target, when `range.0` is the private end.
///
/// Brackets from `start` by growing factors in the direction needed, then narrows.
fn boundary(
    parameter: &'static str,
    ask: impl Fn(f64) -> Result<Bound, Uncalibrated>,
    target: f64,
    range: (f64, f64),
    start: f64,
) -> Result<(f64, Bound, bool), Uncalibrated> {
    let (private, other) = range;
    let toward = |value: f64, end: f64, factor: f64| {
        if end > value { (value * factor).min(end) } else { (value / factor).max(end) }
    };
    let first = ask(start)?;
    let mut factor = 2.0;
    let (mut safe, mut over) = if first.upper() <= target {
        let mut safe = (start, first);
        loop {
            if safe.0 == other {
                return Ok((safe.0, safe.1, true));
            }
            let next = toward(safe.0, other, factor);
            let answer = ask(next)?;
            if answer.upper() > target {
                break (safe, (next, answer));
            }
            safe = (next, answer);
            factor *= 2.0;
        }
    } else {
        let mut over = (start, first);
        loop {
            if over.0 == private {
                let (from, to) = (private.min(other), private.max(other));
                return Err(Uncalibrated::Unreachable { parameter, from, to, target, least: over.1.upper() });
            }
            let next = toward(over.0, private, factor);
            let answer = ask(next)?;
            if answer.upper() <= target {
                break ((next, answer), over);
            }
            over = (next, answer);
            factor *= 2.0;
        }
    };
    let mut narrow = Narrow::default();
    while (safe.0 / over.0).ln().abs() > TOLERANCE {
        let next = narrow.next((safe.0, safe.1.upper()), (over.0, over.1.upper()), target);
        let answer = ask(next)?;
        if answer.upper() <= target {
            safe = (next, answer);
        } else {
            over = (next, answer);
        }
    }
    Ok((safe.0, safe.1, false))
}

/// Chooses the next point inside a bracket: the secant in logarithms, and the middle whenever that is not enough.
#[derive(Default)]
struct Narrow {
    turn: u32,
}

impl Narrow {
    /// Points are (value, epsilon). The result lies strictly between them.
    fn next(&mut self, safe: (f64, f64), over: (f64, f64), target: f64) -> f64 {
        self.turn += 1;
        let (a, b) = (safe.0.ln(), over.0.ln());
        let width = b - a;
        let (below, above) = ((safe.1 / target).ln(), (over.1 / target).ln());
        let secant = -below / (above - below);
        // Every third point is the middle, so that the width at least halves every three evaluations; otherwise the
        // secant, moved a little past the root to the side of the end that is farther from it, so that both ends close.
        let share = if self.turn.is_multiple_of(3) || !secant.is_finite() {
            0.5
        } else {
            let nudge = (0.3 * TOLERANCE / width.abs()).min(0.25);
            let nudged = if secant < 0.5 { secant + nudge } else { secant - nudge };
            let least = (0.1 * TOLERANCE / width.abs()).min(0.1);
            nudged.clamp(least, 1.0 - least)
        };
        (a + share * width).exp()
    }
}
