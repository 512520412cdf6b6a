//! Compressors by their words: `top-k:10`, `natural`, `top-k:1%+natural`.

use super::{
    Adaptive, Compress, Contractive, Dithering, Exponential, Induced, Norm, Radius, RandK, Rounding, ScaledSign, TopK,
    TopKThen,
};
use crate::clip::ClipNorm;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A compressor before it is known how long the vectors are, as it is written on the command line and in reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Compressor {
    /// Whole vectors.
    Identity,
    /// Vectors clipped to a length.
    Clip(ClipNorm),
    /// The largest numbers, and by which compressor they are sent.
    TopK(Count, Box<Compressor>),
    /// Numbers at random places: as they are, or so many times larger that they are right on average.
    RandK(Count, Rounding),
    /// Numbers rounded to powers of a base.
    Exponential(f64, Rounding),
    /// The norm, and numbers relative to it on so many powers of a base.
    Dithering(f64, usize),
    /// Signs and one size.
    ScaledSign,
    /// One number, drawn by its size.
    Adaptive,
    /// A contraction, and what it leaves by an unbiased compressor.
    Induced(Box<Compressor>, Box<Compressor>),
}

/// How many numbers of a vector: so many, or a percentage of them, and at least one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// So many.
    Numbers(usize),
    /// Of a hundred.
    Percent(f64),
}

impl Count {
    /// How many of `dim`.
    fn of(self, dim: usize) -> usize {
        match self {
            Self::Numbers(count) => count,
            Self::Percent(percent) => ((percent / 100.0 * dim as f64).round() as usize).max(1),
        }
    }
}

/// The forms there are.
const FORMS: &str = "identity, clip:LENGTH, top-k:K, rand-k:K, rand-k-unbiased:K, natural, exponential:BASE, \
    exponential-unbiased:BASE, natural-dithering:LEVELS, exponential-dithering:BASE:LEVELS, scaled-sign, \
    adaptive-sparsification, or top-k:K+ and another \
    of them, or CONTRACTION/UNBIASED for what the first leaves; K is a number or a percentage such as 1%";

impl Compressor {
    /// For vectors of `dim` numbers.
    ///
    /// # Errors
    /// When a constant is out of its range.
    pub fn build(&self, dim: usize) -> Result<Box<dyn Compress>> {
        Ok(match self {
            Self::Identity => Box::new(Radius::INFINITE),
            Self::Clip(length) => Box::new(Radius::new(*length)),
            Self::TopK(count, then) if **then == Self::Identity => Box::new(TopK::new(count.of(dim))?),
            Self::TopK(count, then) => {
                let count = count.of(dim).min(dim);
                Box::new(TopKThen::new(count, then.build(count)?)?)
            }
            Self::RandK(count, Rounding::Unbiased) => Box::new(RandK::unbiased(count.of(dim))?),
            Self::RandK(count, Rounding::Nearest) => Box::new(RandK::biased(count.of(dim))?),
            Self::Exponential(base, rounding) => Box::new(Exponential::new(*base, *rounding)?),
            Self::Dithering(base, levels) => Box::new(Dithering::new(*base, *levels, Norm::Two)?),
            Self::ScaledSign => Box::new(ScaledSign),
            Self::Adaptive => Box::new(Adaptive),
            Self::Induced(first, rest) => Box::new(Induced::new(first.build(dim)?, rest.build(dim)?)),
        })
    }

    /// The same multiplied with what makes it a contraction, as error feedback and EF21 need it.
    ///
    /// # Errors
    /// As [`Compressor::build`].
    pub fn contractive(&self, dim: usize) -> Result<Box<dyn Compress>> {
        let compress = self.build(dim)?;
        let scaled = compress.class(dim).is_some_and(|class| class.scale != 1.0);
        Ok(if scaled { Box::new(Contractive::new(compress)) } else { compress })
    }
}

impl std::str::FromStr for Compressor {
    type Err = Error;

