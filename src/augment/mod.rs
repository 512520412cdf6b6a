//! Augmentation multiplicity: every sampled example becomes K random copies of itself, and its gradient is the mean of theirs.
//!
//! De, Berrada, Hayes, Smith and Balle (2022, arXiv 2204.13650, section 3.2) average the gradients of an example's copies before
//! they clip: the mean is clipped once, so one example has at most the clip norm in a sum, whatever the copies are and however many.
//! Neither sensitivity nor sampling changes, and the cost is that of a run without copies. Clipping every copy by itself and
//! adding up would be K times as sensitive.
//!
//! The copies are drawn from a stream of their own by key, step and place in the batch. Draws are alike at all places and do not
//! depend on the data, so that two data sets which differ in a record can be thought of with the same copies of all other records.

mod image;

use crate::data::Dataset;
use crate::seed::{Key, Role};
use crate::{Error, Result};
use image::{Copy, Image};
use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// How many random copies of an example are averaged, and what may happen to each: a shift, a flip or both. All K are drawn alike;
/// the example as it is comes up among them no more often than any other outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Augmentation {
    copies: NonZeroUsize,
    shift: usize,
    flip: bool,
}

/// More copies than anybody averages, and few enough to count rows with.
const MOST_COPIES: usize = 1024;

impl Augmentation {
    /// `copies` copies, from 1 to 1024, each shifted by a whole number of pixels that is uniform from `-shift` to `shift` in either
    /// direction, with zeros moving in, and if `flip`, mirrored left to right with probability 1/2.
    ///
    /// # Errors
    /// When there are no copies or too many, or when nothing happens to them.
    pub fn new(copies: usize, shift: usize, flip: bool) -> Result<Self> {
        let count = NonZeroUsize::new(copies).filter(|copies| copies.get() <= MOST_COPIES);
        let Some(copies) = count else {
            return Err(Error::value("augmentation", copies, format!("1 to {MOST_COPIES} copies")));
        };
        if shift == 0 && !flip {
            return Err(Error::value("augment", "nothing", "a shift by 1 pixel or more, a flip, or both"));
        }
        Ok(Self { copies, shift, flip })
    }

    /// How many copies.
    pub fn copies(self) -> NonZeroUsize {
        self.copies
    }

    /// The largest shift in pixels, 0 for none.
    pub fn shift(self) -> usize {
        self.shift
    }

    /// Whether half the copies are mirrored.
    pub fn flip(self) -> bool {
        self.flip
    }

    /// Whether records of `shape` can be augmented.
    ///
    /// # Errors
    /// When they are not images `[height, width]` or `[channels, height, width]`, or a shift could leave nothing of one.
    pub fn check(self, shape: &[usize]) -> Result<()> {
        let image = Image::of(shape)?;
        let side = image.height.min(image.width);
        if self.shift >= side {
            let allowed = format!("at most {}: images of {side} pixels would leave the frame", side - 1);
            return Err(Error::value("augment", format!("shift:{}", self.shift), allowed));
        }
        Ok(())
    }

    /// Values and labels of the copies of the records `rows`, the K of each one after another. The copies of a record are a function
    /// of key, step and its place in the batch, which for the first of `rows` is `first`.
    ///
    /// # Errors
    /// When the records cannot be augmented or read.
    pub fn copies_of(
        self,
        data: &Dataset,
        rows: &[usize],
        key: &Key,
        step: u32,
        first: usize,
    ) -> Result<(Vec<f32>, Vec<u32>)> {
        self.check(data.shape())?;
        let (image, copies, width) = (Image::of(data.shape())?, self.copies.get(), data.width());
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        data.gather(rows, &mut values, &mut labels)?;
        let mut rng = key.stream(Role::Augmentation, step);
        rng.set_word_pos(WORDS as u128 * copies as u128 * first as u128);
        let mut copied = vec![0.0; values.len() * copies];
        for (original, copied) in values.chunks_exact(width).zip(copied.chunks_exact_mut(width * copies)) {
            for copied in copied.chunks_exact_mut(width) {
                image.copy(original, self.draw(&mut rng), copied);
            }
        }
        Ok((copied, labels.iter().flat_map(|label| std::iter::repeat_n(*label, copies)).collect()))
    }

    /// What happens to the next copy.
    fn draw(self, rng: &mut impl RngCore) -> Copy {
        let words: [u32; WORDS] = std::array::from_fn(|_| rng.next_u32());
        // A multiple of a uniform fraction: from the uniform law by less than 2^-32 for each outcome, and independent of the data.
        let shift = |word: u32| {
            let outcomes = 2 * self.shift as u64 + 1;
            ((u64::from(word) * outcomes) >> 32) as isize - self.shift as isize
        };
        Copy { down: shift(words[0]), right: shift(words[1]), flip: self.flip && words[2] >> 31 == 1 }
    }
}

/// Words of the stream for one copy. Part of the frozen output.
const WORDS: usize = 4;

