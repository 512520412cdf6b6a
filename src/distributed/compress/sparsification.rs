//! Every number with a probability of its own.

use super::bits::{BitReader, BitWriter};
use super::rand_k::{SEED_BITS, stream};
use super::{Class, Compress, places};
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;

/// Biased random sparsification: number i as it is with probability `p_i`, independently of the others, and otherwise 0.
///
/// It is for vectors of as many numbers as there are probabilities: of others it writes nothing, which nobody can read. A
/// message has the numbers, and which they are: by a seed of 8 bytes, or one bit each of at most 64. A number that is not
/// finite arrives as it is, or as 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparsification {
    probabilities: Vec<f64>,
}

impl Sparsification {
    /// With these probabilities.
    ///
    /// # Errors
    /// When one is not in (0, 1].
    pub fn new(probabilities: Vec<f64>) -> Result<Self> {
        match probabilities.iter().find(|p| !(**p > 0.0 && **p <= 1.0)) {
            Some(p) => Err(Error::value("probability of a number to be sent", p, "above 0, at most 1")),
            None => Ok(Self { probabilities }),
        }
    }

    fn kept(&self, rng: &mut ChaCha20Rng) -> Vec<bool> {
        self.probabilities.iter().map(|p| rng.random::<f64>() < *p).collect()
    }

    fn lists_places(&self) -> bool {
        self.probabilities.len() <= SEED_BITS as usize
    }
}

impl Compress for Sparsification {
    fn name(&self) -> &'static str {
        "sparsification"
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut writer = BitWriter::default();
        if xs.len() != self.probabilities.len() {
            return writer.finish();
        }
        let seed = rng.next_u64();
        let kept = self.kept(&mut stream(seed));
        if self.lists_places() {
            kept.iter().for_each(|kept| writer.put(u64::from(*kept), 1));
        } else {
            writer.put(seed, SEED_BITS);
        }
        xs.iter().zip(kept).filter(|(_, kept)| *kept).for_each(|(x, _)| writer.number(*x, width));
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        if dim != self.probabilities.len() {
            return Err(Error::value(
                "numbers of a vector",
                dim,
                format!("{} probabilities", self.probabilities.len()),
            ));
        }
        let mut reader = BitReader::new(message);
        let kept = if self.lists_places() {
            (0..dim).map(|_| Ok(reader.take(1)? == 1)).collect::<Result<Vec<bool>>>()?
        } else {
            self.kept(&mut stream(reader.take(SEED_BITS)?))
        };
        let xs = kept.into_iter().map(|kept| if kept { reader.number(width) } else { Ok(0.0) });
        let xs = xs.collect::<Result<Vec<f64>>>()?;
        reader.end().map(|()| xs)
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let least = self.probabilities.iter().copied().fold(1.0, f64::min);
        let class = Class { alpha: least, beta: 1.0, gamma: least, delta: 1.0 / least, scale: 1.0, zeta: None };
        (dim == self.probabilities.len()).then_some(class)
    }
}

/// Adaptive random sparsification: one number as it is, number i with probability `|x_i| / |x|_1`, and 0 elsewhere.
///
/// A message has the number and its place. Of a vector that is not finite it is the first number that is not, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adaptive;

impl Adaptive {
    /// The place that is sent; none of an empty vector.
    fn drawn(xs: &[f64], rng: &mut ChaCha20Rng) -> Option<usize> {
        if let Some(place) = xs.iter().position(|x| !x.is_finite()) {
            return Some(place);
        }
        // Weights relative to the largest: their sum overflows for no vector.
        let largest = xs.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let weight = |x: &f64| if largest > 0.0 { x.abs() / largest } else { 0.0 };
        let mut left = rng.random::<f64>() * xs.iter().map(weight).sum::<f64>();
        let drawn = xs.iter().position(|x| {
            left -= weight(x);
            left < 0.0
        });
        // What rounding leaves over belongs to the last number that is not 0.
        drawn.or_else(|| xs.iter().rposition(|x| *x != 0.0)).or_else(|| (!xs.is_empty()).then_some(0))
    }
}

impl Compress for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive-sparsification"
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut writer = BitWriter::default();
        if let Some(place) = Self::drawn(xs, rng) {
            places::write(&[place], xs.len(), &mut writer);
            writer.number(xs[place], width);
        }
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let (one, mut reader) = (dim.min(1), BitReader::new(message));
        let places = places::read(one, dim, &mut reader)?;
        let numbers = places.iter().map(|_| reader.number(width)).collect::<Result<Vec<f64>>>()?;
        reader.end()?;
        Ok(places::spread(&places, &numbers, dim))
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let share = places::share(1, dim);
        Some(Class { alpha: share, beta: 1.0, gamma: share, delta: 1.0 / share, scale: 1.0, zeta: None })
    }
}
