//! Where the label stands in a CSV file.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which column of a CSV file holds the label. As a word: `last`, `first`, a position counted from one, or a name;
/// `name:WORD` is always a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Label {
    /// The last column.
    #[default]
    Last,
    /// The first column.
    First,
    /// The column at this position, counted from one.
    Position(usize),
    /// The column of this name; the file then has a header.
    Name(String),
}

impl FromStr for Label {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match (word, word.parse::<usize>()) {
            ("last", _) => Ok(Self::Last),
            ("first", _) => Ok(Self::First),
            ("" | "name:", _) | (_, Ok(0)) => {
                Err(Error::value("label", word, "last, first, a position counted from 1, or the name of a column"))
            }
            (_, Ok(position)) => Ok(Self::Position(position)),
            (name, Err(_)) => Ok(Self::Name(name.strip_prefix("name:").unwrap_or(name).to_owned())),
        }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::First => f.write_str("first"),
            Self::Position(position) => write!(f, "{position}"),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

impl TryFrom<String> for Label {
    type Error = Error;

    fn try_from(word: String) -> Result<Self> {
        word.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_back() {
        for word in ["last", "first", "3", "name:income", "name:last", "name:3"] {
            assert_eq!(word.parse::<Label>().unwrap().to_string(), word);
        }
        assert_eq!("income".parse::<Label>().unwrap(), Label::Name("income".into()));
        for word in ["", "0", "name:"] {
            let message = word.parse::<Label>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("label = {word}: allowed is last, first, a position")), "{message}");
        }
    }
}