/// What of an [`Augmentation`] is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    copies: usize,
    shift: usize,
    flip: bool,
}

impl TryFrom<Fields> for Augmentation {
    type Error = Error;
    fn try_from(fields: Fields) -> Result<Self> {
        Self::new(fields.copies, fields.shift, fields.flip)
    }
}

impl From<Augmentation> for Fields {
    fn from(augmentation: Augmentation) -> Self {
        Self { copies: augmentation.copies.get(), shift: augmentation.shift, flip: augmentation.flip }
    }
}

impl std::fmt::Display for Augmentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shift = if self.shift > 0 { format!(", shifted by up to {} pixels", self.shift) } else { String::new() };
        let flip = if self.flip { ", flipped with probability 1/2" } else { "" };
        match self.copies.get() {
            1 => write!(f, "one random copy of each example{shift}{flip}"),
            copies => write!(f, "{copies} random copies of each example, their mean gradient clipped{shift}{flip}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(shape: &[usize], records: usize) -> Dataset {
        let width: usize = shape.iter().product();
        let values = (0..records * width).map(|i| 1.0 + i as f32).collect();
        let labels = (0..records as u32).map(|i| i % 2).collect();
        Dataset::from_dense("images", shape, values, vec!["a".into(), "b".into()], labels).unwrap()
    }

    #[test]
    fn copies_follow_key_step_and_place_and_not_the_micro_batch() {
        let (data, key) = (data(&[5, 4], 6), Key::from_seed(3));
        let augmentation = Augmentation::new(3, 2, true).unwrap();
        let of = |rows: &[usize], step, first| augmentation.copies_of(&data, rows, &key, step, first).unwrap();
        let (whole, labels) = of(&[5, 0, 3, 4], 7, 0);
        assert_eq!((whole.len(), labels), (4 * 3 * 20, [1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0].into()));
        let parts = [of(&[5], 7, 0).0, of(&[0, 3], 7, 1).0, of(&[4], 7, 3).0].concat();
        assert_eq!(whole, parts);
        assert_ne!(whole, of(&[5, 0, 3, 4], 8, 0).0);
        assert_ne!(whole, of(&[5, 0, 3, 4], 7, 1).0);
        assert!(of(&[], 7, 0).0.is_empty());
    }

    #[test]
    fn draws_are_uniform_and_frozen_by_seed() {
        let augmentation = Augmentation::new(1, 1, true).unwrap();
        let mut rng = Key::from_seed(0).stream(Role::Augmentation, 0);
        let mut counts = std::collections::BTreeMap::new();
        let n = 18_000;
        for i in 0..n {
            let copy = augmentation.draw(&mut rng);
            if i == 0 {
                assert_eq!((copy.down, copy.right, copy.flip), FROZEN_FIRST, "a change breaks every resumed run");
            }
            *counts.entry((copy.down, copy.right, copy.flip)).or_insert(0.0) += 1.0;
        }
        // Chi-square with 17 degrees of freedom is above 70 with a probability of 2e-8.
        let expected = f64::from(n) / 18.0;
        let distance: f64 = counts.values().map(|count: &f64| (count - expected).powi(2) / expected).sum();
        assert!(counts.len() == 18 && distance < 70.0, "{distance}: {counts:?}");
    }

    const FROZEN_FIRST: (isize, isize, bool) = (0, 1, false);

    #[test]
    fn what_cannot_be_augmented_is_refused() {
        let refusal = |result: Result<Augmentation>| result.unwrap_err().to_string();
        assert!(refusal(Augmentation::new(0, 1, false)).contains("1 to 1024"));
        assert!(refusal(Augmentation::new(1025, 1, false)).contains("1 to 1024"));
        assert!(refusal(Augmentation::new(2, 0, false)).contains("a flip"));
        let by = |shift| Augmentation::new(2, shift, false).unwrap();
        for (shape, shift, reason) in [
            (&[64][..], 1, "images"),
            (&[2, 3, 8, 8], 1, "images"),
            (&[3, 8, 4], 4, "at most 3"),
            (&[4, 8], usize::MAX, "at most 3"),
        ] {
            let error = by(shift).check(shape).unwrap_err().to_string();
            assert!(error.contains(reason), "{shape:?}: {error}");
        }
        by(3).check(&[3, 8, 4]).unwrap();
    }

    #[test]
    fn it_is_written_and_read_back_and_never_read_wrong() {
        let augmentation = Augmentation::new(4, 2, true).unwrap();
        let text = serde_json::to_string(&augmentation).unwrap();
        assert_eq!(text, r#"{"copies":4,"shift":2,"flip":true}"#);
        assert_eq!(serde_json::from_str::<Augmentation>(&text).unwrap(), augmentation);
        assert!(serde_json::from_str::<Augmentation>(r#"{"copies":0,"shift":2,"flip":true}"#).is_err());
        assert!(augmentation.to_string().contains("4 random copies") && augmentation.to_string().contains("2 pixels"));
    }
}
