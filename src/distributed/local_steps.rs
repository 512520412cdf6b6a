//! The steps that a node takes by itself between two messages.

use super::vector::{add, difference, scaled};
use crate::{Error, Result};

/// K steps of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LocalSteps {
    size: f64,
    count: u32,
}

impl LocalSteps {
    /// # Errors
    /// When the size is not a positive number, or there are none.
    pub(super) fn new(size: f64, count: u32) -> Result<Self> {
        if count == 0 {
            return Err(Error::value("local steps", 0, "at least 1"));
        }
        Ok(Self { size: positive("step size", size)?, count })
    }

    pub(super) fn size(self) -> f64 {
        self.size
    }

    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// K eta: how far a round goes along its mean direction.
    pub(super) fn length(self) -> f64 {
        self.size * f64::from(self.count)
    }

    /// `y <- y - eta direction(y)`, K times from `start`: where that ends, and (start - y) / (K eta), the mean direction. It is taken from
    /// the move that was made, rounding included: a sum of the directions would go on counting steps too short to move a point.
    pub(super) fn take(
        self,
        start: &[f64],
        mut direction: impl FnMut(&[f64]) -> Result<Vec<f64>>,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut point = start.to_vec();
        for _ in 0..self.count {
            let direction = direction(&point)?;
            add(&mut point, -self.size, &direction);
        }
        let mean = scaled(1.0 / self.length(), &difference(start, &point));
        Ok((point, mean))
    }
}

/// The value, if it is a finite number above 0.
pub(super) fn positive(name: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(Error::value(name, value, "a finite number above 0"))
}
