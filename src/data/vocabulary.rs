//! Vocabularies: which token ids a text becomes. They are public by nature or declared, never learnt from the data.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::quote::quoted;
use super::source::Source;
use crate::{Error, Place, Result};

/// The most words of a list: every id is then exact as an `f32`, too.
const MAX_WORDS: usize = (1 << 24) - 2;

/// Which tokens there are. The last id is always the filler that makes texts equally long.
///
/// With [`bytes`](Self::bytes) a token is a byte of the text and its id that byte: 256 ids and the filler.
///
/// With a list of [`words`](Self::words) the text is lowercased (Unicode's mapping, as [`str::to_lowercase`]) and a word is an
/// unbroken run of characters that are letters or digits in Unicode's sense ([`char::is_alphanumeric`]). Everything else, white
/// space, punctuation, signs, ends a word and is left out: `Don't!` is `don` and `t`. The id of a word is its place in the list,
/// counted from zero; after the words come one id for all words that are not in it, and the filler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Bytes,
    Words(Arc<HashMap<String, u32>>),
}

/// A vocabulary beside a model: the words in order, between blanks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stored {
    Bytes,
    Words(String),
}

impl Vocabulary {
    /// The 256 bytes.
    pub fn bytes() -> Self {
        Self(Kind::Bytes)
    }

    /// A list of words, in the order of their ids. Who declares it says that it is public: that it was not made from the
    /// private data.
    ///
    /// # Errors
    ///
    /// When there is no word, one of them is not exactly one word of a text, one comes twice, or there are too many.
    pub fn words<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut words = Words::default();
        for word in list {
            words.push(word.as_ref()).map_err(|(found, allowed)| Error::value("vocabulary", found, allowed))?;
        }
        words.finish().map_err(|(found, allowed)| Error::value("vocabulary", found, allowed))
    }

    /// The word `bytes`, or a file of words, one a line; lines without a word are left out.
    ///
    /// # Errors
    ///
    /// As [`words`](Self::words), with the line; when the file cannot be read or is not UTF-8 text.
    pub fn read(name: &Path) -> Result<Self> {
        if name.as_os_str() == "bytes" {
            return Ok(Self::bytes());
        }
        let source = Source::open(name)?;
        let origin = source.origin().clone();
        let (mut words, mut stream, mut line) = (Words::default(), source.into_stream(), Vec::new());
        for number in 1.. {
            line.clear();
            // A file that is no list is not read whole.
            let mut part = stream.by_ref().take(MAX_LINE);
            if part.read_until(b'\n', &mut line).map_err(|error| origin.fault(error))? == 0 {
                break;
            }
            let place = || origin.line(number);
            if line.len() as u64 == MAX_LINE {
                return Err(Error::data(place(), format!("a line of {MAX_LINE} bytes or more"), "one word a line"));
            }
            let word = std::str::from_utf8(&line).map_err(|_| not_text(place()))?.trim();
            if !word.is_empty() {
                words.push(word).map_err(|(found, allowed)| Error::data(place(), found, allowed))?;
            }
        }
        words.finish().map_err(|(found, allowed)| origin.error(found, allowed))
    }

    /// How many ids there are, the filler and unknown words included.
    pub fn size(&self) -> usize {
        match &self.0 {
            Kind::Bytes => 257,
            Kind::Words(words) => words.len() + 2,
        }
    }

    /// The id of the filler: the last one.
    pub fn padding(&self) -> u32 {
        // At most 2^24 ids.
        (self.size() - 1) as u32
    }

    /// The id of all words that are not in the list; bytes are all known.
    pub fn unknown(&self) -> Option<u32> {
        match &self.0 {
            Kind::Bytes => None,
            Kind::Words(words) => Some(words.len() as u32),
        }
    }

    /// How many tokens of a text are kept if nothing else is declared: 256 bytes or 64 words.
    pub fn usual_length(&self) -> usize {
        match &self.0 {
            Kind::Bytes => 256,
            Kind::Words(_) => 64,
        }
    }

    /// What the tokens are, for a sentence: `bytes`, or `words of a list of 10000`.
    pub(super) fn description(&self) -> String {
        match &self.0 {
            Kind::Bytes => "bytes".into(),
            Kind::Words(words) => format!("words of a list of {}", words.len()),
        }
    }

    /// What a statement must say about the vocabulary, if anything.
    pub(super) fn note(&self) -> Option<String> {
        let Kind::Words(words) = &self.0 else { return None };
        Some(format!(
            "the list of {} words was declared and is taken to be public: it must not have been made from the private texts",
            words.len()
        ))
    }

    /// The ids of a text; `None` if words are asked of what is not UTF-8 text.
    pub(super) fn ids(&self, text: &[u8]) -> Option<Vec<u32>> {
        match &self.0 {
            Kind::Bytes => Some(text.iter().map(|&byte| u32::from(byte)).collect()),
            Kind::Words(known) => {
                let text = std::str::from_utf8(text).ok()?.to_lowercase();
                let id = |word: &str| known.get(word).copied().unwrap_or(known.len() as u32);
                Some(split(&text).map(id).collect())
            }
        }
    }
}

