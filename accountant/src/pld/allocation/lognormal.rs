//! One likelihood ratio: a log-normal variable of mean 1, cell by cell.

use crate::normal;

/// Nodes and weights of the Gauss-Legendre rule of eight points on [-1, 1], positive half (Abramowitz & Stegun 25.4.30).
const RULE: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_47),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// Half axis of the ellipse with foci -1 and 1 on which the density is bounded; the sum of its half axes is 10.
const ELLIPSE: f64 = 5.05;

/// Bound on the relative error of the rule where [`LogNormal::smooth`] holds.
///
/// For an integrand below m on that ellipse the rule errs by (64/15) m 10^-16/(1 - 10^-2) at most (Trefethen 2013,
/// theorem 19.3). Relative to its value in the middle the density is e there at most and at least e^{-1/4} on [-1, 1],
/// and the factors xi and 1 - xi are 6.05 at most: together 4.6e-15. The nodes, weights and factors round by less than
/// 40 units of 2^-53.
const QUADRATURE: f64 = 1e-14;

/// Y = exp(Z/s - 1/(2 s^2)), Z standard normal under Q, and N(1/s, 1) under the law that Y dQ is.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogNormal {
    pub(super) noise_multiplier: f64,
}

/// A cell's mass, as its parts at the two ends of the cell.
///
/// The mean is kept: `upper` is the mass times the mean distance from the lower end, in cell widths.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) lower: f64,
    pub(super) upper: f64,
    /// Bounds the relative error of both.
    pub(super) error: f64,
}

impl LogNormal {
    /// Z at Y = y, and its error: y is known to 2^-53 of itself; the logarithm, the scaling, the shift and the sum round.
    fn normal(self, y: f64) -> (f64, f64) {
        let s = self.noise_multiplier;
        let (log, shift) = (y.ln(), 0.5 / s);
        (s * log + shift, f64::EPSILON * (s * (2.0 * log.abs() + 0.5) + shift))
    }

    /// `Q(Y < y)` and `E_Q [Y; Y < y]`.
    pub(super) fn below(self, y: f64) -> (f64, f64) {
        let (z, _) = self.normal(y);
        (normal::tail(-z), normal::tail(1.0 / self.noise_multiplier - z))
    }

    /// `Q(Y > y)` and `E_Q [Y; Y > y]`.
    pub(super) fn above(self, y: f64) -> (f64, f64) {
        let (z, _) = self.normal(y);
        (normal::tail(z), normal::tail(z - 1.0 / self.noise_multiplier))
    }

    /// The cell from `point * step` to the next point.
    pub(super) fn cell(self, point: i64, step: f64) -> Cell {
        let mut cell = Cell::default();
        if point > 0 {
            self.piece(&mut cell, point, step, (0.0, 1.0));
        } else {
            // The half at 0 in closed form.
            let (mass, moment) = self.below(0.5 * step);
            cell.upper = moment / step;
            cell.lower = mass - moment / step;
            let (z, doubt) = self.normal(0.5 * step);
            // |d ln tail(x) / dx| <= |x| + 1.
            let largest = z.abs() + 1.0 / self.noise_multiplier;
            let tails = normal::RELATIVE_ERROR + (largest + 1.0) * doubt + (largest * largest + 4.0) * f64::EPSILON;
            // moment / step <= mass / 2: the difference has three times the error of the tails at most.
            cell.error = 3.0 * tails;
            self.piece(&mut cell, point, step, (0.5, 1.0));
        }
        cell
    }

    /// Adds the part of a cell between two fractions of its width, halved until the rule is exact.
    fn piece(self, cell: &mut Cell, point: i64, step: f64, whole: (f64, f64)) {
        let base = point as f64;
        let (mut pieces, mut count) = (vec![whole], 0.0);
        while let Some((from, to)) = pieces.pop() {
            let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
            if !self.smooth((base + middle) * step, half * step) {
                pieces.extend([(from, middle), (middle, to)]);
                continue;
            }
            let (mut lower, mut upper) = (0.0, 0.0);
            for (node, weight) in RULE {
                for fraction in [middle - node * half, middle + node * half] {
                    let y = (base + fraction) * step;
                    let (z, doubt) = self.normal(y);
                    // dQ = density(z) s dy / y.
                    let width = weight * half * step * self.noise_multiplier / y;
                    let mass = width * (-0.5 * z * z - normal::LN_SQRT_2PI).exp();
                    upper += mass * fraction;
                    lower += mass * (1.0 - fraction);
                    // The product and the sum of eight round, too.
                    let exponent = z.abs() * doubt + (z * z + 16.0) * f64::EPSILON;
                    cell.error = cell.error.max(QUADRATURE + exponent);
                }
            }
            cell.upper += upper;
            cell.lower += lower;
            count += 1.0;
        }
        // The sum of so many pieces.
        cell.error += count * f64::EPSILON / 2.0;
    }

    /// Whether the density of Y changes by a factor e at most on the disc of radius 5.05 half around y, and by e^{1/4} on
    /// the interval.
    ///
    /// There |z - z(y)| <= -s ln(1 - r), r the radius relative to y, so that the exponent -z^2/2 - ln y changes by at most
    /// |z| d + d^2/2 - ln(1 - r); a fifth of the radius gives less than a fifth of that.
    fn smooth(self, y: f64, half: f64) -> bool {
        let relative = ELLIPSE * half / y;
        if relative > 0.5 {
            return false;
        }
        let far = -(-relative).ln_1p();
        let (z, _) = self.normal(y);
        let d = self.noise_multiplier * far;
        z.abs() * d + 0.5 * d * d + far <= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_mass_and_mean() {
        for s in [0.3, 1.0, 3.0, 50.0] {
            let law = LogNormal { noise_multiplier: s };
            for (point, step) in [(0, 0.5), (0, 2.0), (1, 0.5), (3, 0.25), (700, 2_f64.powi(-9)), (513, 2_f64.powi(-9))]
            {
                let cell = law.cell(point, step);
                let (from, to) = (point as f64 * step, (point + 1) as f64 * step);
                let (below, above) = (if point == 0 { (0.0, 0.0) } else { law.below(from) }, law.below(to));
                let (mass, moment) = (above.0 - below.0, above.1 - below.1);
                let got = (cell.lower + cell.upper, from * (cell.lower + cell.upper) + step * cell.upper);
                // The differences of tails lose digits, the cells do not.
                let allowed = 1e-14 * (above.0 + above.1) + 2.0 * cell.error * (got.0 + got.1);
                assert!((got.0 - mass).abs() <= allowed, "{s} {point} {step}: {got:?} {mass}");
                assert!((got.1 - moment).abs() <= allowed, "{s} {point} {step}: {got:?} {moment}");
                assert!(cell.error < 2e-11, "{s} {point} {step}: {}", cell.error);
            }
        }
    }

    #[test]
    fn cells_add_up_to_one() {
        let law = LogNormal { noise_multiplier: 1.0 };
        let step = 2_f64.powi(-4);
        let (mut mass, mut mean) = (0.0, 0.0);
        for point in 0..4000 {
            let cell = law.cell(point, step);
            mass += cell.lower + cell.upper;
            mean += step * (point as f64 * (cell.lower + cell.upper) + cell.upper);
        }
        let above = law.above(250.0);
        assert!((mass + above.0 - 1.0).abs() < 1e-14 && (mean + above.1 - 1.0).abs() < 1e-14, "{mass} {mean}");
    }
}
