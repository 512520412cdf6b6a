//! The samples of M along Re s = c, and the sum they give at any epsilon, with all its errors.
//!
//! With s_j = c + i j h and Phi_j = M(s_j)/M(c),
//!
//! S(eps) = (h/pi) e^{ln M(c) - c eps} [ 1/(2 c (c+1)) + sum over j = 1..J of Re( Phi_j e^{-i j h eps} / (s_j (s_j+1)) ) ].
//!
//! The infinite sum is delta(eps) plus what [`aliasing`](super::aliasing) bounds, never less than delta(eps).

use std::f64::consts::PI;

use super::aliasing::Aliasing;
use super::composition::Composition;
use super::tilt::Tilt;
use super::turns::{rounding, turns};

const E: f64 = f64::EPSILON;

/// Where and how finely M is sampled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Real part c.
    pub(super) order: f64,
    /// Distance h of the samples.
    pub(super) step: f64,
    /// How many samples beside the one on the real axis.
    pub(super) count: usize,
    /// N of [`Decay::exponent`](super::cut::Decay::exponent) at the last sample: what is left out is below e^-N M(c).
    pub(super) decay: f64,
}

/// One sample: Phi_j / (s_j (s_j + 1)) in polar form, free of the phase that the mean loss gives.
#[derive(Debug)]
struct Sample {
    height: f64,
    size: f64,
    angle: f64,
    /// Relative error of `size` and error of `angle`, those of the phase aside.
    error: f64,
}

/// M along one contour.
#[derive(Debug)]
pub(super) struct Contour {
    layout: Layout,
    log_moment: (f64, f64),
    mean: f64,
    /// Sum of the sizes of what `mean` was added up from.
    mean_size: f64,
    samples: Vec<Sample>,
    aliasing: Aliasing,
}

/// S at one epsilon, everything divided by `e^ln_scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    ln_scale: f64,
    scale_error: f64,
    sum: f64,
    /// d sum / d eps, scale included: negative.
    slope: f64,
    /// Quadrature, rounding and cut: either way.
    error: f64,
    /// Upwards only.
    alias: f64,
}

impl Contour {
    pub(super) fn new(composition: &Composition, tilts: &[Tilt], layout: Layout, aliasing: Aliasing) -> Self {
        let c = layout.order;
        let square = composition.mu.value * composition.mu.value;
        let mu_error = 2.5 * composition.mu.error + 8.0 * E;
        let (mut log_moment, mut log_error) = (0.5 * square * c * (c + 1.0), 0.5 * square * c * (c + 1.0) * mu_error);
        let (mut mean, mut mean_size) = (square * (c + 0.5), square * (c + 0.5));
        // ln |Phi_j|, its angle, ln of the relative error of Phi_j, rounding.
        let start = |j: usize| {
            let y = (j + 1) as f64 * layout.step;
            let ln_size = -0.5 * square * y * y;
            // The mean's share of mu^2 is part of the phase.
            let error = mu_error * square * (0.5 * y * y + y * (c + 0.5));
            Partial { y, ln_size, angle: 0.0, doubt: error, lost: false }
        };
        let mut partial: Vec<Partial> = (0..layout.count).map(start).collect();
        for tilt in tilts {
            let n = tilt.count;
            log_moment += n * tilt.log_moment.0;
            log_error += n * tilt.log_moment.1;
            mean += n * tilt.mean;
            mean_size += n * tilt.mean.abs();
            let units = rounding(tilt.nodes.len());
            for (entry, phi) in partial.iter_mut().zip(turns(tilt, layout.step, layout.count)) {
                entry.multiply(n, phi, tilt.error(entry.y, units));
            }
        }
        log_error += (4.0 + tilts.len() as f64) * E * log_moment;
        mean_size *= 1.0 + tilts.len() as f64;
        let samples = partial.into_iter().map(|entry| entry.sample(c)).collect();
        Self { layout, log_moment: (log_moment, log_error), mean, mean_size, samples, aliasing }
    }

