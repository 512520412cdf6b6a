//! Which outcomes of one release belong to a part: a smooth label, so that the part's moments stay analytic.
//!
//! Every outcome z, in the orientation in which the loss grows, is given a label at random: it belongs to the part with
//! probability v(z) = Phi((high - z)/width) - Phi((low - z)/width). The label says nothing about P against Q, so it
//! changes no delta. On the line Im z = b, v(z) is the integral of the normal density over a shifted interval, hence
//!
//! |v(z)| <= e^{b^2/(2 width^2)} v(Re z),    |v(z)| <= 1 + e^{b^2/(2 width^2)} (1 - v(Re z))  without `low`.
//!
//! v is log-concave, the convolution of an interval with the normal density. `reach` widths beyond its ends the label is
//! cut off; what that drops is far too improbable to matter, and integrals end there.

use crate::normal::{RELATIVE_ERROR, ln_tail};

const E: f64 = f64::EPSILON;

/// Beyond this many widths inside its end a label is 1 to within e^-40.
const INSIDE: f64 = 9.0;

/// v(z) as above; `low` may be -infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Label {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) width: f64,
    pub(super) reach: f64,
}

impl Label {
    /// Outcomes below a place.
    pub(super) fn below(high: f64, width: f64, reach: f64) -> Self {
        Self { low: f64::NEG_INFINITY, high, width, reach }
    }

    /// The outcomes of `self` that the label below `low` does not take. The two ends are at least a width apart.
    pub(super) fn above(self, low: f64) -> Self {
        Self { low, ..self }
    }

