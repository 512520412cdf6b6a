//! Step sizes, and steps that are never too long.

use super::vector::{add, direction, norm};
use crate::{Error, Result};

/// `min(eta, gamma / |g|) g`: a step of size eta along g that is never longer than gamma.
///
/// It is `eta clip(g)` at the threshold tau = gamma / eta; with gamma = infinity nothing is clipped. It is about
/// lengths of steps alone: clipping the mean over a minibatch gives no privacy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClippedStep {
    size: f64,
    longest: f64,
}

impl ClippedStep {
    /// With eta, `size`, and gamma, `longest`, which may be infinite.
    ///
    /// # Errors
    /// When `size` is negative or not finite, or `longest` is not above 0.
    pub fn new(size: f64, longest: f64) -> Result<Self> {
        let size = step_size(size)?;
        // Written so that NaN is refused.
        if longest > 0.0 {
            return Ok(Self { size, longest });
        }
        Err(Error::value("longest step", longest, "a number above 0, or infinity"))
    }

    /// Eta and gamma both multiplied by `factor`, as a schedule does: the threshold stays, so that the same gradients
    /// are clipped.
    ///
    /// # Errors
    /// As [`ClippedStep::new`].
    pub fn times(self, factor: f64) -> Result<Self> {
        Self::new(self.size * factor, self.longest * factor)
    }

    /// Whether a vector of this norm is clipped.
    pub fn clips(self, norm: f64) -> bool {
        self.longest / norm < self.size
    }

    /// The step from `point` against `gradient`.
    pub fn take(self, point: &mut [f64], gradient: &[f64]) {
        let norm = norm(gradient);
        let factor = if self.clips(norm) { self.longest / norm } else { self.size };
        add(point, -factor, gradient);
    }

    /// The step from `point` against `gradient` in a round in which all steps are clipped or none: gamma long, or of
    /// size eta.
    pub fn take_as(self, clipped: bool, point: &mut [f64], gradient: &[f64]) {
        if clipped {
            add(point, -self.longest, &direction(gradient));
        } else {
            add(point, -self.size, gradient);
        }
    }
}

/// A step size: a finite number, at least 0.
pub(super) fn step_size(size: f64) -> Result<f64> {
    if size.is_finite() && size >= 0.0 {
        return Ok(size);
    }
    Err(Error::value("step size", size, "a finite number, at least 0"))
}

/// The share of what is new: above 0, at most 1.
pub(super) fn share(name: &str, share: f64) -> Result<f64> {
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err(Error::value(name, share, "a number above 0, at most 1"))
}

/// Local steps of a round: at least 1.
pub(super) fn local_steps(steps: u32) -> Result<u32> {
    if steps >= 1 {
        return Ok(steps);
    }
    Err(Error::value("local steps", steps, "at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_longer_than_it_may_be() {
        let step = ClippedStep::new(0.5, 1.0).unwrap();
        for (gradient, clipped, expected) in [
            ([3.0, 4.0], true, [-0.6, -0.8]),
            ([1.2, 1.6], false, [-0.6, -0.8]),
            ([0.3, 0.4], false, [-0.15, -0.2]),
            ([0.0, 0.0], false, [0.0, 0.0]),
        ] {
            let mut point = [0.0, 0.0];
            step.take(&mut point, &gradient);
            assert_eq!(step.clips(norm(&gradient)), clipped, "{gradient:?}");
            assert!(point.iter().zip(expected).all(|(x, y): (&f64, f64)| (x - y).abs() < 1e-15), "{point:?}");
        }
        let mut point = [0.0];
        step.take_as(true, &mut point, &[1e-3]);
        step.take_as(true, &mut point, &[0.0]);
        assert_eq!(point, [-1.0]);
        assert!(!ClippedStep::new(0.5, f64::INFINITY).unwrap().clips(1e300));
    }

    #[test]
    fn what_cannot_be_a_step_is_refused() {
        for (size, longest) in
            [(-0.1, 1.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (0.1, 0.0), (0.1, -1.0), (0.1, f64::NAN)]
        {
            assert!(ClippedStep::new(size, longest).is_err(), "{size}, {longest}");
        }
        assert!(ClippedStep::new(0.1, 1.0).unwrap().times(-1.0).is_err());
        assert!(share("momentum", 0.0).is_err() && share("momentum", f64::NAN).is_err() && local_steps(0).is_err());
    }
}