/// Longer lines hold no word.
const MAX_LINE: u64 = 1 << 16;

/// What a reader says of bytes that should be text.
pub(super) fn not_text(place: Place) -> Error {
    Error::data(place, "bytes that are not UTF-8 text", "UTF-8 text; `--vocabulary bytes` takes any bytes")
}

/// The words of a lowercased text.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// A list of words while it is read; a refusal is what was found and what is allowed.
#[derive(Default)]
struct Words(HashMap<String, u32>);

impl Words {
    fn push(&mut self, word: &str) -> Result<(), (String, String)> {
        let lower = word.to_lowercase();
        let whole = split(&lower).next() == Some(&lower);
        if !whole {
            let allowed = "one word a line: letters and digits only, as texts are split at everything else";
            return Err((quoted(word), allowed.into()));
        }
        let id = self.0.len();
        if id == MAX_WORDS {
            return Err((format!("more than {MAX_WORDS} words"), "fewer".into()));
        }
        match self.0.insert(lower, id as u32) {
            None => Ok(()),
            Some(_) => Err((format!("{} twice", quoted(word)), "words that differ, also in lower case".into())),
        }
    }

    fn finish(self) -> Result<Vocabulary, (String, String)> {
        if self.0.is_empty() {
            return Err(("no words".into(), "`bytes`, or a file of words, one a line".into()));
        }
        Ok(Vocabulary(Kind::Words(Arc::new(self.0))))
    }
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Self {
        match vocabulary.0 {
            Kind::Bytes => Self::Bytes,
            Kind::Words(words) => {
                let mut list: Vec<(&String, &u32)> = words.iter().collect();
                list.sort_by_key(|(_, id)| **id);
                let mut text = String::new();
                for (word, id) in list {
                    let blank = if *id == 0 { "" } else { " " };
                    // Writing to a string cannot fail.
                    write!(text, "{blank}{word}").ok();
                }
                Self::Words(text)
            }
        }
    }
}

impl TryFrom<Stored> for Vocabulary {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        match stored {
            Stored::Bytes => Ok(Self::bytes()),
            Stored::Words(text) => Self::words(text.split(' ')),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_their_own_ids() {
        let bytes = Vocabulary::bytes();
        assert_eq!(bytes.ids(b"a\xff\0").unwrap(), [97, 255, 0]);
        assert_eq!((bytes.size(), bytes.padding(), bytes.unknown(), bytes.usual_length()), (257, 256, None, 256));
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        let words = Vocabulary::words(["don", "T", "größe", "2"]).unwrap();
        assert_eq!((words.size(), words.unknown(), words.padding(), words.usual_length()), (6, Some(4), 5, 64));
        assert_eq!(words.ids("Don't!".as_bytes()).unwrap(), [0, 1]);
        assert_eq!(words.ids("GRÖSSE\u{a0}GRÖßE  2,5".as_bytes()).unwrap(), [4, 2, 3, 4]);
        assert!(words.ids(b" .!\t ").unwrap().is_empty());
        assert_eq!(words.ids(b"caf\xe9"), None);
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        let refusal = |list: &[&str]| Vocabulary::words(list).unwrap_err().to_string();
        assert!(refusal(&[]).contains("no words"));
        assert!(refusal(&["a b"]).contains("vocabulary = `a b`: allowed is one word a line"));
        assert!(refusal(&["ab'"]).contains("`ab'`"));
        assert!(refusal(&[""]).contains("``"));
        assert!(refusal(&["word", "Word"]).contains("`Word` twice"));
    }

    #[test]
    fn a_file_is_read_line_by_line_and_errors_name_the_line() {
        let here = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            let path = here.path().join("words.txt");
            std::fs::write(&path, content).unwrap();
            Vocabulary::read(&path)
        };
        assert_eq!(read(b"the\r\n\nOF\n a \n").unwrap(), Vocabulary::words(["the", "of", "a"]).unwrap());
        assert!(read(b"the\nof\nthe\n").unwrap_err().to_string().contains("words.txt:3: found `the` twice"));
        assert!(read(b"the\n\xff\n").unwrap_err().to_string().contains("words.txt:2: found bytes that are not UTF-8"));
        assert!(read(b"").unwrap_err().to_string().contains("words.txt: found no words"));
        assert!(read(&[b'x'; 100_000]).is_err());
        assert_eq!(Vocabulary::read(Path::new("bytes")).unwrap(), Vocabulary::bytes());
    }

    #[test]
    fn a_vocabulary_survives_json_in_order() {
        for vocabulary in [Vocabulary::bytes(), Vocabulary::words(["z", "a", "m"]).unwrap()] {
            let text = serde_json::to_string(&vocabulary).unwrap();
            assert_eq!(serde_json::from_str::<Vocabulary>(&text).unwrap(), vocabulary);
        }
        let words = Vocabulary::words(["z", "a", "m"]).unwrap();
        assert_eq!(serde_json::to_string(&words).unwrap(), r#"{"words":"z a m"}"#);
        assert!(serde_json::from_str::<Vocabulary>(r#"{"words":"z z"}"#).is_err());
    }
}