    /// Where it is cut off.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.low - self.reach * self.width, self.high + self.reach * self.width)
    }

    /// ln of a bound on the share of a probability that is cut off: v <= e^{-t^2/2}/2 at t widths, at either end.
    pub(super) fn ln_cut_off(&self) -> f64 {
        -0.5 * self.reach * self.reach
    }

    /// ln v at z, and its absolute error.
    pub(super) fn ln(&self, z: f64) -> (f64, f64) {
        let (near, far) = ((self.low - z) / self.width, (self.high - z) / self.width);
        if near < -INSIDE && far > INSIDE {
            // Phi(-9) is 1e-19.
            return (0.0, 1e-18);
        }
        // By symmetry the nearer end is the one that matters.
        let (main, rest) = if near + far < 0.0 { (-far, -near) } else { (near, far) };
        let ln_main = ln_tail(main);
        // A rounding of z moves a tail's logarithm by (1 + |t|) dt at most.
        let sizes = (self.high.abs().min(1e300) + z.abs()) / self.width + main.abs();
        let error = 2.0 * RELATIVE_ERROR + 4.0 * E * (1.0 + main.max(0.0)) * (main.abs() + sizes);
        let share = (ln_tail(rest) - ln_main).exp();
        (ln_main + (-share).ln_1p(), error * (1.0 + share) / (1.0 - share))
    }

    /// ln of the largest v in a cell.
    pub(super) fn ln_most(&self, (from, to): (f64, f64)) -> f64 {
        let middle = 0.5 * (self.low + self.high);
        self.ln(middle.max(from).min(to)).0
    }

    /// ln of the least v in a cell.
    pub(super) fn ln_least(&self, (from, to): (f64, f64)) -> f64 {
        self.ln(from).0.min(self.ln(to).0)
    }

    /// The exponent b^2/(2 width^2) by which the label grows on the line Im z = b.
    pub(super) fn growth(&self, b: f64) -> f64 {
        0.5 * (b / self.width).powi(2)
    }

    /// ln(1 - v) up to a place, without `low`; otherwise ln 1.
    pub(super) fn ln_missing(&self, to: f64) -> f64 {
        if self.low == f64::NEG_INFINITY { ln_tail((self.high - to) / self.width).min(0.0) } else { 0.0 }
    }

    /// ln of a bound on |v(z + ib)| / v(z), for the growth at b and a cell whose `ln_missing` is given.
    pub(super) fn ln_gain(growth: f64, ln_missing: f64) -> f64 {
        let a = growth + ln_missing;
        if a < -40.0 {
            // ln(1 + e^a) and -ln(1 - e^ln_missing) are each hardly above e^a.
            return growth.min(2.1 * a.exp());
        }
        let more = if a > 30.0 { a + 1e-12 } else { a.exp().ln_1p() };
        // Also for NaN, which only a logarithm of nothing could give.
        growth.min(more - (-ln_missing.exp()).ln_1p())
    }

    /// ln of the probability of lying beyond `high` under N(centre, s^2): that of N(0, s^2 + width^2).
    pub(super) fn ln_beyond(&self, centre: f64, s: f64) -> f64 {
        ln_tail((self.high - centre) / s.hypot(self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_differences_of_normal_distribution_functions() {
        // mpmath, 40 digits: ln(Phi((high - z)/width) - Phi((low - z)/width)).
        for (low, high, width, z, want) in [
            (f64::NEG_INFINITY, 3.0, 0.5, 2.0, -0.023_012_909_328_963_488),
            (f64::NEG_INFINITY, 3.0, 0.5, 8.0, -53.231_285_150_512_47),
            (1.0, 3.0, 0.5, 0.0, -3.783_184_377_048_271),
            (1.0, 3.0, 0.5, 2.5, -0.174_359_520_452_975_9),
            (1.0, 3.0, 0.5, -4.0, -53.231_285_150_512_47),
        ] {
            let (got, error) = Label { low, high, width, reach: 20.0 }.ln(z);
            assert!((got - want).abs() <= error + 1e-15 * want.abs() && error < 1e-12, "{z}: {got} +- {error}, {want}");
        }
    }

    #[test]
    fn the_doubt_of_a_label_holds_far_beyond_its_ends() {
        // Far out the rounding of z counts most (mpmath, 40 digits).
        for (low, high, width, z, want) in [
            (f64::NEG_INFINITY, -2.0, 0.03, 1.1, -5_344.445_881_061_434),
            (f64::NEG_INFINITY, 1e3, 40.0, 1.7e3, -156.909_378_484_346_42),
            (f64::NEG_INFINITY, 0.1, 0.007, 0.3, -412.435_832_327_732_7),
            (2.0, 2.5, 0.25, 7.3, -188.196_543_330_883_43),
            (-700.0, -300.0, 90.0, 1234.5, -149.109_749_586_869_88),
        ] {
            let (got, error) = Label { low, high, width, reach: 20.0 }.ln(z);
            assert!((got - want).abs() <= error && error < 1e-9, "{z}: {got} +- {error}, {want}");
        }
    }

    #[test]
    fn the_gain_bounds_the_label_off_the_real_line() {
        // ln |v(z + ib)| - ln v(z) (mpmath, 40 digits).
        for (low, high, width, z, b, want) in [
            (f64::NEG_INFINITY, 3.0, 0.5, 1.0, 0.7, -4.344_620_254e-5),
            (f64::NEG_INFINITY, 3.0, 0.5, 2.9, 1.5, 3.188_256_491_436_571_5),
            (f64::NEG_INFINITY, 3.0, 0.5, 4.5, 0.4, 0.297_740_278_955_169_3),
            (1.0, 3.0, 0.5, 2.0, 0.9, 0.134_623_466_532_896_54),
            (1.0, 1.6, 0.5, -0.5, 1.1, 2.284_533_025_220_928),
        ] {
            let label = Label { low, high, width, reach: 20.0 };
            let most = Label::ln_gain(label.growth(b), label.ln_missing(z));
            assert!(want <= most && most <= label.growth(b), "{z} + {b} i: {want}, bound {most}");
        }
    }

    #[test]
    fn the_gain_is_small_where_the_label_is_nearly_one() {
        assert!(Label::ln_gain(20.0, -60.0) < 1e-17);
        assert!((Label::ln_gain(20.0, -0.1) - 20.0).abs() < 1e-12);
        assert!(Label::ln_gain(1e9, f64::NEG_INFINITY) == 0.0);
    }
}
