//! Clipping in the place of a compressor: what makes Clip21 out of EF21.

use super::{Class, Compress};
use crate::clip::ClipNorm;
use crate::distributed::vector::{norm, scaled};
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand_chacha::ChaCha20Rng;

/// `clip_t(x) = min(1, t / |x|) x`, over the whole vector; every vector for an infinite radius.
///
/// No constant of [`Class`] holds for it: a long vector keeps as small a share of itself as one likes. A vector that is not finite
/// becomes 0, so nothing of it reaches a sum. What is sent has a norm of at most t, rounding included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Radius {
    radius: f64,
}

impl Radius {
    /// The identity: nothing is clipped.
    pub const INFINITE: Self = Self { radius: f64::INFINITY };

    /// Clips to this norm.
    pub fn new(radius: ClipNorm) -> Self {
        Self { radius: radius.get() }
    }

    /// t, which may be infinite.
    pub fn get(self) -> f64 {
        self.radius
    }

    /// `clip_t(xs)`, of numbers that will be rounded to `width`.
    pub fn clipped(self, xs: &[f64], width: Width) -> Vec<f64> {
        if self.radius == f64::INFINITY {
            return xs.to_vec();
        }
        let norm = norm(xs);
        if !norm.is_finite() {
            return vec![0.0; xs.len()];
        }
        // The computed norm is off by less than (d/2 + 2) epsilons, scaling by two more, and rounding to the width by half of its
        // own epsilon: all are taken off on top.
        let own = match width {
            Width::F32 => f64::from(f32::EPSILON),
            Width::F64 => 0.0,
        };
        let upper = norm * (1.0 + (xs.len() as f64 + 8.0) * f64::EPSILON + own);
        if norm == 0.0 || upper <= self.radius {
            return xs.to_vec();
        }
        scaled(self.radius / upper, xs)
    }
}

impl Compress for Radius {
    fn name(&self) -> &'static str {
        if self.radius == f64::INFINITY { "identity" } else { "clip" }
    }

    fn encode(&self, xs: &[f64], width: Width, _: &mut ChaCha20Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        width.write(&self.clipped(xs, width), &mut bytes);
        bytes
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let read = width.read(message, dim)?;
        let norm = norm(&read);
        // A sender that does not clip would break the bound that the noise is made for.
        if norm <= self.radius * (1.0 + (dim as f64 + 8.0) * f64::EPSILON) || self.radius == f64::INFINITY {
            return Ok(read);
        }
        Err(Error::value("norm of a message", norm, format!("at most the clip norm, {}", self.radius)))
    }

    fn class(&self, _: usize) -> Option<Class> {
        let identity = Class { alpha: 1.0, beta: 1.0, gamma: 1.0, delta: 1.0, scale: 1.0, zeta: Some(1.0) };
        (self.radius == f64::INFINITY).then_some(identity)
    }

    fn is_dense(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn radius(t: f64) -> Radius {
        Radius::new(ClipNorm::new(t).unwrap())
    }

    #[test]
    fn nothing_sent_is_longer_than_the_radius() {
        let mut state = 1_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        for width in [Width::F32, Width::F64] {
            for dim in [1, 2, 17, 1000] {
                for scale in [1e-3, 1.0, 1e10, 1e30] {
                    let xs: Vec<f64> = (0..dim).map(|_| scale * draw()).collect();
                    let sent: Vec<f64> = radius(0.3).clipped(&xs, width).iter().map(|x| width.rounded(*x)).collect();
                    // Squares of f32 numbers and their sums in f64 are exact enough to be compared with the bound itself.
                    assert!(norm(&sent) <= 0.3, "{} at {width:?}, {dim} numbers of size {scale}", norm(&sent));
                }
            }
        }
    }

    #[test]
    fn what_is_short_is_sent_as_it_is_and_what_is_not_finite_not_at_all() {
        assert_eq!(radius(5.1).clipped(&[3.0, 4.0], Width::F64), [3.0, 4.0]);
        assert_eq!(radius(1.0).clipped(&[0.0, -0.0], Width::F64), [0.0, -0.0]);
        for bad in [f64::NAN, f64::INFINITY] {
            assert_eq!(radius(1.0).clipped(&[1.0, bad], Width::F64), [0.0, 0.0]);
        }
        let clipped = radius(1.0).clipped(&[3.0, 4.0], Width::F64);
        assert!((clipped[0] - 0.6).abs() < 1e-14 && (clipped[1] - 0.8).abs() < 1e-14, "{clipped:?}");
    }

    #[test]
    fn a_message_longer_than_the_radius_is_refused() {
        let honest = Width::F64.message(&[0.6, 0.8]);
        assert_eq!(radius(1.0).decode(&honest, 2, Width::F64).unwrap(), [0.6, 0.8]);
        let lying = Width::F64.message(&[6.0, 8.0]);
        assert!(radius(1.0).decode(&lying, 2, Width::F64).is_err());
        let nan = Width::F64.message(&[f64::NAN, 0.0]);
        assert!(radius(1.0).decode(&nan, 2, Width::F64).is_err());
    }
}
