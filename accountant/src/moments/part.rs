//! One sampled release in one direction, confined to the outcomes with one label: where its integrands live.
//!
//! Places z are oriented so that the loss grows with z: z = x for REMOVE and replace, z = -x for ADD. The integrands are
//! P v e^{cL}, P v and Q v, with |v| <= 1 the label, up to where it is cut off. To the left of a label without `low`,
//! where L <= 0, they are bounded by the masses of P and Q, Gaussians or mixtures of two.

use std::f64::consts::LN_2;

use super::direction::Direction;
use super::label::Label;
use crate::exponentials::ln_add;
use crate::normal::{LN_SQRT_2PI, ln_tail};
use crate::rdp::ln_ratio;
use crate::terms::Sampled;

#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) term: Sampled,
    pub(super) direction: Direction,
    pub(super) label: Label,
}

impl Part {
    /// x of an oriented place, and the other way round.
    pub(super) fn x(&self, z: f64) -> f64 {
        if self.direction == Direction::Add { -z } else { z }
    }

    /// u+ and u- at x.
    pub(super) fn exponents(&self, x: f64) -> (f64, f64) {
        let variance = self.term.noise_multiplier * self.term.noise_multiplier;
        ((x - 0.5) / variance, (-x - 0.5) / variance)
    }

    /// ln (P/n) e^{cL} at x, n the density of N(0, s^2).
    pub(super) fn ln_tilt(&self, c: f64, x: f64) -> f64 {
        let (power_plus, power_minus) = self.direction.powers(c);
        let (plus, minus) = self.exponents(x);
        let q = self.term.rate;
        let first = power_plus * ln_ratio(q, plus, 0.0).0;
        if power_minus == 0.0 { first } else { first + power_minus * ln_ratio(q, minus, 0.0).0 }
    }

    /// The oriented place where the loss is `loss` > 0. Not for ADD, whose losses end.
    pub(super) fn place(&self, loss: f64) -> f64 {
        let (q, variance) = (self.term.rate, self.term.noise_multiplier * self.term.noise_multiplier);
        let ln_expm1 = if loss > 30.0 { loss } else { loss.exp_m1().ln() };
        match self.direction {
            Direction::Remove | Direction::Add => {
                let a = ln_expm1 - q.ln();
                0.5 + variance * if a > 40.0 { a } else { a.exp().ln_1p() }
            }
            Direction::Replace => {
                // sinh(y) = (1-q)/q e^{1/(2 s^2)} sinh(loss/2), x = s^2 (y + loss/2)
                let ln_sinh = (-q).ln_1p() - q.ln() + 0.5 / variance + ln_expm1 - 0.5 * loss - LN_2;
                let y = if ln_sinh > 20.0 { ln_sinh + LN_2 } else { ln_sinh.exp().asinh() };
                variance * (y + 0.5 * loss)
            }
        }
    }

    /// P(beyond `high`) and P(beyond `high`) - Q(beyond `high`), and a bound on their relative and on the absolute error.
    pub(super) fn beyond(&self) -> (f64, f64, f64) {
        let (q, s) = (self.term.rate, self.term.noise_multiplier);
        let at = |centre: f64| self.label.ln_beyond(centre, s).exp();
        let (near, middle, far) = (at(1.0), at(0.0), at(-1.0));
        let (mass, excess) = match self.direction {
            Direction::Remove => ((1.0 - q) * middle + q * near, q * (near - middle)),
            Direction::Add => (middle, q * (middle - far)),
            Direction::Replace => ((1.0 - q) * middle + q * near, q * (near - far)),
        };
        // Each tail carries a few units of its exponent t^2/2.
        let t = (self.label.high.abs() + 1.0) / s.hypot(self.label.width);
        // A noise multiplier that is off by a factor 1 + doubt moves t by at most doubt (t + 1/s).
        let relative = 2e-14 + (16.0 * f64::EPSILON + 4.0 * self.term.doubt) * t * t;
        (mass * (1.0 + relative), excess, relative * (mass + q * (near + middle)))
    }

