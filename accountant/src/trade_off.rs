//! What an attacker can achieve: true positive rate at a false positive rate, advantage, the equivalent mu.
//!
//! An attacker decides from the release whether a unit was in the data. With the false positive rate a and the true
//! positive rate g(a) of the best attack, the privacy profile and g determine each other (Dong, Roth & Su 2022):
//! with the slope s = e^eps,
//!
//! g(a) = min over s > 0 of D(s) + s a,   D(s) = delta(ln s) for s >= 1,   D(s) = 1 - s + s delta(-ln s) for s < 1,
//!
//! the second form because delta(eps) is the worst over both orders of the two data sets. D is convex: it is the largest
//! of the functions P(S) - s Q(S), each linear in s, over all sets S and all pairs of outcomes' laws.
//!
//! delta(eps) is the larger of both orders, so g is the least concave curve above the curves of both: what an attacker
//! achieves who is told which order it is, and may be drawn any mixture of the two. No attack on either order exceeds it, so
//! upper true positive rates and lower errors hold for each; its lower true positive rates and upper errors need not be
//! reached in one order alone where the pair is not symmetric.
//!
//! From D at finitely many slopes:
//! * **upper**: each slope by itself bounds g from above;
//! * **lower**: between two slopes a convex function lies above the line through the two points to the left of the cell,
//!   above that through the two to its right, and, as it falls, above its value at the right end. Where a point enters a
//!   line with a positive weight its lower bound is taken, with a negative one its upper bound. Beyond the last slope
//!   D >= 0, below the first D >= 1 - s.

mod cell;
mod mu;

use crate::accountant::{Accountant, Unaccountable};
use crate::bound::Bound;
use crate::curve::{self, Point};
use crate::event::Event;
use crate::parameters::{Delta, Epsilon, Probability};
use cell::{Line, least};

/// Epsilons of the usual profile.
const PLACES: u32 = 160;

/// Largest epsilon of a profile: e^700 is a number.
const MOST: f64 = 700.0;

/// The deltas tried for the end of the usual profile.
const ENDS: [f64; 4] = [1e-12, 1e-9, 1e-6, 1e-3];

/// The trade-off curve of an event between two bounds, from its privacy profile at finitely many epsilons.
#[derive(Debug, Clone, PartialEq)]
pub struct TradeOff {
    profile: Vec<Point<Epsilon>>,
    slopes: Vec<Slope>,
}

/// D at one slope s = e^x.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slope {
    x: f64,
    lower: f64,
    upper: f64,
}

impl TradeOff {
    /// From the profile at 160 epsilons, up to the one at which delta is 1e-12 and a little beyond.
    ///
    /// # Errors
    /// [`Unaccountable`] when the accountant refuses the event.
    pub fn new(accountant: &dyn Accountant, event: &Event) -> Result<Self, Unaccountable> {
        let mut end =
            Err(Unaccountable::Uncertified { accountant: accountant.name(), reason: "no delta was certified" });
        for delta in ENDS.into_iter().flat_map(Delta::new) {
            end = accountant.epsilon(event, delta).map(|bound| bound.upper().min(MOST));
            if !matches!(end, Err(Unaccountable::Uncertified { .. })) {
                break;
            }
        }
        let end = end?;
        // A little beyond, where the delta of a pure guarantee is 0.
        let places = (0..PLACES).map(|k| end * f64::from(k) / f64::from(PLACES - 1)).chain([1.01 * end]);
        let places: Vec<Epsilon> = places.flat_map(Epsilon::new).collect();
        Self::at(accountant, event, &places)
    }

    /// From the profile at these epsilons, and 0. More of them make the bounds tighter; any of them are valid. Epsilons
    /// above 700 say nothing that can be written as a rate, and are left out.
    ///
    /// # Errors
    /// [`Unaccountable`] when the accountant refuses the event.
    pub fn at(accountant: &dyn Accountant, event: &Event, epsilons: &[Epsilon]) -> Result<Self, Unaccountable> {
        let places = epsilons.iter().copied().filter(|epsilon| epsilon.get() <= MOST);
        let places: Vec<Epsilon> = places.chain(Epsilon::new(0.0)).collect();
        let profile = curve::deltas(accountant, event, &places)?;
        let mirrored = profile.iter().rev().filter(|point| point.at.get() > 0.0).map(|point| {
            let s = (-point.at.get()).exp();
            // 1 - s (1 - delta), good to a few units of 2^-53.
            let rounding = 4.0 * f64::EPSILON;
            Slope {
                x: -point.at.get(),
                lower: 1.0 - s * (1.0 - point.bound.lower()) - rounding,
                upper: 1.0 - s * (1.0 - point.bound.upper()) + rounding,
            }
        });
        let given = profile.iter().map(|point| Slope {
            x: point.at.get(),
            lower: point.bound.lower(),
            upper: point.bound.upper(),
        });
        let slopes = mirrored.chain(given).collect();
        Ok(Self { profile, slopes })
    }

