//! The Gaussian mechanism on a ChaCha20 stream.

use super::{Mechanism, Release, ordinary, share_of};
use crate::clip::ClippedSum;
use crate::kernel::chacha::Stream;
use crate::kernel::normal::{DRAWS, Normals};
use crate::kernel::team::Shared;
use crate::kernel::update::in_place_with;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use dp_accountant::{Event, NoiseMultiplier};
use rayon::prelude::*;

/// Adds independent N(0, (z C)^2) to every element of the sum and multiplies by the inverse of the expected batch, z the noise
/// multiplier and C the bound of the sum.
///
/// The noise of step t is a function of (key, t) alone: two mechanisms with one key that release *different* sums at one step
/// use the same noise twice, and the difference of the releases is the difference of the sums. One key serves one run.
///
/// Noise is drawn in f64, as [`StandardNormals`] describes, and added in f64 before the sum is rounded to the parameters'
/// type. Elements are numbered through all parameters in name order; every parameter begins at the next multiple of
/// [`StandardNormals::BLOCK`].
#[derive(Debug)]
pub struct Gaussian {
    noise_multiplier: NoiseMultiplier,
    pub(super) share: f64,
    pub(super) key: Key,
    pub(super) step: u32,
}

impl Gaussian {
    /// A mechanism whose next release is that of `step`. `expected_batch` is the public constant q N that sums are
    /// divided by.
    ///
    /// # Errors
    /// When the expected batch is not a positive number.
    pub fn new(noise_multiplier: NoiseMultiplier, expected_batch: f64, key: Key, step: u32) -> Result<Self> {
        Ok(Self { noise_multiplier, share: share_of(expected_batch)?, key, step })
    }
}

/// The standard normal draws of a key and a step, numbered from 0: draw i is a function of (key, step, i) alone, with any
/// number of threads and any vector instructions.
///
/// Draws are cut into blocks of [`StandardNormals::BLOCK`], each with its own stretch of the step's noise stream, which is
/// ChaCha20 with all 20 rounds.
///
/// A draw is made by a ziggurat of 1024 layers (Marsaglia and Tsang 2000) from one number of 64 bits, of which 10 name a
/// layer, one is the sign and 52 a point across the layer: one of 2^63 equally likely choices. Within a layer, values are
/// 2^-52 of its width apart, between 3e-17 and 1e-15. The four draws in a thousand that the layers do not decide are settled
/// with further numbers, against the density or in the tail beyond 4.04.
///
/// No draw is 0, and none is beyond 13.5, where the ideal distribution has a chance of 3e-41. The tables and comparisons are
/// computed in f64. That changes the density, seen at scales coarser than the distance of the values, by some 1e-14 of itself.
#[derive(Debug)]
pub struct StandardNormals {
    stream: Stream,
}

impl StandardNormals {
    /// Draws that share one stretch of the stream.
    pub const BLOCK: usize = crate::clip::BLOCK;

    /// ChaCha blocks reserved for a stretch: 512 for its draws, and room for 2^24 further numbers, of which 26 are needed on
    /// average. A number leads to a refusal, and so to another, with a chance of 0.002, in the tail 0.06: the room is never
    /// used up.
    const STRETCH: u64 = 1 << 21;

    /// The draws that [`Gaussian`] uses at `step`.
    pub fn new(key: &Key, step: u32) -> Self {
        Self::of(key, Role::Noise, step)
    }

    /// The draws of a role at `step`.
    pub(crate) fn of(key: &Key, role: Role, step: u32) -> Self {
        Self { stream: Stream::of(&key.stream(role, step)) }
    }

    /// Draws 0, 1, 2, ... on rayon's threads.
    pub fn fill(&self, draws: &mut [f64]) {
        draws.par_chunks_mut(Self::BLOCK).enumerate().each(|(block, draws)| self.combine(draws, block, |_, draw| draw));
    }

    /// Replaces every value by what `with` makes of it and its draw. The values, at most [`Self::BLOCK`], have the draws of
    /// `block`.
    pub(crate) fn combine(&self, values: &mut [f64], block: usize, with: impl Fn(f64, f64) -> f64) {
        let mut normals = Normals::new(&self.stream, block as u64 * Self::STRETCH, Self::BLOCK);
        for values in values.chunks_mut(DRAWS) {
            in_place_with(values, normals.draw(), &with);
        }
    }
}

impl Mechanism for Gaussian {
    fn release(&mut self, sum: ClippedSum) -> Result<(Release, Event)> {
        let deviation = ordinary(self.noise_multiplier.get(), sum.bound())?;
        let (draws, share) = (StandardNormals::new(&self.key, self.step), self.share);
        let gradient = sum.release(|block, values| {
            draws.combine(values, block, |value, draw| (value + deviation * draw) * share);
        })?;
        let next = self.step.checked_add(1);
        self.step = next.ok_or_else(|| Error::value("step", self.step, "fewer than 2^32: no noise is used twice"))?;
        Ok((Release { gradient, deviation: deviation * share, within: None }, self.event()))
    }

    fn event(&self) -> Event {
        Event::gaussian(self.noise_multiplier)
    }
}

#[cfg(test)]
mod tests;