    fn from_str(words: &str) -> Result<Self> {
        let unknown = || Error::value("compressor", words, FORMS);
        let number = |word: &str| word.parse::<f64>().map_err(|_| unknown());
        let length = |word: &str| ClipNorm::new(number(word)?);
        if let Some((first, rest)) = words.split_once('/') {
            let induced = Self::Induced(Box::new(first.parse()?), Box::new(rest.parse()?));
            // On vectors long enough for a compressor to leave something.
            let unbiased = induced.build(1 << 20)?.class(1 << 20).is_some();
            return if unbiased { Ok(induced) } else { Err(unknown()) };
        }
        if let Some((first, then)) = words.split_once('+') {
            return match first.parse()? {
                Self::TopK(count, _) => Ok(Self::TopK(count, Box::new(then.parse()?))),
                _ => Err(unknown()),
            };
        }
        let compressor = match words.split(':').collect::<Vec<_>>().as_slice() {
            ["identity"] => Self::Identity,
            ["clip", word] => Self::Clip(length(word)?),
            ["top-k", word] => Self::TopK(word.parse()?, Box::new(Self::Identity)),
            ["rand-k", word] => Self::RandK(word.parse()?, Rounding::Nearest),
            ["rand-k-unbiased", word] => Self::RandK(word.parse()?, Rounding::Unbiased),
            ["natural"] => Self::Exponential(2.0, Rounding::Unbiased),
            ["exponential", base] => Self::Exponential(number(base)?, Rounding::Nearest),
            ["exponential-unbiased", base] => Self::Exponential(number(base)?, Rounding::Unbiased),
            ["natural-dithering", levels] => Self::Dithering(2.0, levels.parse().map_err(|_| unknown())?),
            ["exponential-dithering", base, levels] => {
                Self::Dithering(number(base)?, levels.parse().map_err(|_| unknown())?)
            }
            ["scaled-sign"] => Self::ScaledSign,
            ["adaptive-sparsification"] => Self::Adaptive,
            _ => return Err(unknown()),
        };
        // What cannot be built is no compressor.
        compressor.build(1).map(|_| compressor)
    }
}

impl std::fmt::Display for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity => write!(f, "identity"),
            Self::Clip(length) => write!(f, "clip:{}", length.get()),
            Self::TopK(count, then) if **then == Self::Identity => write!(f, "top-k:{count}"),
            Self::TopK(count, then) => write!(f, "top-k:{count}+{then}"),
            Self::RandK(count, Rounding::Nearest) => write!(f, "rand-k:{count}"),
            Self::RandK(count, Rounding::Unbiased) => write!(f, "rand-k-unbiased:{count}"),
            Self::Exponential(2.0, Rounding::Unbiased) => write!(f, "natural"),
            Self::Exponential(base, Rounding::Nearest) => write!(f, "exponential:{base}"),
            Self::Exponential(base, Rounding::Unbiased) => write!(f, "exponential-unbiased:{base}"),
            Self::Dithering(2.0, levels) => write!(f, "natural-dithering:{levels}"),
            Self::Dithering(base, levels) => write!(f, "exponential-dithering:{base}:{levels}"),
            Self::ScaledSign => write!(f, "scaled-sign"),
            Self::Adaptive => write!(f, "adaptive-sparsification"),
            Self::Induced(first, rest) => write!(f, "{first}/{rest}"),
        }
    }
}

impl TryFrom<String> for Compressor {
    type Error = Error;

    fn try_from(words: String) -> Result<Self> {
        words.parse()
    }
}

impl From<Compressor> for String {
    fn from(compressor: Compressor) -> Self {
        compressor.to_string()
    }
}

impl std::str::FromStr for Count {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let unknown = || Error::value("numbers that are sent", word, "a number from 1 on, or a percentage up to 100%");
        match word.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
                percent.map(Self::Percent).ok_or_else(unknown)
            }
            None => word.parse().ok().filter(|count| *count > 0).map(Self::Numbers).ok_or_else(unknown),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Numbers(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_as_they_were() {
        for words in [
            "identity",
            "clip:0.5",
            "top-k:10",
            "top-k:1%",
            "top-k:5+natural",
            "top-k:2.5%+clip:1",
            "rand-k:3",
            "rand-k-unbiased:10%",
            "natural",
            "exponential:4",
            "exponential-unbiased:1.5",
            "natural-dithering:8",
            "exponential-dithering:3:4",
            "scaled-sign",
            "adaptive-sparsification",
            "top-k:1%/rand-k-unbiased:1%",
            "top-k:5+exponential:2/natural",
        ] {
            let compressor: Compressor = words.parse().unwrap();
            assert_eq!(compressor.to_string(), words);
            assert!(compressor.build(100).is_ok() && compressor.contractive(100).is_ok(), "{words}");
        }
        assert_eq!(("top-k:1%".parse::<Compressor>().unwrap().build(1000).unwrap().name()), "top-k");
    }

    #[test]
    fn what_is_no_compressor_is_refused() {
        for words in [
            "",
            "top-k",
            "top-k:0",
            "top-k:0%",
            "top-k:101%",
            "top-k:NaN%",
            "clip:0",
            "clip:-1",
            "clip:NaN",
            "natural:3",
            "natural+top-k:3",
            "exponential:1",
            "natural-dithering:0",
            "exponential-dithering:2",
            "natural/top-k:3",
            "top-k:3/rand-k:3",
            "top-k:3/",
            "zip",
        ] {
            assert!(words.parse::<Compressor>().is_err(), "{words}");
        }
    }
}
