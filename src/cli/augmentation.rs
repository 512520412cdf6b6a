//! The flags that choose random copies of examples.

use crate::augment::Augmentation;
use crate::{Error, Result};

#[derive(Debug, clap::Args)]
pub(super) struct AugmentationArgs {
    /// Random copies of every sampled example, whose gradients are averaged before the clip: the cost is the same [default with
    /// --augment: 1].
    #[arg(long, value_name = "K", help_heading = "Learning")]
    augmentation: Option<usize>,
    /// What happens to the copies of images: shift:P by up to P pixels each way, zeros moving in; flip left to right with probability
    /// 1/2.
    #[arg(long, value_name = "HOW,..", value_delimiter = ',', help_heading = "Learning")]
    augment: Vec<String>,
}

impl AugmentationArgs {
    /// What is asked for, for records of `shape`; nothing for one copy that is the example itself.
    ///
    /// # Errors
    /// When a word is not understood or said twice, when copies would all be equal, or when the records are not images.
    pub(super) fn read(&self, shape: &[usize]) -> Result<Option<Augmentation>> {
        let (mut shift, mut flip) = (None, false);
        for word in &self.augment {
            let again = match word.split_once(':') {
                None if word == "flip" => std::mem::replace(&mut flip, true),
                Some(("shift", pixels)) => {
                    let pixels = pixels.parse().ok().filter(|pixels: &usize| *pixels > 0);
                    let pixels = pixels
                        .ok_or_else(|| Error::value("--augment", word, "shift:P with a whole P of at least 1"))?;
                    shift.replace(pixels).is_some()
                }
                _ => return Err(Error::value("--augment", word, "shift:P, flip")),
            };
            if again {
                return Err(Error::value("--augment", self.augment.join(","), "shift and flip once each"));
            }
        }
        match self.augmentation {
            None | Some(1) if self.augment.is_empty() => Ok(None),
            Some(copies) if self.augment.is_empty() && copies > 1 => {
                let allowed =
                    "it beside --augment shift:P, flip or both: copies to which nothing happens are all equal";
                Err(Error::value("--augmentation", copies, allowed))
            }
            copies => {
                let augmentation = Augmentation::new(copies.unwrap_or(1), shift.unwrap_or(0), flip)?;
                augmentation.check(shape)?;
                Ok(Some(augmentation))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(copies: Option<usize>, words: &[&str]) -> Result<Option<Augmentation>> {
        let augment = words.iter().map(ToString::to_string).collect();
        AugmentationArgs { augmentation: copies, augment }.read(&[28, 28])
    }

    #[test]
    fn flags_are_read() {
        let both = Augmentation::new(4, 2, true).unwrap();
        assert_eq!(read(Some(4), &["flip", "shift:2"]).unwrap(), Some(both));
        assert_eq!(read(None, &["flip"]).unwrap(), Some(Augmentation::new(1, 0, true).unwrap()));
        assert_eq!((read(None, &[]).unwrap(), read(Some(1), &[]).unwrap()), (None, None));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        for (copies, words, part) in [
            (Some(2), &[][..], "all equal"),
            (Some(0), &[], "1 to 1024"),
            (Some(0), &["flip"], "1 to 1024"),
            (None, &["flop"], "shift:P, flip"),
            (None, &["shift:0"], "at least 1"),
            (None, &["shift:-1"], "at least 1"),
            (None, &["shift"], "shift:P"),
            (None, &["flip", "flip"], "once"),
            (None, &["shift:28"], "at most 27"),
        ] {
            let error = read(copies, words).unwrap_err().to_string();
            assert!(error.contains(part), "{copies:?} {words:?}: {error}");
        }
    }
}
