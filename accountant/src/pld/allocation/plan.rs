//! Where the ladder stands: its finest steps, its ends, what may be cut.

use super::ladder::{Ladder, WIDTH};
use super::lognormal::LogNormal;
use super::rung::{Lost, Rung};
use crate::normal;
use crate::pld::lattice::Side;

/// The finest step is the standard deviation of the whole sum over this, or less.
const RESOLUTION: f64 = 128.0;

/// Exponents of two within which all values stay; points of the finest step up to the centre, which integers must count.
const RANGE: f64 = 900.0;
const MOST_POINTS: f64 = 1e15;

/// Steps beyond which rounding would be too much, the longest lowest rung of one likelihood ratio, and how many rungs are
/// summed in all: some seconds.
const MOST_STEPS: f64 = 1e9;
const LONGEST: f64 = 2e4;
const MOST_RUNGS: f64 = 6000.0;

/// The finest steps of the partial sums, their common centre, and the mass that may be cut from each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    one: LogNormal,
    steps: u64,
    /// 0 or 1: see [`Ladder::centre`].
    centre: f64,
    /// log2 of the finest step of the whole sum.
    finest: f64,
    pub(super) tail: f64,
}

impl Plan {
    /// For so many steps and this noise multiplier; `None` where values would leave the range of numbers.
    ///
    /// Errors of n partial sums add up like those of independent variables, so a sum of n of t summands has steps
    /// sqrt(n/t) times those of the whole. These are a fraction of its standard deviation if that is below a quarter of
    /// its mean. If not, the sum is often far below its mean, where the losses of ADD need accuracy relative to the sum:
    /// then the steps are a fraction of the least value that the sum takes but for `tail`.
    pub(super) fn new(noise_multiplier: f64, steps: u64, tail: f64) -> Option<Self> {
        let (s, t) = (noise_multiplier, steps as f64);
        if !(s > 0.0 && s.is_finite() && (1.0..=MOST_STEPS).contains(&t) && tail > 0.0 && tail < 1.0) {
            return None;
        }
        let tail = tail.max(1e-250);
        let precision = s.powi(-2);
        let deviation = (t * precision.exp_m1()).sqrt();
        let one = LogNormal { noise_multiplier };
        let centre = if 4.0 * deviation < t { 1.0 } else { 0.0 };
        // Choices, not promises: nothing here needs to be exact.
        let least = if centre > 0.0 {
            f64::INFINITY
        } else {
            // P(S < x) <= P(Y < x)^t, and for non-negative summands P(S < t - x) <= exp(-x^2 / (2 t E Y^2)) (Maurer 2003).
            let all = (quantile((tail.ln() / t).exp()) / s - 0.5 * precision).exp();
            all.max(t - (-2.0 * tail.ln() * t * precision.exp()).sqrt())
        };
        let finest = (deviation / RESOLUTION).min(least / WIDTH as f64).log2();
        let plan = Self { one, steps, centre, finest, tail };
        let top = (0.5 * precision + (-2.0 * (tail / t).ln()).sqrt() / s + 1.0) / std::f64::consts::LN_2;
        let sums = 1.0 + f64::from(steps.ilog2() + steps.count_ones());
        let fits = finest - t.log2() > -RANGE
            && top + t.log2() < RANGE
            && centre * t / finest.exp2() < MOST_POINTS
            && sums * (top - f64::from(plan.exponent(1)) - (WIDTH as f64).log2()) < MOST_RUNGS;
        fits.then_some(plan)
    }

    /// The exponent of the lowest rung of a sum of so many.
    pub(super) fn exponent(&self, count: u64) -> i32 {
        (self.finest + 0.5 * (count as f64 / self.steps as f64).log2()).floor() as i32
    }

    /// The law of one likelihood ratio, cut where all of them together cost an eighth of `tail` at each end.
    pub(super) fn one(&self, side: Side) -> Option<Ladder> {
        let exponent = self.exponent(1);
        let mut ladder = Ladder::new(side, self.centre, 1, exponent);
        let t = self.steps as f64;
        // What dropping a part of every ratio costs under P, or under Q: as in `trimmed`.
        let cheap = |(mass, moment): (f64, f64)| (moment + t * mass) * 8.0 <= self.tail;
        let s = self.one.noise_multiplier;
        let value = |z: f64| (z / s - 0.5 / (s * s)).exp();
        // Normal quantiles: some 300 at most.
        let eighths = || (0..).map(|k| 0.125 * f64::from(k));
        let top = eighths().map(|z| value(1.0 / s + z)).find(|y| cheap(self.one.above(*y)))?;
        let bottom = eighths().map(|z| value(-z)).find(|y| cheap(self.one.below(*y)))?;

        let finest = 2_f64.powi(exponent);
        let bottom = if self.centre > 0.0 { (bottom / finest).floor() } else { 0.0 };
        if self.centre / finest - bottom > LONGEST {
            return None;
        }
        let mut from = bottom as i64;
        let below = if from > 0 { self.one.below(bottom * finest) } else { (0.0, 0.0) };
        for exponent in exponent.. {
            let step = 2_f64.powi(exponent);
            // Even, so that the next rung, on steps twice as long, begins where this one ends.
            let end = 2 * ((0.5 * self.centre / step).ceil() as i64 + WIDTH);
            let (rung, error) = self.cells(from, end, step, side);
            ladder.error = ladder.error.max(error);
            ladder.settle(exponent, rung);
            let reached = end as f64 * step;
            if reached >= top {
                let above = self.one.above(reached);
                // The factor covers the rounding of the tails.
                let lost = |below: f64, above: f64| (below + above) * (1.0 + 1e-9);
                ladder.lost = Lost { mass: lost(below.0, above.0), moment: lost(below.1, above.1) };
                break;
            }
            from = end / 2;
        }
        // Two cells meet in a point.
        ladder.error += f64::EPSILON;
        Some(self.trimmed(ladder))
    }

    /// The cells from one point to another, and the largest relative error of their masses.
    fn cells(&self, from: i64, end: i64, step: f64, side: Side) -> (Rung, f64) {
        let cells: Vec<_> = (from..end).map(|point| self.one.cell(point, step)).collect();
        let error = cells.iter().fold(0.0_f64, |most, cell| most.max(cell.error));
        let lowers = cells.iter().map(|cell| cell.lower);
        let uppers = cells.iter().map(|cell| cell.upper);
        let rung = match side {
            Side::Upper => {
                // Each point gets the lower part of the cell above it and the upper part of the one below.
                let masses = lowers.chain([0.0]).zip([0.0].into_iter().chain(uppers)).map(|(a, b)| a + b).collect();
                Rung { first: from, masses, moments: Vec::new() }
            }
            Side::Lower => {
                let masses = lowers.zip(uppers.clone()).map(|(a, b)| a + b).collect();
                Rung { first: from, masses, moments: uppers.collect() }
            }
        };
        (rung, error)
    }

    /// Drops what is cheap at the ends of every rung.
    pub(super) fn trimmed(&self, mut ladder: Ladder) -> Ladder {
        let (count, t) = (ladder.count as f64, self.steps as f64);
        let copies = (t / count).ceil();
        let budget = self.tail / (8.0 * (1.0 + 2.0 * t.log2()));
        // As a loss under P or under Q of any of the copies; the means of the others are their counts.
        ladder.trim(budget, |value, mass| copies * mass * ((value + t - count) / t).max(1.0));
        ladder
    }
}

/// The standard normal quantile, roughly: bisection.
fn quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if normal::tail(-middle) < probability { low = middle } else { high = middle }
    }
    low
}
