//! The last value on the safe side of a target: brackets by growing factors, then narrows by interpolation.

use super::question::Question;
use super::{Calibrated, Range, Uncalibrated, guess};
use crate::bound::Bound;
use crate::event::Event;
use crate::parameters::OutOfDomain;

/// Relative distance between the value returned and one that exceeds the target.
const TOLERANCE: f64 = 1e-6;

/// The first factor away from a guess by the central limit theorem, and from a start that is none. Each next one is the
/// square of the last.
const FACTORS: (f64, f64) = (1.05, 2.0);

/// The value nearest to `range.useful()` that stays within the target. `start` is where to begin without a guess.
pub(super) fn boundary(
    question: &Question<'_>,
    plan: impl Fn(f64) -> Result<Event, OutOfDomain>,
    range: Range,
    start: Option<f64>,
) -> Result<Calibrated<f64>, Uncalibrated> {
    let (guess, factor) = match guess::start(question, &plan, range) {
        Some(guess) => (guess, FACTORS.0),
        None => (start.unwrap_or((range.private() * range.useful()).sqrt()), FACTORS.1),
    };
    let ask = |value: f64| question.ask(&plan(value)?);
    let toward = |value: f64, end: f64, factor: f64| {
        if end > value { (value * factor).min(end) } else { (value / factor).max(end) }
    };
    let least = range.private().min(range.useful());
    let guess = guess.clamp(least, range.private().max(range.useful()));
    let (mut safe, mut over) = match bracket(question, &ask, toward, range, guess, factor)? {
        (safe, Some(over)) => (safe, over),
        (safe, None) => return Ok(question.answer(safe.0, safe.1, true)),
    };
    let mut narrow = Narrow::default();
    while (safe.0 / over.0).ln().abs() > TOLERANCE {
        let mut next = narrow.next(&safe, &over, question.target);
        if next == safe.0 || next == over.0 {
            // Below the normal numbers a place near an end may be that end: the middle is one only between neighbours.
            next = safe.0 + 0.5 * (over.0 - safe.0);
        }
        if next == safe.0 || next == over.0 {
            break;
        }
        let answer = ask(next)?;
        narrow.replace(&mut safe, &mut over, (next, answer), question.target);
    }
    Ok(question.answer(safe.0, safe.1, false))
}

/// The largest whole number from 1 to `most` that stays within the target.
pub(super) fn whole(
    question: &Question<'_>,
    plan: impl Fn(u64) -> Result<Event, OutOfDomain>,
    most: u64,
) -> Result<Calibrated<u64>, Uncalibrated> {
    // Whole numbers up to 2^53 are exact as f64; larger ones are asked as whole numbers all the same, and `most` as itself.
    let exact = |value: f64| if value >= most as f64 { most } else { (value as u64).clamp(1, most) };
    let at = |value: f64| plan(exact(value));
    let range = Range { private: 1.0, useful: most as f64 };
    let (guess, factor) = match guess::start(question, at, range) {
        Some(guess) => (guess.floor().clamp(1.0, most as f64), FACTORS.0),
        None => (1.0, FACTORS.1),
    };
    let ask = |value: f64| question.ask(&at(value)?);
    let toward = |value: f64, end: f64, factor: f64| {
        if end > value {
            (value * factor).floor().max(value + 1.0).min(end)
        } else {
            (value / factor).floor().min(value - 1.0).max(end)
        }
    };
    let (mut safe, mut over) = match bracket(question, &ask, toward, range, guess, factor)? {
        (safe, Some(over)) => (safe, over),
        (safe, None) => return Ok(question.answer(exact(safe.0), safe.1, true)),
    };
    let mut narrow = Narrow::default();
    // Neighbours are 1 apart, or neighbouring numbers beyond 2^53.
    while over.0 - safe.0 > 1.0 && safe.0.next_up() < over.0 {
        let inside = (safe.0 + 1.0, over.0 - 1.0);
        let next = narrow.next(&safe, &over, question.target).floor().clamp(inside.0, inside.1);
        if next == safe.0 || next == over.0 {
            break;
        }
        let answer = ask(next)?;
        narrow.replace(&mut safe, &mut over, (next, answer), question.target);
    }
    Ok(question.answer(exact(safe.0), safe.1, false))
}

