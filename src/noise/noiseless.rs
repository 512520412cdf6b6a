//! No noise, for comparison with training that is not private.

use super::{Mechanism, Release, share_of};
use crate::Result;
use crate::clip::ClippedSum;
use crate::kernel::update::in_place;
use dp_accountant::Event;

/// Releases the sum itself, times the inverse of the expected batch; its cost is that there is no guarantee.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noiseless {
    share: f64,
}

impl Noiseless {
    /// Divides sums by `expected_batch`.
    ///
    /// # Errors
    /// When the expected batch is not a positive number.
    pub fn new(expected_batch: f64) -> Result<Self> {
        Ok(Self { share: share_of(expected_batch)? })
    }
}

impl Mechanism for Noiseless {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let gradient = sum.release(|_, values| in_place(values, |value| self.share * value))?;
        Ok((Release { gradient, deviation: 0.0, within: None }, self.event()))
    }

    fn event(&self) -> Event {
        Event::NonPrivate { reason: "a sum was released without noise".into() }
    }
}
