//! Signs, and how large numbers are on average.

use super::bits::{BitReader, BitWriter};
use super::{Class, Compress, places};
use crate::Result;
use crate::distributed::wire::Width;
use rand_chacha::ChaCha20Rng;

/// Scaled sign: `(|x|_1 / d) sign(x)`, with sign(0) = 1: 0 would lose a factor of d in alpha.
///
/// A message has the mean magnitude without its sign, and a bit for each number. A vector whose mean magnitude is not finite
/// at the width becomes NaN everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScaledSign;

impl Compress for ScaledSign {
    fn name(&self) -> &'static str {
        "scaled-sign"
    }

    fn encode(&self, xs: &[f64], width: Width, _: &mut ChaCha20Rng) -> Vec<u8> {
        let (d, mut writer) = (xs.len() as f64, BitWriter::default());
        // Divided first: the sum overflows for no finite vector, or the mean would.
        let size = width.rounded(xs.iter().map(|x| x.abs() / d).sum());
        writer.magnitude(if size.is_finite() { size } else { f64::NAN }, width);
        xs.iter().for_each(|x| writer.put(u64::from(*x < 0.0), 1));
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let mut reader = BitReader::new(message);
        let size = reader.magnitude(width)?;
        let xs = (0..dim).map(|_| Ok(if reader.take(1)? == 1 { -size } else { size })).collect::<Result<Vec<f64>>>()?;
        reader.end().map(|()| xs)
    }

    fn class(&self, dim: usize) -> Option<Class> {
        let share = places::share(1, dim);
        Some(Class { alpha: share, beta: 1.0, gamma: share, delta: 1.0 / share, scale: 1.0, zeta: None })
    }
}