    /// The profile it comes from.
    #[must_use]
    pub fn profile(&self) -> &[Point<Epsilon>] {
        &self.profile
    }

    /// The true positive rate of the best attack that has this false positive rate.
    ///
    /// # Errors
    /// [`Unaccountable::Contradiction`] when the profile is none.
    pub fn true_positive_rate(&self, false_positive_rate: Probability) -> Result<Bound, Unaccountable> {
        let a = false_positive_rate.get();
        // Slope, product and sum each carry a rounding.
        let up = 1.0 + 4.0 * f64::EPSILON;
        let upper = self.slopes.iter().map(|slope| (slope.upper + slope.x.exp() * a) * up).fold(1.0, f64::min);
        let lower = self.at_least(a).max(0.0);
        // Ends that cross by more than roundings are for `Bound` to report.
        let lower = if lower - upper < 1e-12 { lower.min(upper) } else { lower };
        self.bound(lower, 0.5 * (lower + upper), upper)
    }

    /// The false negative rate of the best attack that has this false positive rate: the trade-off function.
    ///
    /// # Errors
    /// As for [`true_positive_rate`](Self::true_positive_rate).
    pub fn false_negative_rate(&self, false_positive_rate: Probability) -> Result<Bound, Unaccountable> {
        let rate = self.true_positive_rate(false_positive_rate)?;
        // The subtractions round by half a unit of 2^-53 at most.
        let (lower, upper) = (1.0 - rate.upper() - f64::EPSILON, 1.0 - rate.lower() + f64::EPSILON);
        let (lower, upper) = (lower.max(0.0), upper.min(1.0));
        self.bound(lower, (1.0 - rate.estimate()).clamp(lower, upper), upper)
    }

    /// The smallest mu such that the event is mu-Gaussian differentially private but for `floor`:
    ///
    /// delta(eps) <= max(delta_mu(eps), floor) at every eps >= 0,
    ///
    /// so that no attack does better against it than against one Gaussian of this mu by more than `floor` in the true
    /// positive rate. With a floor of 0 it is plain mu-GDP; only a profile that ends (pure differential privacy) or that
    /// is Gaussian is close to one, and no finite profile proves it for others: `upper` is then infinite. 1e-10 is a floor
    /// that no test will ever notice.
    ///
    /// # Errors
    /// As for [`true_positive_rate`](Self::true_positive_rate).
    pub fn mu(&self, floor: Probability) -> Result<Bound, Unaccountable> {
        let (lower, upper) = mu::equivalent(&self.profile, floor.get());
        self.bound(lower, if upper.is_finite() { upper } else { lower }, upper)
    }

    fn bound(&self, lower: f64, estimate: f64, upper: f64) -> Result<Bound, Unaccountable> {
        let accountant = self.profile.first().map_or("", |point| point.bound.accountant());
        Ok(Bound::new(lower, estimate, upper, accountant)?)
    }

