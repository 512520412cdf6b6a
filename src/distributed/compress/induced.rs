//! A compressor that is right on average, made of one that is not.

use super::{Class, Compress};
use crate::distributed::vector::{add, difference};
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand_chacha::ChaCha20Rng;

/// The induced compressor (Horvath and Richtarik 2020, arXiv 2006.11077): `C1(x) + C2(x - C1(x))`. C1 is a contraction, C2 is
/// unbiased, and so is the whole, with a variance that is smaller than C2's by what C1 takes off:
/// `zeta = 1 + (zeta_2 - 1)(1 - 1/delta_1)`. It needs no memory where C1 alone would need error feedback, for two messages in one.
///
/// A message has the length of that of C1 in 32 bits, that of C1, and that of C2.
pub struct Induced {
    first: Box<dyn Compress>,
    rest: Box<dyn Compress>,
}

impl std::fmt::Debug for Induced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Induced").field("first", &self.first.name()).field("rest", &self.rest.name()).finish()
    }
}

/// Bytes of the length of the first message.
const LENGTH: usize = 4;

impl Induced {
    /// Sends a vector by `first`, and what that leaves of it by `rest`. What is no contraction, or not unbiased, gives a compressor
    /// without constants.
    pub fn new(first: Box<dyn Compress>, rest: Box<dyn Compress>) -> Self {
        Self { first, rest }
    }
}

impl Compress for Induced {
    fn name(&self) -> &'static str {
        "induced"
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let first = self.first.encode(xs, width, rng);
        // What its own sender cannot read is not there: then nothing can be, and the reader refuses it too.
        let arriving = self.first.decode(&first, xs.len(), width).unwrap_or_default();
        let left = if arriving.is_empty() { xs.to_vec() } else { difference(xs, &arriving) };
        let mut message = (first.len() as u32).to_le_bytes().to_vec();
        message.extend(first);
        message.extend(self.rest.encode(&left, width, rng));
        message
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let short =
            || Error::value("message", format!("{} bytes", message.len()), "two messages, after the length of one");
        let (length, both) = message.split_first_chunk::<LENGTH>().ok_or_else(short)?;
        let (first, rest) = both.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
        let mut xs = self.first.decode(first, dim, width)?;
        add(&mut xs, 1.0, &self.rest.decode(rest, dim, width)?);
        Ok(xs)
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let (first, rest) = (self.first.class(dim)?, self.rest.class(dim)?);
        let zeta = 1.0 + (rest.zeta? - 1.0) * (1.0 - 1.0 / first.delta);
        let unbiased = Class { alpha: 1.0, beta: zeta, gamma: 1.0, delta: zeta, scale: 1.0 / zeta, zeta: Some(zeta) };
        (first.scale == 1.0).then_some(unbiased)
    }
}
