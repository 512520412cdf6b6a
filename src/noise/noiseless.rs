//! No noise, for comparison with training that is not private.

use super::{Mechanism, Release};
use crate::clip::ClippedSum;
use crate::{Error, Result};
use dp_accountant::Event;

/// Releases the sum itself, divided by the expected batch; its cost is that there is no guarantee.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noiseless {
    expected_batch: f64,
}

impl Noiseless {
    /// Divides sums by `expected_batch`.
    ///
    /// # Errors
    /// When the expected batch is not finite and positive.
    pub fn new(expected_batch: f64) -> Result<Self> {
        if !(expected_batch.is_finite() && expected_batch > 0.0) {
            return Err(Error::value("expected batch", expected_batch, "a finite number above 0"));
        }
        Ok(Self { expected_batch })
    }
}

impl Mechanism for Noiseless {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let gradient = sum.release(|_, values| values.iter_mut().for_each(|value| *value /= self.expected_batch))?;
        Ok((Release { gradient }, self.event()))
    }

    fn event(&self) -> Event {
        Event::NonPrivate { reason: "a sum was released without noise".into() }
    }
}
