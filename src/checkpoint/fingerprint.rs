//! Which records a run was started with.

use super::hexadecimal;
use crate::Result;
use crate::data::{Dataset, Domain};
use sha2::{Digest, Sha256};

/// SHA-256 of shape, records and labels, and for tokens of how many there are and what is asked of them. It is a function of private
/// data and stays in the checkpoint.
pub(crate) struct Fingerprint(pub(super) String);

impl Fingerprint {
    /// The hash.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// When the records cannot be read.
    pub(crate) fn of(data: &Dataset) -> Result<Self> {
        let (mut hash, mut features, mut labels) = (Sha256::new(), Vec::new(), Vec::new());
        hash.update(format!("{:?} {:?}", data.shape(), data.classes()));
        let form = data.form();
        if let Domain::Tokens { .. } = form.domain {
            hash.update(format!("{:?} {:?}", form.domain, form.target));
        }
        let rows: Vec<usize> = (0..data.len()).collect();
        for rows in rows.chunks(256) {
            data.gather(rows, &mut features, &mut labels)?;
            features.iter().for_each(|feature| hash.update(feature.to_le_bytes()));
            labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        }
        Ok(Self(hexadecimal(&hash.finalize())))
    }

    /// The same records where each is at its node: dealt otherwise, their sums are others.
    pub(crate) fn dealt<'a>(&self, shards: impl IntoIterator<Item = &'a [usize]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(&self.0);
        for shard in shards {
            hash.update((shard.len() as u64).to_le_bytes());
            shard.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        Self(hexadecimal(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Format, Reading, Vocabulary, read};

    #[test]
    fn tokens_are_other_records_than_the_numbers_they_look_like() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("t.tsv");
        let of = |content: &str, vocabulary| {
            std::fs::write(&path, content).unwrap();
            let (format, length) = (Some(Format::Text), Some(1));
            let reading = Reading { format, vocabulary: Some(vocabulary), length, ..Reading::default() };
            Fingerprint::of(&read(&path, &reading).unwrap()).unwrap().0
        };
        let bytes = of("a\t0\nb\t1\na\t0\n", Vocabulary::bytes());
        assert_ne!(bytes, of("a\t0\na\t1\na\t0\n", Vocabulary::bytes()));
        let (features, classes) = (vec![97.0, 98.0, 97.0], vec!["0".to_string(), "1".to_string()]);
        let numbers = Dataset::from_dense("t", &[1], features, classes, vec![0, 1, 0]).unwrap();
        assert_ne!(bytes, Fingerprint::of(&numbers).unwrap().0);
        // The same ids out of more words.
        let words = |list: &str| of("a\t0\nb\t1\na\t0\n", Vocabulary::words(list.split(' ')).unwrap());
        assert_ne!(words("a b"), words("a b c"));
    }
}
