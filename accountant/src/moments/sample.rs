//! One sample of the integrand, built up from the releases of a composition.
//!
//! Of a split composition it is D(s)/A(c) = prod alpha_i^{n_i} (e^z - 1), z = sum of n_i ln(1 + r_i), where
//! alpha_i = A_i(s)/A_i(c) and r_i = B_i(s)/A_i(s). e^z - 1 comes without cancellation: where large outcomes are rare,
//! z is small.

use std::f64::consts::PI;

use super::tilt::Tilt;

const E: f64 = f64::EPSILON;

/// Phi_j / (s_j (s_j + 1)) in polar form, free of the phase that the mean loss gives.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) height: f64,
    pub(super) size: f64,
    pub(super) angle: f64,
    /// The absolute error, that of the phase aside.
    pub(super) error: f64,
}

/// phi - 1 as (real, imaginary), and a bound on its absolute error.
type Known = ((f64, f64), f64);

/// A product of phi_i(y)^{n_i}, and e^z - 1, that are being built.
pub(super) struct Partial {
    y: f64,
    ln_size: f64,
    angle: f64,
    /// ln of 1 + the relative error; where `lost`, the product is known only to be below e^{ln_size + doubt}.
    doubt: f64,
    lost: bool,
    large: Large,
}

/// z = ln_size + i angle, of which |e^z| is known up to a factor e^{+-doubt}.
#[derive(Default)]
struct Large {
    ln_size: f64,
    angle: f64,
    doubt: f64,
    /// Where some 1 + r is below its error, |e^z| is known only to be below e^{ln_size}.
    lost: bool,
    /// ln of prod (|alpha| + |B/A(c)|)^n, and sum of n |B| / (|A| + |B|): together they bound |D|.
    ln_most: f64,
    share: f64,
}

impl Partial {
    /// The Gaussian part: ln of its size, and its relative error.
    pub(super) fn new(y: f64, ln_size: f64, error: f64) -> Self {
        let large = Large { ln_most: ln_size + error, ..Large::default() };
        Self { y, ln_size, angle: 0.0, doubt: error, lost: false, large }
    }

    /// Multiplies by phi^n for phi = 1 + (real, imaginary), known up to `error` in absolute value.
    ///
    /// |(phi + e)^n - phi^n| <= |phi|^n ((1 + |e/phi|)^n - 1).
    pub(super) fn multiply(&mut self, n: f64, (real, imaginary): (f64, f64), error: f64) {
        let ln_size = ln_modulus(real, imaginary);
        let size = ln_size.exp();
        if size > 2.0 * error {
            let angle = imaginary.atan2(1.0 + real);
            self.ln_size += n * ln_size;
            self.angle += n * angle;
            self.doubt += n * (error / size).ln_1p() + 8.0 * E * n * (ln_size.abs() + angle.abs());
        } else {
            // Also for NaN: infinity then makes the sum unknown.
            self.ln_size += n * (3.0 * error).ln();
            self.lost = true;
        }
    }

    /// Takes the large outcomes of a release into account, whose small ones were multiplied.
    pub(super) fn join(&mut self, small: &Tilt, (alpha, alpha_error): Known, band: &Tilt, (psi, psi_error): Known) {
        let n = small.count;
        let ratio = (band.log_moment.0 - small.log_moment.0).exp();
        let ratio_error = band.log_moment.1
            + small.log_moment.1
            + 4.0 * E * (1.0 + band.log_moment.0.abs() + small.log_moment.0.abs());
        let (a, b) = ((1.0 + alpha.0).hypot(alpha.1), (1.0 + psi.0).hypot(psi.1));
        let (most_a, most_b) = (a + alpha_error, ratio * (b + psi_error) * (1.0 + ratio_error));
        self.large.ln_most += n * (most_a + most_b).ln() + 8.0 * E * n;
        self.large.share += n * most_b / (most_a + most_b);
        if self.lost {
            return;
        }
        // r = ratio psi/alpha, turned by the difference of the means.
        let size = ratio * b / a;
        let angle = psi.1.atan2(1.0 + psi.0) - alpha.1.atan2(1.0 + alpha.0) + self.y * (band.mean - small.mean);
        let turn = 4.0 * E * (4.0 + self.y * (band.mean.abs() + small.mean.abs()));
        let error = ratio * psi_error / a * (1.0 + ratio_error) * 2.0
            + size * (ratio_error * 1.1 + turn + 2.0 * alpha_error / a);
        let (real, imaginary) = (size * angle.cos(), size * angle.sin());
        let ln_size = ln_modulus(real, imaginary);
        let sum = ln_size.exp();
        let large = &mut self.large;
        if sum > 2.0 * error {
            let angle = imaginary.atan2(1.0 + real);
            large.ln_size += n * ln_size;
            large.angle += n * angle;
            large.doubt += n * (error / sum).ln_1p() + 8.0 * E * n * (ln_size.abs() + angle.abs());
        } else {
            large.ln_size += n * (3.0 * error).ln();
            large.lost = true;
        }
    }

    pub(super) fn sample(self, c: f64, split: bool) -> Sample {
        let y = self.y;
        // s (s + 1) = c (c + 1) - y^2 + i y (2 c + 1), and |s (s+1)| from its factors.
        let kernel = (y * (2.0 * c + 1.0)).atan2(c * (c + 1.0) - y * y);
        let kernel_size = c.hypot(y) * (c + 1.0).hypot(y);
        // The angle enters a sine and a cosine: its rounding counts in full.
        let doubt = self.doubt + 8.0 * E * (1.0 + self.angle.abs() + self.ln_size.abs().min(800.0));
        if self.lost {
            let ln_most =
                if split { self.large.ln_most + self.large.share.min(2.0).ln() } else { self.ln_size + doubt };
            let most = ln_most.exp() / kernel_size * (1.0 + 1e-9);
            let size = if most.is_nan() { f64::INFINITY } else { most };
            return Sample { height: y, size, angle: 0.5 * PI, error: 2.0 * size };
        }
        let angle = self.angle - kernel;
        let whole = self.ln_size.exp() / kernel_size;
        if !split {
            return Sample { height: y, size: whole, angle, error: whole * doubt.exp_m1() };
        }
        let ((real, imaginary), error) = self.large.value();
        let size = real.hypot(imaginary);
        Sample {
            height: y,
            size: whole * size,
            angle: angle + imaginary.atan2(real),
            error: whole * (size * doubt.exp_m1() + doubt.exp() * error),
        }
    }
}

impl Large {
    /// e^z - 1 and its absolute error.
    fn value(&self) -> ((f64, f64), f64) {
        if self.lost {
            return ((-1.0, 0.0), (self.ln_size + self.doubt).exp());
        }
        let size = self.ln_size.exp();
        let half = (0.5 * self.angle).sin();
        let value = (self.ln_size.exp_m1() * self.angle.cos() - 2.0 * half * half, size * self.angle.sin());
        // Where z is small each part is good to a few units of |z|; the rounding of the angle is in the doubt.
        let rounding = 16.0 * E * self.ln_size.hypot(self.angle).min(1.0) * (1.0 + size);
        (value, size * self.doubt.exp_m1() + rounding)
    }
}

/// ln |1 + real + i imaginary|, accurate near 1.
fn ln_modulus(real: f64, imaginary: f64) -> f64 {
    let excess = real * (2.0 + real) + imaginary * imaginary;
    if excess > -0.7 { 0.5 * excess.ln_1p() } else { (1.0 + real).hypot(imaginary).ln() }
}
