//! The samples of M along Re s = c, and the sum they give at any epsilon, with all its errors.
//!
//! With s_j = c + i j h and Phi_j = M(s_j)/M(c),
//!
//! S(eps) = (h/pi) e^{ln M(c) - c eps} [ 1/(2 c (c+1)) + sum over j = 1..J of Re( Phi_j e^{-i j h eps} / (s_j (s_j+1)) ) ].
//!
//! The infinite sum is delta(eps) plus what [`aliasing`](super::aliasing) bounds, never less than delta(eps). Of a split
//! composition D is summed instead of M, relative to A(c) = prod A_i(c)^{n_i}.

use std::f64::consts::PI;

use super::aliasing::Aliasing;
use super::composition::{Composition, Tilted};
use super::sample::{Partial, Sample};
use super::turns::turns;
use super::value::Value;

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
    /// N of [`Decay::exponent`](super::composition::Decay::exponent) at the last sample.
    pub(super) decay: f64,
}

/// M along one contour.
#[derive(Debug)]
pub(super) struct Contour {
    layout: Layout,
    log_moment: (f64, f64),
    mean: f64,
    /// Sum of the sizes of what `mean` was added up from.
    mean_size: f64,
    /// The one on the real axis: 1, or D(c)/A(c), and its error.
    first: (f64, f64),
    samples: Vec<Sample>,
    aliasing: Aliasing,
}

impl Contour {
    pub(super) fn new(composition: &Composition, tilts: &[Tilted], layout: Layout, aliasing: Aliasing) -> Self {
        let c = layout.order;
        let square = composition.mu.value * composition.mu.value;
        let mu_error = 2.5 * composition.mu.error + 8.0 * E;
        let log_moment = composition.base(tilts, c);
        let (mut mean, mut mean_size) = (square * (c + 0.5), square * (c + 0.5));
        let start = |j: usize| {
            let y = j as f64 * layout.step;
            // The mean's share of mu^2 is part of the phase.
            let error = mu_error * square * (0.5 * y * y + y * (c + 0.5));
            Partial::new(y, -0.5 * square * y * y, error)
        };
        let mut partial: Vec<Partial> = (0..=layout.count).map(start).collect();
        for Tilted { body, band } in tilts {
            let n = body.count;
            mean += n * body.mean;
            mean_size += n * body.mean.abs();
            let at = |tilt: &super::tilt::Tilt| {
                let turned = turns(tilt, layout.step, layout.count);
                let error = |j: usize| tilt.error((j + 1) as f64 * layout.step, turned.rounding);
                let with_error = turned.values.iter().enumerate().map(|(j, phi)| (*phi, error(j)));
                std::iter::once(((0.0, 0.0), 0.0)).chain(with_error).collect::<Vec<_>>()
            };
            let bodies = at(body);
            for (entry, phi) in partial.iter_mut().zip(&bodies) {
                entry.multiply(n, phi.0, phi.1);
            }
            if let Some(band) = band {
                for ((entry, body_phi), phi) in partial.iter_mut().zip(bodies).zip(at(band)) {
                    entry.join(body, body_phi, band, phi);
                }
            }
        }
        mean_size *= 1.0 + tilts.len() as f64;
        let split = composition.is_split();
        let mut samples = partial.into_iter().map(|entry| entry.sample(c, split));
        // |s (s+1)| = c (c+1) there.
        let first = samples.next().map_or((f64::NAN, f64::NAN), |sample| (sample.size, sample.error));
        let samples = samples.collect();
        Self { layout, log_moment, mean, mean_size, first, samples, aliasing }
    }

    /// S(eps) with its errors.
    pub(super) fn value(&self, epsilon: f64) -> Value {
        let Layout { order: c, step, count, decay } = self.layout;
        let from_mean = self.mean - epsilon;
        // The phase j h (mean - eps): the difference and what the mean was added up from carry their rounding.
        let phase_error = 4.0 * E * (self.mean_size + epsilon.abs());
        let first = 0.5 * self.first.0;
        let (mut sum, mut turned, mut error, mut sizes) = (first, c * first, 0.5 * self.first.1, first);
        for sample in &self.samples {
            let (sine, cosine) = (sample.angle + sample.height * from_mean).sin_cos();
            let (real, imaginary) = (sample.size * cosine, sample.size * sine);
            sum += real;
            turned += c * real - sample.height * imaginary;
            error += sample.error + sample.size * (sample.height * phase_error + 8.0 * E);
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
            left_out: 0.0,
        }
    }
}
