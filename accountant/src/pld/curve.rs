//! One side of one direction of a composition: bounds on delta at lattice points, and what they prove between them.
//!
//! A law on a lattice has a profile that is linear in e^eps between lattice points, so bounds at both ends of an interval
//! are bounds within it.

use super::lattice::{Points, Side};
use super::transform::{Composed, tilt};
use crate::exponentials::{ln_kappa, minus_ln_expm1};

const E: f64 = f64::EPSILON;

/// One side of the profile of a composition.
#[derive(Debug)]
pub(super) struct Curve {
    composed: Composed,
    side: Side,
    /// (c', ln of kappa(c') M(c')), rounded up: the order that bounds the aliases from above.
    far: Option<(f64, f64)>,
    /// Where epsilon is expected.
    guess: f64,
}

/// How a curve is to be computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// The tilt.
    pub(super) c: f64,
    /// A larger one, to bound aliases with.
    pub(super) far: f64,
    /// Points of the transform.
    pub(super) size: usize,
    /// Where epsilon is expected.
    pub(super) guess: f64,
}

impl Curve {
    /// The curve of laws on one lattice, with counts.
    pub(super) fn new(placed: &[(Points, u64)], side: Side, setting: Setting) -> Option<Self> {
        let composed = Composed::new(placed, setting.c, setting.size)?;
        let moment = placed.iter().try_fold(0.0, |sum, (points, count)| {
            let (moment, error, _) = tilt(points, setting.far)?;
            Some(sum + *count as f64 * (moment + error + E * moment.abs()))
        });
        let far = moment.filter(|ln: &f64| ln.is_finite()).map(|ln| (setting.far, ln + ln_kappa(setting.far)));
        Some(Self { composed, side, far, guess: setting.guess })
    }

    /// The loss at a point.
    fn loss(&self, point: i64) -> f64 {
        self.composed.step * point as f64 + self.composed.offset
    }

    /// The first point that is no epsilon below 0.
    fn zero(&self) -> i64 {
        self.place(0.0).ceil() as i64
    }

    /// Where a loss lies in units of points.
    fn place(&self, loss: f64) -> f64 {
        ((loss - self.composed.offset) / self.composed.step).clamp(-9e15, 9e15)
    }

    /// e^{ln M - c eps} at a lattice point: its logarithm, and that one's error.
    fn ln_scale(&self, point: i64) -> (f64, f64) {
        let shift = self.composed.c * self.loss(point);
        let ln = self.composed.ln_moment - shift;
        (ln, self.composed.ln_moment_error + 6.0 * E * (self.composed.ln_moment.abs() + shift.abs() + 2.0))
    }

    /// A bound from above on delta at this lattice point. Aliases only add.
    fn upper(&self, point: i64) -> f64 {
        let finite = if i128::from(point) >= self.composed.top {
            0.0
        } else {
            let (ln, error) = self.ln_scale(point);
            let value = self.composed.value(point) + self.composed.error;
            // Written such that what is not a number stays it.
            (if value < 0.0 { 0.0 } else { value }) * (ln + error).exp() + f64::MIN_POSITIVE
        };
        let all = (self.composed.infinite.1 + finite) * (1.0 + 8.0 * E);
        if all.is_nan() { 1.0 } else { all.min(1.0) }
    }

    /// A bound from below on delta at this lattice point.
    fn lower(&self, point: i64) -> f64 {
        let (ln, error) = self.ln_scale(point);
        let value = (self.composed.value(point) - self.composed.error).max(0.0) * (ln - error).exp();
        let circle = self.composed.circle();
        let epsilon = self.loss(point);
        let c = self.composed.c;
        let below = minus_ln_expm1(c * circle).exp();
        let size = (circle / self.composed.step) as i64;
        let above = if i128::from(point) + i128::from(size) >= self.composed.top {
            0.0
        } else {
            self.far.map_or(f64::INFINITY, |(far, ln)| {
                let turn = minus_ln_expm1((far - c) * circle);
                (ln - far * epsilon + turn + 1e-12 * (ln.abs() + far * epsilon.abs() + turn.abs())).exp()
            })
        };
        let finite = (value - (below + above) * (1.0 + 1e-9)).max(0.0);
        let all = (self.composed.infinite.0.max(0.0) + finite) * (1.0 - 8.0 * E);
        if all.is_nan() { 0.0 } else { all.min(1.0) }
    }

    fn at(&self, point: i64) -> f64 {
        if self.side == Side::Upper { self.upper(point) } else { self.lower(point) }
    }

