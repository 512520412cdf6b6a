//! Numbers at random places.

use super::bits::{BitReader, BitWriter, bits_below};
use super::{Class, Compress, places};
use crate::Result;
use crate::distributed::vector::scaled;
use crate::distributed::wire::Width;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Rand-k: the numbers at k places, every subset of k as likely as any other, and 0 elsewhere; all of them where there are no
/// more. Unbiased they are multiplied with d/k.
///
/// A message has the k numbers, and which they are: by a seed of 8 bytes or place by place in ceil(log2 d) bits each,
/// whichever is shorter. A number that is not finite arrives as it is, times d/k, if its place is drawn, and otherwise as 0,
/// as all others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandK {
    k: usize,
    unbiased: bool,
}

impl RandK {
    /// k numbers as they are: a contraction.
    ///
    /// # Errors
    /// When k is 0.
    pub fn biased(k: usize) -> Result<Self> {
        Ok(Self { k: places::at_least_one(k)?, unbiased: false })
    }

    /// k numbers times d/k.
    ///
    /// # Errors
    /// When k is 0.
    pub fn unbiased(k: usize) -> Result<Self> {
        Ok(Self { unbiased: true, ..Self::biased(k)? })
    }

    /// Whether the places are written themselves: where they take fewer bits than the seed.
    fn lists_places(self, dim: usize) -> bool {
        self.k.min(dim).saturating_mul(bits_below(dim) as usize) < SEED_BITS as usize
    }

    fn drawn(self, seed: u64, dim: usize) -> Vec<usize> {
        places::uniform(self.k.min(dim), dim, &mut stream(seed))
    }
}

/// Bits of a seed.
pub(super) const SEED_BITS: u32 = 64;

/// The random choices that follow from a seed in a message. They are no secret.
pub(super) fn stream(seed: u64) -> ChaCha20Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha20Rng::from_seed(bytes)
}

impl Compress for RandK {
    fn name(&self) -> &'static str {
        if self.unbiased { "rand-k-unbiased" } else { "rand-k" }
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let (seed, mut writer) = (rng.next_u64(), BitWriter::default());
        let places = self.drawn(seed, xs.len());
        if self.lists_places(xs.len()) {
            places::write(&places, xs.len(), &mut writer);
        } else {
            writer.put(seed, SEED_BITS);
        }
        places.iter().for_each(|place| writer.number(xs[*place], width));
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let (k, mut reader) = (self.k.min(dim), BitReader::new(message));
        let places = if self.lists_places(dim) {
            places::read(k, dim, &mut reader)?
        } else {
            self.drawn(reader.take(SEED_BITS)?, dim)
        };
        let numbers = places.iter().map(|_| reader.number(width)).collect::<Result<Vec<f64>>>()?;
        reader.end()?;
        let factor = if self.unbiased { 1.0 / places::share(k, dim) } else { 1.0 };
        Ok(places::spread(&places, &scaled(factor, &numbers), dim))
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let share = places::share(self.k, dim);
        let delta = 1.0 / share;
        Some(if self.unbiased {
            Class { alpha: delta, beta: delta, gamma: 1.0, delta, scale: share, zeta: Some(delta) }
        } else {
            Class { alpha: share, beta: 1.0, gamma: share, delta, scale: 1.0, zeta: None }
        })
    }
}