    /// ln of about P(label).
    pub(super) fn ln_mass(&self) -> f64 {
        if self.label.low == f64::NEG_INFINITY {
            return (-self.beyond().0.min(0.999)).ln_1p();
        }
        let low = Part { label: Label { high: self.label.low, ..self.label }, ..*self };
        low.beyond().0.ln()
    }

    /// Cells that cover what is to the left of a place below the centres of P and Q, ever larger, and ln of bounds on the
    /// masses of P and Q and on e^{cL} there.
    pub(super) fn left_of(&self, place: f64, c: f64) -> impl Iterator<Item = (f64, f64, f64, f64)> {
        /// Cells grow by this factor, so many times.
        const GROWTH: (f64, i32) = (1.3, 40);
        let (centre, s, part) = (self.direction.left(), self.term.noise_multiplier, *self);
        let end = move |k: i32| centre - (centre - place) * GROWTH.0.powi(k);
        (0..GROWTH.1).map(move |k| {
            let (from, to) = (if k + 1 == GROWTH.1 { f64::NEG_INFINITY } else { end(k + 1) }, end(k));
            let x = part.x(to);
            let loss = (part.ln_tilt(1.0, x) - part.ln_tilt(0.0, x)).min(0.0);
            (from, to, ln_tail((centre - to) / s), c * loss)
        })
    }

    /// Where sums may begin and end so that each integrand leaves out less than e^`goal` at either end, for orders up to
    /// `order`.
    pub(super) fn ends(&self, order: f64, goal: f64) -> (f64, f64) {
        let Label { low, high, width, reach } = self.label;
        let s = self.term.noise_multiplier;
        let right = |widths: f64| high + width * widths;
        let widths = self.enough(&right, order, goal);
        let right = if widths < reach { right(widths) } else { self.label.ends().1 };
        if low == f64::NEG_INFINITY {
            return (self.direction.left() - s * (-2.0 * goal).max(0.0).sqrt(), right);
        }
        let left = |widths: f64| low - width * widths;
        let widths = self.enough(&left, order, goal);
        (if widths < reach { left(widths) } else { self.label.ends().0 }, right)
    }

    /// ln of a bound on all integrands at the ends that the label makes.
    pub(super) fn ln_edges(&self, c: f64, (left, right): (f64, f64)) -> f64 {
        let s = self.term.noise_multiplier;
        let at = |z: f64| -0.5 * (z / s).powi(2) - s.ln() - LN_SQRT_2PI + self.label.ln(z).0 + self.ln_most_tilt(c, z);
        if self.label.low == f64::NEG_INFINITY { at(right) } else { ln_add(at(left), at(right)) }
    }

    /// How many widths beyond an end of the label all integrands have less than e^`goal` left: cells of half a width,
    /// each factor at its worse end.
    fn enough(&self, place: &dyn Fn(f64) -> f64, order: f64, goal: f64) -> f64 {
        const CELL: f64 = 0.5;
        let Label { width, reach, .. } = self.label;
        let s = self.term.noise_multiplier;
        let count = (reach / CELL).ceil().clamp(1.0, 1e3) as u32;
        let mut left = f64::NEG_INFINITY;
        for k in (0..count).rev() {
            let inner = f64::from(k) * CELL;
            let (a, b) = (place(inner), place(inner + CELL));
            let near = if a * b <= 0.0 { 0.0 } else { a.abs().min(b.abs()) / s };
            let most =
                -0.5 * (near * near + inner * inner) - s.ln() - LN_SQRT_2PI - LN_2 + self.ln_most_tilt(order, a.max(b));
            left = ln_add(left, most + (CELL * width).ln());
            if left > goal {
                return inner + CELL;
            }
        }
        0.0
    }

    /// ln of the largest of P e^{cL}, P and Q at an oriented place, over n; it grows with z but for Q.
    fn ln_most_tilt(&self, c: f64, z: f64) -> f64 {
        let x = self.x(z);
        // Q is n, n w+ at a negative x, or n w-: there, at most P or n.
        self.ln_tilt(c, x).max(self.ln_tilt(0.0, x)).max(0.0)
    }
}