    /// This side's bound on delta at any epsilon >= 0.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let step = self.composed.step;
        // Wrong losses are wrong epsilons.
        let doubt = self.composed.doubt + 4.0 * E * epsilon;
        let epsilon = if self.side == Side::Upper { epsilon - doubt } else { epsilon + doubt };
        let low = self.place(epsilon).floor() as i64;
        let above = (epsilon - self.loss(low)).clamp(0.0, step);
        // (e^above - 1)/(e^step - 1), without overflow; what is not a number counts as the end that is safe.
        let share = (above - step).exp() * (-above).exp_m1() / (-step).exp_m1();
        let safe = if self.side == Side::Upper { 0.0 } else { 1.0 };
        let share = if share.is_nan() { safe } else { share.clamp(0.0, 1.0) };
        (1.0 - share) * self.at(low) + share * self.at(low + 1)
    }

    /// This side's bound on epsilon at any delta.
    pub(super) fn epsilon(&self, delta: f64) -> f64 {
        if self.side == Side::Upper { self.epsilon_above(delta) } else { self.epsilon_below(delta) }
    }

    /// An epsilon at which delta is proved to be no larger. Whatever the search does, its result is proved.
    fn epsilon_above(&self, delta: f64) -> f64 {
        let left = delta - self.composed.infinite.1 * (1.0 + 4.0 * E);
        if left <= 0.0 {
            return f64::INFINITY;
        }
        let step = self.composed.step;
        // One order alone.
        let c = self.composed.c;
        let size = self.composed.ln_moment.abs() + left.ln().abs() + 2.0;
        let simple =
            (self.composed.ln_moment + self.composed.ln_moment_error + ln_kappa(c) - left.ln() + 8.0 * E * size) / c;
        let top = self.composed.top as f64 * step + self.composed.offset;
        let simple =
            simple.min(top + 4.0 * E * (top.abs() + self.composed.offset.abs())).max(0.0) + self.composed.doubt;
        let holds = |point: i64| self.upper(point) <= delta;
        // Epsilon is 0 where delta(0) is proved, be it between two points.
        if self.delta(0.0) <= delta {
            return 0.0;
        }
        let zero = self.zero();
        let start = (self.place(self.guess).ceil() as i64).max(zero);
        let above = (0..40).map(|k| start + (1_i64 << k) - 1).find(|point| holds(*point));
        let Some(mut high) = above else { return simple };
        // Down to a point at which it does not hold, then between the two.
        let mut low = zero - 1;
        for k in 0..62 {
            let next = high - (1_i64 << k);
            if next < zero {
                break;
            }
            if !holds(next) {
                low = next;
                break;
            }
            high = next;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle) { high = middle } else { low = middle }
        }
        let between = interpolate(step, self.upper(high - 1), self.upper(high), delta);
        let rounding = 4.0 * E * (self.loss(high).abs() + self.composed.offset.abs() + step);
        // The point itself is proved in any case.
        let found = (self.loss(high - 1) + between).min(self.loss(high)) + rounding + self.composed.doubt;
        if found.is_nan() { simple } else { found.max(0.0).min(simple) }
    }

    /// An epsilon at which delta is proved to be no smaller; 0 where nothing is proved.
    fn epsilon_below(&self, delta: f64) -> f64 {
        if self.composed.infinite.0 > delta {
            return f64::INFINITY;
        }
        let step = self.composed.step;
        let holds = |point: i64| self.lower(point) >= delta;
        let zero = self.zero();
        let start = (self.place(self.guess).floor() as i64).max(zero);
        let below = std::iter::once(start)
            .chain((0..62).map(|k| start - (1_i64 << k)).take_while(|point| *point > zero))
            .chain([zero, zero - 1])
            .find(|point| holds(*point));
        let Some(mut low) = below else { return 0.0 };
        let mut high = low;
        for k in 0..62 {
            high = low.saturating_add(1_i64 << k);
            if !holds(high) {
                break;
            }
            low = high;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle) { low = middle } else { high = middle }
        }
        let between = interpolate(step, self.lower(low), self.lower(low + 1), delta);
        let rounding = 4.0 * E * (self.loss(low).abs() + self.composed.offset.abs() + step);
        (self.loss(low) + between - rounding - self.composed.doubt).max(0.0)
    }
}

/// How far above a lattice point a profile that is `before` there and `after` one step later meets delta, linear in e^eps.
fn interpolate(step: f64, before: f64, after: f64, delta: f64) -> f64 {
    let share = (before - delta) / (before - after);
    if share <= 0.0 {
        return 0.0;
    }
    // ln(1 + share (e^h - 1)), without overflow; the second form without cancellation where e^-h vanishes beside 1.
    let share = if share > 1.0 { 1.0 } else { share };
    let below = if step < 1.0 {
        ((1.0 - share) * (-step).exp_m1()).ln_1p()
    } else {
        (share + (1.0 - share) * (-step).exp()).ln()
    };
    // What is not a number stays it: above, the point after is taken instead, below, 0.
    (step + below).clamp(0.0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_points_delta_is_linear_in_the_exponential() {
        for step in [1e-6, 0.3, 1.0, 50.0, 2e3] {
            // Where delta is so little below the bound before that 1 - share rounds to 1, epsilon is still known.
            for share in [1e-30_f64, 1e-17, 1e-3, 0.4, 1.0 - 1e-15] {
                let got = interpolate(step, share, share - 1.0, 0.0);
                let want = if step > 700.0 { step + share.ln() } else { (share * step.exp_m1()).ln_1p() };
                assert!((got - want).abs() <= 1e-14 * step, "{step} {share}: {got} {want}");
            }
        }
        assert!(interpolate(1.0, f64::NAN, 0.0, 0.5).is_nan());
    }
}