type Asked = (f64, Bound);

/// A value within the target and one beyond it, or none beyond when the useful end is within. `toward` moves a value by a
/// factor toward an end of the range, and not beyond.
fn bracket(
    question: &Question<'_>,
    ask: &impl Fn(f64) -> Result<Bound, Uncalibrated>,
    toward: impl Fn(f64, f64, f64) -> f64,
    range: Range,
    start: f64,
    factor: f64,
) -> Result<(Asked, Option<Asked>), Uncalibrated> {
    let Range { private, useful } = range;
    let mut here = (start, ask(start)?);
    let mut factor = factor;
    let within = here.1.upper() <= question.target;
    let end = if within { useful } else { private };
    while here.0 != end {
        let next = toward(here.0, end, factor);
        let answer = ask(next)?;
        if (answer.upper() <= question.target) != within {
            let there = (next, answer);
            return Ok(if within { (here, Some(there)) } else { (there, Some(here)) });
        }
        here = (next, answer);
        factor *= factor;
    }
    if within {
        return Ok((here, None));
    }
    Err(question.unreachable(private.min(useful), private.max(useful), here.1))
}

/// Chooses the next point inside a bracket: interpolation in logarithms, and the middle whenever that is not enough.
#[derive(Default)]
struct Narrow {
    turn: u32,
    /// The point that left the bracket last.
    left: Option<Asked>,
    /// The width of the bracket three turns ago.
    width: f64,
}

impl Narrow {
    /// The next value, strictly between the two.
    fn next(&mut self, safe: &Asked, over: &Asked, target: f64) -> f64 {
        let (a, b) = (safe.0.ln(), over.0.ln());
        let width = b - a;
        // Every third point is the middle unless the width has fallen to a half since the last one.
        let slow = self.turn.is_multiple_of(3) && self.turn > 0 && width.abs() > 0.5 * self.width;
        if self.turn.is_multiple_of(3) {
            self.width = width.abs();
        }
        self.turn += 1;
        let excess = |asked: &Asked| (asked.1.upper() / target).ln();
        let (below, above) = (excess(safe), excess(over));
        let secant = -below / (above - below);
        let curved = self.left.as_ref().and_then(|left| {
            let share = (left.0.ln() - a) / width;
            inverse_quadratic((0.0, below), (1.0, above), (share, excess(left)))
        });
        let share = curved.unwrap_or(secant);
        let share = if slow || !share.is_finite() {
            0.5
        } else {
            // Moved a little past the root, to the side of the end that is farther from it, so that both ends close.
            let nudge = (0.3 * TOLERANCE / width.abs()).min(0.25);
            let nudged = if share < 0.5 { share + nudge } else { share - nudge };
            let least = (0.1 * TOLERANCE / width.abs()).min(0.1);
            nudged.clamp(least, 1.0 - least)
        };
        (a + share * width).exp()
    }

    fn replace(&mut self, safe: &mut Asked, over: &mut Asked, next: Asked, target: f64) {
        let end = if next.1.upper() <= target { safe } else { over };
        self.left = Some(std::mem::replace(end, next));
    }
}

/// The place of the zero of the parabola x(y) through three points (x, y), when it lies in (0, 1).
fn inverse_quadratic(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> Option<f64> {
    let term = |p: (f64, f64), q: (f64, f64), r: (f64, f64)| p.0 * q.1 * r.1 / ((p.1 - q.1) * (p.1 - r.1));
    let place = term(a, b, c) + term(b, a, c) + term(c, a, b);
    // NaN and infinities are in no interval.
    (0.0 < place && place < 1.0).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_parabola_is_met_exactly() {
        // x = 0.3 + 0.5 y + 0.1 y^2
        let at = |y: f64| (0.3 + 0.5 * y + 0.1 * y * y, y);
        let zero = inverse_quadratic(at(-0.7), at(0.9), at(2.0));
        assert!(zero.is_some_and(|x| (x - 0.3).abs() < 1e-14), "{zero:?}");
        assert_eq!(inverse_quadratic((0.0, f64::NEG_INFINITY), (1.0, 1.0), (2.0, 2.0)), None);
    }
}