/// The end beyond which the outcomes of a release are at most e^`ln_mass` of P.
pub(super) fn far_end(term: Sampled, direction: Direction, width: f64, ln_mass: f64) -> f64 {
    // P(N(0, 1) > t) <= e^{-t^2/2}/2.
    let deviation = term.noise_multiplier.hypot(width);
    let centred = deviation * (-2.0 * ln_mass).max(1.0).sqrt();
    let shifted = 1.0 + deviation * (-2.0 * (ln_mass - term.rate.ln())).max(1.0).sqrt();
    if direction == Direction::Add { centred } else { centred.max(shifted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doubt_covers_the_mass_beyond_whatever_the_noise_is() {
        // P and P - Q beyond the label (mpmath, 50 digits): at the noise stated, at one larger by the doubt with the label
        // where it is, and with the label in units of that noise.
        for (direction, (q, s), (high, width), doubt, rows) in BEYOND {
            let term = Sampled { rate: q, noise_multiplier: s, doubt, count: 1 };
            let part = Part { term, direction, label: Label::below(high, width, 17.0) };
            let (mass, excess, error) = part.beyond();
            for (want, surplus) in rows {
                let case = format!("{direction:?} {q} {s}: {mass} {excess} +- {error}, want {want} {surplus}");
                // The mass is rounded up by the relative error, the difference is not.
                assert!(mass >= want && mass - want <= 2.0 * error && (excess - surplus).abs() <= error, "{case}");
            }
            assert!(error < 1e-3 * mass, "{direction:?} {q} {s}: {mass} +- {error}");
        }
    }

    type Row = (Direction, (f64, f64), (f64, f64), f64, [(f64, f64); 3]);

    const BEYOND: [Row; 6] = [
        (
            Direction::Remove,
            (0.01, 1.0),
            (6.0, 0.5),
            1e-09,
            [
                (7.844_538_292_651_195e-8, 3.831_982_659_187_404e-8),
                (7.844_538_451_963_354e-8, 3.831_982_723_032_016_6e-8),
                (7.844_538_276_451_373e-8, 3.831_982_642_987_582_4e-8),
            ],
        ),
        (
            Direction::Remove,
            (1e-05, 8.0),
            (60.0, 4.0),
            1e-10,
            [
                (9.851_834_468_624_246e-12, 1.121_127_246_641_369_4e-16),
                (9.851_834_504_847_304e-12, 1.121_127_250_512_654_7e-16),
                (9.851_834_468_624_23e-12, 1.121_127_246_482_607_7e-16),
            ],
        ),
        (
            Direction::Add,
            (0.3, 0.6),
            (3.0, 0.18),
            1e-08,
            [
                (8.375_237_659_026_503e-7, 2.512_315_054_541_174_6e-7),
                (8.375_239_492_603_108e-7, 2.512_315_604_516_052_5e-7),
                (8.375_237_659_026_503e-7, 2.512_315_054_514_441e-7),
            ],
        ),
        (
            Direction::Add,
            (0.01, 2.0),
            (-1.0, 1.0),
            1e-09,
            [
                (0.672_639_576_990_711_5, 0.001_726_395_769_907_115),
                (0.672_639_576_861_564_1, 0.001_726_395_768_615_641_1),
                (0.672_639_576_990_711_5, 0.001_726_395_768_122_990_7),
            ],
        ),
        (
            Direction::Replace,
            (0.1, 0.3),
            (2.0, 0.045),
            1e-07,
            [
                (4.895_675_433_801_915_6e-5, 4.895_673_492_992_852e-5),
                (4.895_681_052_552_961e-5, 4.895_679_111_735_465_4e-5),
                (4.895_669_688_643_787e-5, 4.895_667_747_834_723_6e-5),
            ],
        ),
        (
            Direction::Replace,
            (0.001, 20.0),
            (150.0, 10.0),
            1e-09,
            [
                (9.855_241_322_002_014e-12, 6.126_010_454_278_452e-15),
                (9.855_241_684_351_709e-12, 6.126_010_669_625_107e-15),
                (9.855_241_321_997_943e-12, 6.126_010_447_973_934e-15),
            ],
        ),
    ];
}
