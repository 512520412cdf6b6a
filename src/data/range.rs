//! Public ranges: how a declared range of values becomes `[0, 1]`.

use crate::{Error, Result};

/// A checked public range `low..high`, mapped linearly to `[0, 1]`; values outside are clamped to it.
///
/// Each value is mapped alone, so the mapping tells nothing about any other record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Checks that both ends are finite, that `low < high` and that the width is finite too.
    pub(super) fn new(range: (f64, f64)) -> Result<Self> {
        let (low, high) = range;
        if low < high && (high - low).is_finite() && low.is_finite() {
            Ok(Self { low, high })
        } else {
            Err(Error::value("range", format!("{low}:{high}"), "two finite numbers LOW:HIGH with LOW < HIGH"))
        }
    }

    /// The value in `[0, 1]`.
    pub(super) fn apply(&self, value: f64) -> f32 {
        ((value.clamp(self.low, self.high) - self.low) / (self.high - self.low)) as f32
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.low, self.high)
    }
}

/// The value as it is stored: scaled where there is a range, otherwise rounded to `f32`; `None` if that overflows.
///
/// Zero has no sign, so that it does not matter whether zeros are stored.
pub(super) fn stored(value: f64, scale: Option<Scale>) -> Option<f32> {
    let stored = scale.map_or(value as f32, |scale| scale.apply(value)) + 0.0;
    (value.is_finite() && stored.is_finite()).then_some(stored)
}

/// Reads `LOW:HIGH`.
pub(super) fn parse(word: &str) -> Result<(f64, f64)> {
    let refuse = || Error::value("range", word, "two finite numbers LOW:HIGH with LOW < HIGH, as in 0:16");
    let (low, high) = word.split_once(':').ok_or_else(refuse)?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| refuse());
    let range = (number(low)?, number(high)?);
    Scale::new(range).map_err(|_| refuse())?;
    Ok(range)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn maps_linearly_and_clamps() {
        let scale = Scale::new((-2.0, 6.0)).unwrap();
        assert_eq!([-9.0, -2.0, 0.0, 6.0, 7.0].map(|v| scale.apply(v)), [0.0, 0.0, 0.25, 1.0, 1.0]);
    }

    #[test]
    fn refuses_what_is_not_a_range() {
        for range in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (-1e308, 1e308)] {
            assert!(Scale::new(range).is_err(), "{range:?}");
        }
        for word in ["", "0", "0:", ":1", "a:b", "1:0", "0:inf", "0:1:2"] {
            let message = parse(word).unwrap_err().to_string();
            assert!(message.starts_with(&format!("range = {word}: allowed is")), "{message}");
        }
        assert_eq!(parse("-1:2.5").unwrap(), (-1.0, 2.5));
    }

    #[test]
    fn stores_only_what_fits() {
        assert_eq!(stored(1e39, None), None);
        assert_eq!(stored(-0.0, None).map(f32::to_bits), Some(0));
        assert_eq!(stored(f64::NAN, Some(Scale::new((0.0, 1.0)).unwrap())), None);
        assert_eq!(stored(1e39, Some(Scale::new((0.0, 1.0)).unwrap())), Some(1.0));
    }
}
