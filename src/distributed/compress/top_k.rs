//! The largest numbers.

use super::bits::{BitReader, BitWriter, bits_below};
use super::{Class, Compress, places};
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand_chacha::ChaCha20Rng;

/// Top-k: the k numbers of largest magnitude as they are, and 0 elsewhere; all of them where there are no more.
///
/// Of numbers with the same magnitude those of the lowest index are sent: other rules give other runs. A message has the
/// places, in ceil(log2 d) bits each, and the numbers. NaN counts as larger than any number, then infinity: what is not finite
/// is sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK {
    k: usize,
}

impl TopK {
    /// Sends k numbers.
    ///
    /// # Errors
    /// When k is 0.
    pub fn new(k: usize) -> Result<Self> {
        Ok(Self { k: places::at_least_one(k)? })
    }
}

impl Compress for TopK {
    fn name(&self) -> &'static str {
        "top-k"
    }

    fn encode(&self, xs: &[f64], width: Width, _: &mut ChaCha20Rng) -> Vec<u8> {
        let (places, mut writer) = (places::largest(self.k, xs), BitWriter::default());
        places::write(&places, xs.len(), &mut writer);
        places.iter().for_each(|place| writer.number(xs[*place], width));
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let mut reader = BitReader::new(message);
        let places = places::read(self.k.min(dim), dim, &mut reader)?;
        let numbers = places.iter().map(|_| reader.number(width)).collect::<Result<Vec<f64>>>()?;
        reader.end()?;
        Ok(places::spread(&places, &numbers, dim))
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let share = places::share(self.k, dim);
        Some(Class { alpha: share, beta: 1.0, gamma: share, delta: 1.0 / share, scale: 1.0, zeta: None })
    }
}

/// Top-k, its k numbers written by another compressor: Top-k with natural dithering is one.
///
/// A message has the places, filled up to bytes, and the other's message. What the other does with numbers that are not finite
/// happens to those that Top-k sends, and it sends them first.
pub struct TopKThen {
    top: TopK,
    then: Box<dyn Compress>,
}

impl std::fmt::Debug for TopKThen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopKThen").field("k", &self.top.k).field("then", &self.then.name()).finish()
    }
}

impl TopKThen {
    /// Sends k numbers by `then`, as a vector of k numbers.
    ///
    /// # Errors
    /// When k is 0.
    pub fn new(k: usize, then: Box<dyn Compress>) -> Result<Self> {
        Ok(Self { top: TopK::new(k)?, then })
    }
}

impl Compress for TopKThen {
    fn name(&self) -> &'static str {
        "top-k-then"
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let (places, mut writer) = (places::largest(self.top.k, xs), BitWriter::default());
        places::write(&places, xs.len(), &mut writer);
        let numbers: Vec<f64> = places.iter().map(|place| xs[*place]).collect();
        let mut message = writer.finish();
        message.extend(self.then.encode(&numbers, width, rng));
        message
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let k = self.top.k.min(dim);
        let ahead = k.saturating_mul(bits_below(dim) as usize).div_ceil(8);
        let Some((ahead, rest)) = message.split_at_checked(ahead) else {
            return Err(Error::value("message", format!("{} bytes", message.len()), format!("at least {ahead} bytes")));
        };
        let mut reader = BitReader::new(ahead);
        let places = places::read(k, dim, &mut reader)?;
        reader.end()?;
        Ok(places::spread(&places, &self.then.decode(rest, k, width)?, dim))
    }

    /// With T for Top-k: E C(x) is 0 where T(x) is, so `<E C(x), x> = <E C(x), T(x)>`, and T keeps at least k/d of `|x|^2`,
    /// which is also what it takes off the error: the constants of the other on k numbers, alpha, gamma and 1/delta times k/d.
    fn class(&self, dim: usize) -> Option<Class> {
        let (share, then) = (places::share(self.top.k, dim), self.then.class(self.top.k.min(dim))?);
        Some(Class {
            alpha: share * then.alpha,
            gamma: share * then.gamma,
            delta: then.delta / share,
            zeta: then.zeta.filter(|_| share == 1.0),
            ..then
        })
    }
}
