//! The direction of a vector on a few levels, and its length.

use super::bits::{BitReader, BitWriter};
use super::rounding::{self, Rounding};
use super::{Class, Compress};
use crate::distributed::vector::{norm, scaled};
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand_chacha::ChaCha20Rng;

/// The norm that a vector is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Euclidean.
    Two,
    /// The largest magnitude.
    Max,
}

/// Exponential dithering: `|x|_p sign(x_i) xi(|x_i| / |x|_p)`, where xi rounds without bias to the levels 0, `b^(1-s)`, ...,
/// `1/b`, 1; natural dithering for b = 2 (Horvath, Ho, Horvath, Sahu, Canini and Richtarik 2019, arXiv 1905.10988).
///
/// A message has the norm without its sign, rounded up to the width, and a sign and ceil(log2(s + 1)) bits for each number. A
/// vector whose norm is not finite at the width becomes NaN everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Dithering {
    base: f64,
    norm: Norm,
    /// Ascending, without 0.
    levels: Vec<f64>,
}

impl Dithering {
    /// On `levels` powers of `base`, 1 the largest, and 0.
    ///
    /// # Errors
    /// When the base is not in 1.01 to 256, there are no levels, or the smallest is not a normal number.
    pub fn new(base: f64, levels: usize, norm: Norm) -> Result<Self> {
        rounding::base(base)?;
        let powers = std::iter::successors(Some(1.0), |power| Some(power / base));
        let mut powers: Vec<f64> = powers.take_while(|power| *power >= f64::MIN_POSITIVE).take(levels).collect();
        if powers.is_empty() || powers.len() < levels {
            let most =
                if levels == 0 { "at least 1".into() } else { format!("at most {} of base {base}", powers.len()) };
            return Err(Error::value("levels", levels, most));
        }
        powers.reverse();
        Ok(Self { base, norm, levels: powers })
    }

    /// Natural dithering.
    ///
    /// # Errors
    /// As [`Dithering::new`].
    pub fn natural(levels: usize, norm: Norm) -> Result<Self> {
        Self::new(2.0, levels, norm)
    }

    /// The norm as it arrives, no smaller than any number of the vector; NaN where it is not finite.
    fn size(&self, xs: &[f64], width: Width) -> f64 {
        let largest = xs.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let size = match self.norm {
            Norm::Two => norm(xs).max(largest),
            Norm::Max => largest,
        };
        let arriving = match width {
            Width::F32 if f64::from(size as f32) < size => f64::from((size as f32).next_up()),
            _ => width.rounded(size),
        };
        let finite = arriving.is_finite() && xs.iter().all(|x| x.is_finite());
        if finite { arriving } else { f64::NAN }
    }
}

impl Compress for Dithering {
    fn name(&self) -> &'static str {
        if self.base == 2.0 { "natural-dithering" } else { "exponential-dithering" }
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let (size, mut writer) = (self.size(xs, width), BitWriter::default());
        writer.magnitude(size, width);
        for x in xs {
            let relative = if size > 0.0 { x / size } else { 0.0 };
            rounding::write(&self.levels, relative, Rounding::Unbiased, rng, &mut writer);
        }
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let mut reader = BitReader::new(message);
        let size = reader.magnitude(width)?;
        let xs = (0..dim).map(|_| rounding::read(&self.levels, &mut reader)).collect::<Result<Vec<f64>>>()?;
        reader.end()?;
        Ok(scaled(size, &xs))
    }

    /// Numbers below the smallest level a have a variance of at most `|x_i| (a |x|_p - |x_i|)`, all together at most `m min(1,
    /// m)` times
    /// `|x|^2` with `m = sqrt(d) a`, since `|x|_p <= |x|` for p at least 2; the others that of rounding.
    fn class(&self, dim: usize) -> Option<Class> {
        let between = rounding::class(std::iter::once(self.base), Rounding::Unbiased);
        let m = (dim as f64).sqrt() * self.levels.first().copied().unwrap_or(1.0);
        let zeta = between.beta + m * m.min(1.0);
        Some(Class { alpha: 1.0, beta: zeta, gamma: 1.0, delta: zeta, scale: 1.0 / zeta, zeta: Some(zeta) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Key, Role};

    #[test]
    fn the_norm_that_arrives_is_no_smaller_than_any_number() {
        // 0.1 is rounded up to f32, and 0.7 down.
        for norm in [Norm::Two, Norm::Max] {
            let dithering = Dithering::natural(4, norm).unwrap();
            for x in [0.1, 0.7, 1e-300, 1e-46] {
                for width in [Width::F32, Width::F64] {
                    let size = dithering.size(&[x, 0.0, -x], width);
                    assert!(size >= x && size == width.rounded(size), "{size} for {x} at {width:?}");
                }
            }
            let mut rng = Key::from_seed(0).stream(Role::Compression, 0);
            let message = dithering.encode(&[0.0; 3], Width::F32, &mut rng);
            assert_eq!(dithering.decode(&message, 3, Width::F32).unwrap(), [0.0; 3]);
        }
    }

    #[test]
    fn levels_that_are_none_are_refused() {
        for (base, levels) in [(2.0, 0), (2.0, 1024), (256.0, 129), (1.0, 4), (f64::NAN, 4)] {
            assert!(Dithering::new(base, levels, Norm::Two).is_err(), "{levels} of base {base}");
        }
        assert!(Dithering::new(2.0, 1023, Norm::Max).is_ok());
    }
}
