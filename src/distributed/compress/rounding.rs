//! Numbers rounded to levels.

use super::bits::{BitReader, BitWriter, bits_below};
use super::{Class, Compress};
use crate::distributed::wire::Width;
use crate::{Error, Result};
use rand::Rng;
use rand_chacha::ChaCha20Rng;

/// To which of the two levels around it a number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// Up or down at random, so that the mean is the number.
    Unbiased,
    /// To the nearest; to the lower one from half way.
    Nearest,
}

/// Where a number of magnitude `x` goes on ascending `levels`: 0 for 0, i for the i-th. Above the last level it is the last.
fn place(levels: &[f64], x: f64, rounding: Rounding, rng: &mut ChaCha20Rng) -> usize {
    let below = levels.partition_point(|level| *level <= x);
    let low = below.checked_sub(1).map_or(0.0, |place| levels[place]);
    let Some(high) = levels.get(below) else { return below };
    let up = match rounding {
        _ if x == low => false,
        Rounding::Unbiased => rng.random::<f64>() < (x - low) / (high - low),
        Rounding::Nearest => x - low > high - x,
    };
    below + usize::from(up)
}

/// Appends a number as its sign and its place on the levels, in `1 + ceil(log2(levels + 1))` bits. NaN for a number that is not
/// finite: a minus before 0, which no number has.
pub(super) fn write(levels: &[f64], x: f64, rounding: Rounding, rng: &mut ChaCha20Rng, writer: &mut BitWriter) {
    let (place, minus) = if x.is_finite() {
        let place = place(levels, x.abs(), rounding, rng);
        (place, x < 0.0 && place > 0)
    } else {
        (0, true)
    };
    writer.put((place as u64) << 1 | u64::from(minus), 1 + bits_below(levels.len() + 1));
}

/// Reads what [`write`] has written.
///
/// # Errors
/// When the message has ended, or there is no such level.
pub(super) fn read(levels: &[f64], reader: &mut BitReader<'_>) -> Result<f64> {
    let bits = reader.take(1 + bits_below(levels.len() + 1))?;
    let (place, minus) = ((bits >> 1) as usize, bits & 1 == 1);
    match place.checked_sub(1) {
        None if minus => Ok(f64::NAN),
        None => Ok(0.0),
        Some(place) => match levels.get(place) {
            Some(level) => Ok(if minus { -level } else { *level }),
            None => Err(Error::value("level in a message", place + 1, format!("at most {}", levels.len()))),
        },
    }
}

/// The constants of rounding between levels a < b, from the quotients b/a.
pub(super) fn class(quotients: impl Iterator<Item = f64>, rounding: Rounding) -> Class {
    let most = quotients.fold(1.0_f64, f64::max);
    // (q + 1/q + 2) / 4 = (1 + q)^2 / (4 q), and all constants are worst at the largest quotient q.
    let zeta = (most + 1.0 / most + 2.0) / 4.0;
    match rounding {
        Rounding::Unbiased => {
            Class { alpha: 1.0, beta: zeta, gamma: 1.0, delta: zeta, scale: 1.0 / zeta, zeta: Some(zeta) }
        }
        Rounding::Nearest => {
            let gamma = 2.0 / (1.0 + most);
            Class { alpha: gamma * gamma, beta: gamma * most, gamma, delta: zeta, scale: 1.0, zeta: None }
        }
    }
}

/// The base of levels, if it is one.
pub(super) fn base(base: f64) -> Result<f64> {
    if (1.01..=256.0).contains(&base) { Ok(base) } else { Err(Error::value("base of levels", base, "1.01 to 256")) }
}

/// General rounding: every number to one of the two given levels around its magnitude, or 0, and the sign kept.
///
/// A number takes a sign and ceil(log2(levels + 1)) bits. Magnitudes above the last level become the last level; a number that is
/// not finite becomes NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneralRounding {
    levels: Vec<f64>,
    rounding: Rounding,
}

impl GeneralRounding {
    /// On these levels, ascending; 0 is one besides.
    ///
    /// # Errors
    /// When there are none, or they are not finite, positive and ascending.
    pub fn new(levels: Vec<f64>, rounding: Rounding) -> Result<Self> {
        let mut last = 0.0;
        for level in &levels {
            if !(*level > last && level.is_finite()) {
                return Err(Error::value("level", level, format!("finite ones above 0, ascending: above {last}")));
            }
            last = *level;
        }
        if levels.is_empty() { Err(Error::value("levels", 0, "at least 1")) } else { Ok(Self { levels, rounding }) }
    }

    /// What is proved for vectors whose numbers are 0 or have magnitudes from the first level to the last. No constant holds
    /// for all vectors.
    pub fn class_between_levels(&self) -> Class {
        class(self.levels.windows(2).map(|pair| pair[1] / pair[0]), self.rounding)
    }
}

impl Compress for GeneralRounding {
    fn name(&self) -> &'static str {
        match self.rounding {
            Rounding::Unbiased => "rounding-unbiased",
            Rounding::Nearest => "rounding",
        }
    }

    fn encode(&self, xs: &[f64], _: Width, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut writer = BitWriter::default();
        xs.iter().for_each(|x| write(&self.levels, *x, self.rounding, rng, &mut writer));
        writer.finish()
    }

    fn decode(&self, message: &[u8], dim: usize, _: Width) -> Result<Vec<f64>> {
        let mut reader = BitReader::new(message);
        let xs = (0..dim).map(|_| read(&self.levels, &mut reader)).collect::<Result<Vec<f64>>>()?;
        reader.end().map(|()| xs)
    }

    fn class(&self, _: usize) -> Option<Class> {
        None
    }
}