    /// S(eps) with its errors.
    pub(super) fn value(&self, epsilon: f64) -> Value {
        let Layout { order: c, step, count, decay } = self.layout;
        let from_mean = self.mean - epsilon;
        // The phase j h (mean - eps): the difference and what the mean was added up from carry their rounding.
        let phase_error = 4.0 * E * (self.mean_size + epsilon.abs());
        let first = 0.5 / (c * (c + 1.0));
        let (mut sum, mut turned, mut error, mut sizes) = (first, c * first, 0.0, first);
        for sample in &self.samples {
            let (sine, cosine) = (sample.angle + sample.height * from_mean).sin_cos();
            let (real, imaginary) = (sample.size * cosine, sample.size * sine);
            sum += real;
            turned += c * real - sample.height * imaginary;
            error += sample.size * (sample.error + sample.height * phase_error + 8.0 * E);
            sizes += sample.size;
        }
        error += count as f64 * E * sizes;
        let ln_step = (step / PI).ln();
        let ln_scale = self.log_moment.0 - c * epsilon + ln_step;
        // (1/pi) e^-N times the integral of 1/y^2 from Y on, over h/pi. The sum of the omitted terms is below the integral.
        let cut = (-decay).exp() / (step * step * count as f64) * (1.0 + 8.0 * E);
        Value {
            ln_scale,
            scale_error: self.log_moment.1
                + 8.0 * E * (1.0 + ln_step.abs() + self.log_moment.0.abs() + c * epsilon.abs()),
            sum,
            slope: -turned,
            error: error + cut,
            alias: (self.aliasing.ln_bound(epsilon) - ln_scale).exp(),
        }
    }
}

impl Value {
    /// ln of S; `None` where S is not above its own error, which means that nothing is known.
    pub(super) fn ln(&self) -> Option<f64> {
        (self.ln_scale.is_finite() && self.sum > 2.0 * self.error).then(|| self.ln_scale + self.sum.ln())
    }

    /// d ln S / d eps.
    pub(super) fn ln_slope(&self) -> f64 {
        self.slope / self.sum
    }

    /// ln of an upper bound on delta. Infinite where unknown.
    pub(super) fn ln_upper(&self) -> f64 {
        let most = self.ln_scale + (self.sum + self.error).ln() + self.scale_error;
        if self.ln().is_some() && !most.is_nan() { most } else { f64::INFINITY }
    }

    /// ln of a lower bound on delta, -infinity where unknown.
    pub(super) fn ln_lower(&self) -> f64 {
        let least = self.sum - self.error - self.alias;
        if self.ln().is_some() && least > 0.0 && self.scale_error.is_finite() {
            self.ln_scale + least.ln() - self.scale_error
        } else {
            f64::NEG_INFINITY
        }
    }

    /// Relative uncertainty of delta.
    pub(super) fn doubt(&self) -> f64 {
        (self.error + self.alias) / self.sum + self.scale_error
    }
}

/// A product of phi_i(y)^{n_i} that is being built.
struct Partial {
    y: f64,
    ln_size: f64,
    angle: f64,
    /// ln of 1 + the relative error; where `lost`, the product is known only to be below e^{ln_size + doubt}.
    doubt: f64,
    lost: bool,
}

impl Partial {
    /// Multiplies by phi^n for phi = 1 + (real, imaginary), known up to `error` in absolute value.
    ///
    /// |(phi + e)^n - phi^n| <= |phi|^n ((1 + |e/phi|)^n - 1).
    fn multiply(&mut self, n: f64, (real, imaginary): (f64, f64), error: f64) {
        let excess = real * (2.0 + real) + imaginary * imaginary;
        let ln_size = if excess > -0.7 { 0.5 * excess.ln_1p() } else { (1.0 + real).hypot(imaginary).ln() };
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

    fn sample(self, c: f64) -> Sample {
        let y = self.y;
        // s (s + 1) = c (c + 1) - y^2 + i y (2 c + 1), and |s (s+1)| from its factors.
        let kernel = (y * (2.0 * c + 1.0)).atan2(c * (c + 1.0) - y * y);
        let size = self.ln_size.exp() / (c.hypot(y) * (c + 1.0).hypot(y));
        // The angle enters a sine and a cosine: its rounding counts in full.
        let doubt = self.doubt + 8.0 * E * (self.angle.abs() + self.ln_size.abs().min(800.0));
        if self.lost {
            let most = size * doubt.exp();
            let size = if most.is_nan() { f64::INFINITY } else { most };
            Sample { height: y, size, angle: 0.5 * PI, error: 2.0 }
        } else {
            Sample { height: y, size, angle: self.angle - kernel, error: doubt.exp_m1() }
        }
    }
}
