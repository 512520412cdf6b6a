//! Numbers rounded to powers of a base.

use super::bits::{BitReader, BitWriter};
use super::rounding::{self, Rounding};
use super::{Class, Compress};
use crate::Result;
use crate::distributed::wire::Width;
use rand_chacha::ChaCha20Rng;
use std::ops::Range;

/// Exponential rounding: every number to one of the two powers of the base around its magnitude, and the sign kept. With base
/// 2 and unbiased it is natural compression (Horvath, Ho, Horvath, Sahu, Canini and Richtarik 2019, arXiv 1905.10988).
///
/// A number takes a sign and the bits of an exponent: 9 and 12 for base 2 at the two widths. The powers are those which the
/// normal numbers of the width are between; the constants hold for them and 0. A smaller number goes to 0 or the smallest
/// power; a larger one than the largest finite power becomes that power. A number that is not finite at the width becomes NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Exponential {
    base: f64,
    rounding: Rounding,
    /// For f64, ascending.
    powers: Vec<f64>,
    /// Those for f32.
    single: Range<usize>,
}

impl Exponential {
    /// To powers of `base`.
    ///
    /// # Errors
    /// When the base is not in 1.01 to 256.
    pub fn new(base: f64, rounding: Rounding) -> Result<Self> {
        rounding::base(base)?;
        Ok(Self::with(base, rounding))
    }

    /// Natural compression: base 2, unbiased.
    pub fn natural() -> Self {
        Self::with(2.0, Rounding::Unbiased)
    }

    fn with(base: f64, rounding: Rounding) -> Self {
        let mut powers = vec![1.0];
        while let Some(power) = powers.last().filter(|power| **power > f64::MIN_POSITIVE) {
            powers.push(power / base);
        }
        powers.reverse();
        while let Some(power) = powers.last().map(|power| power * base).filter(|power| power.is_finite()) {
            powers.push(power);
        }
        let first = powers.partition_point(|power| *power <= f64::from(f32::MIN_POSITIVE)).saturating_sub(1);
        let last = powers.partition_point(|power| *power < f64::from(f32::MAX));
        let single = first..(last + 1).min(powers.len());
        Self { base, rounding, powers, single }
    }

    fn levels(&self, width: Width) -> &[f64] {
        match width {
            Width::F32 => &self.powers[self.single.clone()],
            Width::F64 => &self.powers,
        }
    }
}

impl Compress for Exponential {
    fn name(&self) -> &'static str {
        match self.rounding {
            Rounding::Unbiased if self.base == 2.0 => "natural",
            Rounding::Unbiased => "exponential-unbiased",
            Rounding::Nearest => "exponential",
        }
    }

    fn encode(&self, xs: &[f64], width: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let (levels, mut writer) = (self.levels(width), BitWriter::default());
        for x in xs {
            let x = if width.rounded(*x).is_finite() { *x } else { f64::NAN };
            rounding::write(levels, x, self.rounding, rng, &mut writer);
        }
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, width: Width) -> Result<Vec<f64>> {
        let (levels, mut reader) = (self.levels(width), BitReader::new(message));
        let xs = (0..dim).map(|_| rounding::read(levels, &mut reader)).collect::<Result<Vec<f64>>>()?;
        reader.end().map(|()| xs)
    }

    fn class(&self, _: usize) -> Option<Class> {
        Some(rounding::class(std::iter::once(self.base), self.rounding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Key, Role};

    #[test]
    fn powers_cover_the_normal_numbers_of_a_width() {
        let natural = Exponential::natural();
        let single = natural.levels(Width::F32);
        assert_eq!((single.len(), single[0], single[254]), (255, 2.0_f64.powi(-126), 2.0_f64.powi(128)));
        let double = natural.levels(Width::F64);
        assert_eq!((double.len(), double[0], double[2045]), (2046, f64::MIN_POSITIVE, 2.0_f64.powi(1023)));
        for base in [1.01, 1.5, 3.7, 256.0] {
            let exponential = Exponential::new(base, Rounding::Unbiased).unwrap();
            for (width, least, most) in
                [(Width::F32, f32::MIN_POSITIVE.into(), f32::MAX.into()), (Width::F64, f64::MIN_POSITIVE, f64::MAX)]
            {
                let levels = exponential.levels(width);
                let (first, last) = (levels[0], levels[levels.len() - 1]);
                assert!(first > 0.0 && first <= least && last * base >= most, "base {base}: {first} to {last}");
                assert!(levels.windows(2).all(|pair| pair[0] < pair[1]), "base {base}");
            }
        }
    }

    #[test]
    fn numbers_at_the_limits_of_a_width() {
        let nearest = Exponential::new(2.0, Rounding::Nearest).unwrap();
        let rounded = |xs: &[f64], width| {
            let message = nearest.encode(xs, width, &mut Key::from_seed(0).stream(Role::Compression, 0));
            nearest.decode(&message, xs.len(), width).unwrap()
        };
        let largest = 2.0_f64.powi(1023);
        let doubles = rounded(&[f64::MAX, f64::MIN, 1e-320, 2e-308, -0.0], Width::F64);
        assert_eq!(doubles, [largest, -largest, 0.0, f64::MIN_POSITIVE, 0.0]);
        let singles = rounded(&[f32::MAX.into(), 1e-45, f32::MIN_POSITIVE.into()], Width::F32);
        assert_eq!(singles, [2.0_f64.powi(128), 0.0, f32::MIN_POSITIVE.into()]);
        assert!(rounded(&[1e39], Width::F32)[0].is_nan());
    }

    #[test]
    fn other_bases_are_refused() {
        for base in [0.5, 1.0, 1.001, 257.0, f64::NAN, f64::INFINITY] {
            assert!(Exponential::new(base, Rounding::Nearest).is_err(), "{base}");
        }
    }
}