    /// A lower bound on g(a): the least of D(s) + s a over all slopes, cell by cell.
    fn at_least(&self, a: f64) -> f64 {
        let slopes = &self.slopes;
        let beyond = slopes.last().map_or(0.0, |last| last.x.exp() * a);
        let below = slopes.first().map_or(0.0, |first| 1.0 - first.x.exp() * (1.0 - a) - 4.0 * f64::EPSILON);
        let mut lowest = beyond.min(below) * (1.0 - 4.0 * f64::EPSILON);
        for (k, cell) in slopes.windows(2).enumerate() {
            let [left, right] = cell else { continue };
            let size = right.x - left.x;
            // s a at both ends of the cell.
            let added = Line { left: left.x.exp() * a, right: right.x.exp() * a };
            let level = Line { left: right.lower, right: right.lower };
            let from_left = k.checked_sub(1).and_then(|before| slopes.get(before)).map(|before| {
                // (s_right - s_left) / (s_left - s_before)
                let ratio = size.exp_m1() / -(before.x - left.x).exp_m1();
                let rise = (left.lower - before.upper) * ratio;
                Line { left: left.lower, right: left.lower + rise }.less(ratio, left, before, size)
            });
            let from_right = slopes.get(k + 2).map(|after| {
                // (s_right - s_left) / (s_after - s_right)
                let ratio = -(-size).exp_m1() / (after.x - right.x).exp_m1();
                let rise = (right.lower - after.upper) * ratio;
                Line { left: right.lower + rise, right: right.lower }.less(ratio, right, after, size)
            });
            let lines = [Some(level), from_left, from_right].map(|line| line.map(|line| line.plus(added)));
            let lines: Vec<Line> = lines.into_iter().flatten().collect();
            lowest = lowest.min(least(&lines) * (1.0 - 4.0 * f64::EPSILON));
        }
        lowest
    }
}

impl Line {
    /// The line lowered by what the roundings of an extrapolation by `ratio` from two points can amount to: the ratio is
    /// known to a few units of the larger |x| over the distance of its points.
    fn less(self, ratio: f64, near: &Slope, far: &Slope, size: f64) -> Self {
        let doubt = 4.0 + near.x.abs().max(far.x.abs()) / (near.x - far.x).abs().min(size);
        let slack = 4.0 * f64::EPSILON * doubt * (1.0 + ratio) * (near.lower.abs() + far.upper.abs());
        Self { left: self.left - slack, right: self.right - slack }
    }
}

/// The advantage of the best attack: true less false positive rate, at most delta(0), and attained.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses the event.
pub fn advantage(accountant: &dyn Accountant, event: &Event) -> Result<Bound, Unaccountable> {
    match Epsilon::new(0.0) {
        Ok(zero) => accountant.delta(event, zero),
        Err(_) => Ok(Bound::new(0.0, 1.0, 1.0, accountant.name())?),
    }
}

/// The error probability of the best attack on a unit that is in the data with this prior probability:
/// p (1 - delta(ln((1 - p)/p))) with p the smaller of the prior and its complement. Guessing alone errs with p.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses the event.
pub fn bayes_error(accountant: &dyn Accountant, event: &Event, prior: Probability) -> Result<Bound, Unaccountable> {
    let p = prior.get().min(1.0 - prior.get());
    // An epsilon rounded up has a smaller delta: for the lower end it is rounded down, by more than its roundings.
    let epsilon = ((1.0 - p) / p).ln();
    let at = |epsilon: f64| match Epsilon::new(epsilon.max(0.0)) {
        Ok(epsilon) => accountant.delta(event, epsilon),
        // A prior of 0 or 1: nothing is left to guess.
        Err(_) => Ok(Bound::zero(accountant.name())),
    };
    let rounding = 4.0 * f64::EPSILON * (1.0 + epsilon);
    let (most, least) = (at(epsilon - rounding)?, at(epsilon + rounding)?);
    let lower = (p * (1.0 - most.upper()) * (1.0 - 4.0 * f64::EPSILON)).max(0.0);
    let upper = (p * (1.0 - least.lower()) * (1.0 + 4.0 * f64::EPSILON)).min(p).max(lower);
    Ok(Bound::new(lower, (p * (1.0 - most.estimate())).clamp(lower, upper), upper, most.accountant())?)
}

/// The mu of the Gaussian that has the same epsilon at this delta; no statement about other deltas.
///
/// # Errors
/// [`Unaccountable`] when the accountant refuses the event.
pub fn mu_at(accountant: &dyn Accountant, event: &Event, delta: Delta) -> Result<Bound, Unaccountable> {
    let bound = accountant.epsilon(event, delta)?;
    // At a fixed delta mu grows with epsilon.
    let lower = mu::at(bound.lower(), delta.get()).0;
    let upper = mu::at(bound.upper(), delta.get()).1;
    let estimate = mu::at(bound.estimate(), delta.get()).1;
    // Where epsilon is 0 the Gaussian of any smaller mu has it, too.
    let lower = if bound.lower() == 0.0 { 0.0 } else { lower };
    Ok(Bound::new(lower, estimate.clamp(lower, upper), upper, bound.accountant())?)
}
