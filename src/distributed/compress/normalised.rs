//! Smoothed normalisation in the place of a compressor: what makes alpha-NormEC out of EF21.

use super::{Class, Compress};
use crate::distributed::vector::norm;
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand_chacha::ChaCha20Rng;

/// `Norm_alpha(x) = x / (alpha + |x|)`, over the whole vector; 0 for 0.
///
/// Nothing sent is longer than 1, rounding included, whatever x is: no threshold has to be chosen. A vector that is
/// not finite becomes 0. No constant of [`Class`] holds for it: of a long vector it keeps as small a share as one
/// likes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalised {
    alpha: f64,
}

impl Normalised {
    /// With alpha: 0 is the direction alone.
    ///
    /// # Errors
    /// When alpha is negative or not finite.
    pub fn new(alpha: f64) -> Result<Self> {
        if alpha.is_finite() && alpha >= 0.0 {
            return Ok(Self { alpha });
        }
        Err(Error::value("alpha of the normalisation", alpha, "a finite number, at least 0"))
    }

    /// `Norm_alpha(xs)`, of numbers that will be rounded to `width`.
    pub fn of(self, xs: &[f64], width: Width) -> Vec<f64> {
        let norm = norm(xs);
        if norm == 0.0 || !norm.is_finite() {
            return vec![0.0; xs.len()];
        }
        // As in `Radius`: what the computed norm, the division and the width can be off by is taken off on top.
        let own = match width {
            Width::F32 => f64::from(f32::EPSILON),
            Width::F64 => 0.0,
        };
        let upper = self.alpha + norm * (1.0 + (xs.len() as f64 + 8.0) * f64::EPSILON + own);
        xs.iter().map(|x| x / upper).collect()
    }
}

impl Compress for Normalised {
    fn name(&self) -> &'static str {
        "normalised"
    }

    fn encode(&self, xs: &[f64], width: Width, _: &mut ChaCha20Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        width.write(&self.of(xs, width), &mut bytes);
        bytes
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let read = width.read(message, dim)?;
        let norm = norm(&read);
        // A sender that does not normalise would break the bound that the noise is made for.
        if norm <= 1.0 + (dim as f64 + 8.0) * f64::EPSILON {
            return Ok(read);
        }
        Err(Error::value("norm of a message", norm, "at most 1"))
    }

    fn class(&self, _: usize) -> Option<Class> {
        None
    }

    fn is_dense(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_as_the_formula_says_and_at_most_1_long() {
        let of = |alpha: f64, xs: &[f64]| Normalised::new(alpha).unwrap().of(xs, Width::F64);
        for (alpha, expected) in [(0.0, 1.0), (5.0, 0.5), (20.0, 0.2)] {
            let sent = of(alpha, &[3.0, -4.0]);
            assert!((sent[0] - 0.6 * expected).abs() < 1e-14 && (sent[1] + 0.8 * expected).abs() < 1e-14, "{sent:?}");
        }
        assert_eq!(of(0.0, &[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(of(1.0, &[f64::NAN, 1.0]), [0.0, 0.0]);
        assert_eq!(of(1.0, &[f64::INFINITY, 1.0]), [0.0, 0.0]);
        for width in [Width::F32, Width::F64] {
            for scale in [1e-310, 1e-30, 1.0, 1e30, 1e300] {
                let xs: Vec<f64> = (1..100).map(|i| scale * f64::from(i).sin()).collect();
                let sent: Vec<f64> =
                    Normalised::new(0.0).unwrap().of(&xs, width).iter().map(|x| width.rounded(*x)).collect();
                assert!(norm(&sent) <= 1.0 && norm(&sent) > 0.999, "{} at {scale}, {width:?}", norm(&sent));
            }
        }
    }

    #[test]
    fn a_longer_message_and_a_wrong_alpha_are_refused() {
        let normalised = Normalised::new(0.1).unwrap();
        assert!(normalised.decode(&Width::F64.message(&[0.6, 0.8]), 2, Width::F64).is_ok());
        assert!(normalised.decode(&Width::F64.message(&[0.7, 0.8]), 2, Width::F64).is_err());
        assert!(normalised.decode(&Width::F64.message(&[f64::NAN, 0.0]), 2, Width::F64).is_err());
        assert!([-0.1, f64::NAN, f64::INFINITY].map(Normalised::new).iter().all(Result::is_err));
    }
}
