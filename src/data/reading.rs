//! How a file is to be read: what the person who knows the data declares before anything looks at it.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::label::Label;
use super::rules::{ColumnRule, RangeRule};
use super::text;
use super::vocabulary::Vocabulary;
use super::width::{MAX_WIDTH, product};
use crate::{Error, Result};

/// How a file is to be read. The default finds the format, takes the last column for the label, and declares nothing.
///
/// Whatever is declared here is public knowledge and costs no privacy. Whatever is left open is taken from the data
/// and written into [`Dataset::notes`](super::Dataset::notes).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// The format; found out from the first bytes if absent.
    pub format: Option<Format>,
    /// CSV, text: which column holds the label.
    pub label: Label,
    /// IDX: the file of the labels; if absent, the sibling whose name says `labels` where this one says `images`.
    pub labels: Option<PathBuf>,
    /// CSV, text: whether the first row names the columns.
    pub header: Header,
    /// CSV: the names of the columns, where no row of the file names them; if absent their positions.
    pub names: Option<Vec<String>>,
    /// CSV, text: the character between cells; if absent a tab, a comma or a semicolon, found from the first line, and for text a
    /// tab.
    pub delimiter: Option<char>,
    /// CSV, text: lines to leave out before the table starts.
    pub skip_lines: usize,
    /// CSV: cells that stand for a missing value, after trimming.
    pub missing: Vec<String>,
    /// CSV: what is declared about single columns.
    pub columns: Vec<ColumnRule>,
    /// The public range of every numeric value without a range of its own, mapped to `[0, 1]`.
    pub range: Option<(f64, f64)>,
    /// What is done to each record after it is read.
    pub normalize: Normalize,
    /// The class labels, in the order of their numbers; those seen, sorted, if absent.
    pub classes: Option<Vec<String>>,
    /// LIBSVM: the number of features; the largest index seen if absent. Other formats: a check.
    pub width: Option<usize>,
    /// The shape of one record; that of the format if absent.
    pub shape: Option<Vec<usize>>,
    /// CSV, LIBSVM, IDX: leave the records in the file and read those of a batch when it is made, for files larger than memory.
    /// The values are the same. The file must not change meanwhile: if it does, [`Dataset::gather`](super::Dataset::gather)
    /// refuses.
    pub on_disk: bool,
    /// Text: which tokens there are; public.
    pub vocabulary: Option<Vocabulary>,
    /// Text: how many tokens a record has, a public constant; 256 bytes or 64 words if absent.
    pub length: Option<usize>,
    /// Text: whether the file is one long text, cut into records whose tokens are to be foretold, and not lines with labels.
    pub language_model: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            format: None,
            label: Label::Last,
            labels: None,
            header: Header::Auto,
            names: None,
            delimiter: None,
            skip_lines: 0,
            missing: ["", "?", "NA"].map(String::from).to_vec(),
            columns: Vec::new(),
            range: None,
            normalize: Normalize::None,
            classes: None,
            width: None,
            shape: None,
            on_disk: false,
            vocabulary: None,
            length: None,
            language_model: false,
        }
    }
}

impl Reading {
    /// Takes in a word `COLUMN=LOW:HIGH`, a rule for one column, or `LOW:HIGH`, the range of every numeric value.
    ///
    /// # Errors
    ///
    /// When the word is neither, or a range for every value is already there.
    pub fn add_range(&mut self, word: &str) -> Result<()> {
        match RangeRule::from_str(word)? {
            RangeRule::Column(rule) => self.columns.push(rule),
            RangeRule::Every(range) => {
                if let Some((low, high)) = self.range.replace(range) {
                    let allowed = format!("one range for every value; {low}:{high} is already declared");
                    return Err(Error::value("range", word, allowed));
                }
            }
        }
        Ok(())
    }

    /// The number of features declared by `width` or by `shape`.
    pub(super) fn declared_width(&self) -> Result<Option<usize>> {
        let shaped = self.shape.as_deref().map(product).transpose()?;
        match (self.width, shaped) {
            (Some(width), Some(shaped)) if width != shaped => {
                Err(Error::value("width", width, format!("{shaped}, the product of the declared shape")))
            }
            (Some(width), _) if width > MAX_WIDTH => Err(Error::value("width", width, format!("1 to {MAX_WIDTH}"))),
            (Some(width), _) => Ok(Some(width)),
            (None, shaped) => Ok(shaped),
        }
    }

    /// Refuses what is declared but means nothing for `format`: it would otherwise be ignored in silence.
    pub(super) fn check_applies_to(&self, format: Format) -> Result<()> {
        let (csv, idx, text): (&[Format], &[Format], &[Format]) = (&[Format::Csv], &[Format::Idx], &[Format::Text]);
        let lines: &[Format] = &[Format::Csv, Format::Text];
        let declared = [
            ("label", self.label != Label::Last, lines),
            ("header", self.header != Header::Auto, lines),
            ("column_names", self.names.is_some(), csv),
            ("delimiter", self.delimiter.is_some(), lines),
            ("skip_lines", self.skip_lines > 0, lines),
            ("missing", self.missing != Self::default().missing, csv),
            ("columns", !self.columns.is_empty(), csv),
            ("labels", self.labels.is_some(), idx),
            ("vocabulary", self.vocabulary.is_some(), text),
            ("length", self.length.is_some(), text),
            ("language_model", self.language_model, text),
        ];
        match declared.into_iter().find(|(_, declared, of)| *declared && !of.contains(&format)) {
            Some((name, _, of)) => {
                let value = match name {
                    "label" => self.label.to_string(),
                    "columns" => self.columns.iter().map(|rule| rule.column.as_str()).collect::<Vec<_>>().join(", "),
                    "missing" => self.missing.join(", "),
                    _ => "declared".to_owned(),
                };
                let of = of.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                Err(Error::value(name, value, format!("only with the format {of}; this file is {format}")))
            }
            None => match text::declared_in_vain(self).filter(|_| format == Format::Text) {
                Some((name, value)) => Err(Error::value(name, value, "nothing: texts are tokens and no numbers")),
                None => Ok(()),
            },
        }
    }
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The binary format of MNIST: big-endian dimensions, then the elements.
    Idx,
    /// `label index:value ...` lines.
    Libsvm,
    /// Cells between commas, tabs or another delimiter.
    Csv,
    /// The binary format of CIFAR-10: a class number and 3 x 32 x 32 bytes, record after record.
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// Lines of a label and a text, or one long text.
    Text,
}

/// Whether the first row of a CSV or text file names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Header {
    /// It does if it holds only text and a later row holds a number.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It is a record.
    No,
}

/// What is done to each record after it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// Nothing.
    #[default]
    None,
    /// Each record is scaled to Euclidean norm one. It depends on that record alone, so it tells nothing of others.
    Record,
}

/// Declares the words of an enum, used for its `FromStr` and `Display`.
macro_rules! words {
    ($type:ident, $name:literal, $($word:literal => $value:ident),+) => {
        impl FromStr for $type {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self> {
                match word.to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$value),)+
                    _ => Err(Error::value($name, word, [$($word),+].join(", "))),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$value => $word,)+ })
            }
        }
    };
}

words!(Format, "format", "idx" => Idx, "libsvm" => Libsvm, "csv" => Csv, "cifar-10" => Cifar10, "text" => Text);
words!(Header, "header", "auto" => Auto, "yes" => Yes, "no" => No);
words!(Normalize, "normalize", "none" => None, "record" => Record);

/// Reads the word for a delimiter: one ASCII character, or `tab`.
///
/// # Errors
///
/// When it is anything else, or a character that has another meaning in a CSV file.
pub fn parse_delimiter(word: &str) -> Result<char> {
    let delimiter = match word {
        "tab" | "\\t" => Some('\t'),
        _ => word.chars().next().filter(|character| word.len() == character.len_utf8()),
    };
    match delimiter {
        Some(character) if is_delimiter(character) => Ok(character),
        _ => Err(Error::value("delimiter", format!("{word:?}"), DELIMITERS)),
    }
}

pub(super) const DELIMITERS: &str = "`tab` or one ASCII character that is no quote, line end, letter or digit";

pub(super) fn is_delimiter(character: char) -> bool {
    character.is_ascii() && !matches!(character, '"' | '\n' | '\r' | '\0') && !character.is_ascii_alphanumeric()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_back() {
        assert_eq!("YES".parse::<Header>().unwrap(), Header::Yes);
        assert_eq!("record".parse::<Normalize>().unwrap().to_string(), "record");
        let message = "arff".parse::<Format>().unwrap_err().to_string();
        assert_eq!(message, "format = arff: allowed is idx, libsvm, csv, cifar-10, text");
    }

    #[test]
    fn delimiters_are_single_harmless_characters() {
        assert_eq!(parse_delimiter("tab").unwrap(), '\t');
        assert_eq!(parse_delimiter(";").unwrap(), ';');
        for word in ["", ",,", "\"", "\n", "é", "a"] {
            assert!(parse_delimiter(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_reading_survives_json_and_refuses_unknown_fields() {
        let mut reading = Reading { label: Label::Name("y".into()), shape: Some(vec![2, 2]), ..Reading::default() };
        reading.add_range("age=0:120").unwrap();
        reading.add_range("0:1").unwrap();
        let text = serde_json::to_string(&reading).unwrap();
        assert_eq!(serde_json::from_str::<Reading>(&text).unwrap(), reading);
        assert_eq!(serde_json::from_str::<Reading>("{}").unwrap(), Reading::default());
        assert!(serde_json::from_str::<Reading>("{\"lable\": \"last\"}").is_err());
        assert!(reading.add_range("0:2").unwrap_err().to_string().contains("0:1 is already declared"));
    }

    #[test]
    fn declarations_that_mean_nothing_for_the_format_are_refused() {
        let reading = Reading { label: Label::First, ..Reading::default() };
        let message = reading.check_applies_to(Format::Libsvm).unwrap_err().to_string();
        assert_eq!(message, "label = first: allowed is only with the format csv or text; this file is libsvm");
        assert!(reading.check_applies_to(Format::Csv).is_ok() && reading.check_applies_to(Format::Text).is_ok());
        let reading = Reading { missing: vec!["-".into(), "x".into()], ..Reading::default() };
        for format in [Format::Idx, Format::Libsvm, Format::Cifar10, Format::Text] {
            let message = reading.check_applies_to(format).unwrap_err().to_string();
            assert_eq!(message, format!("missing = -, x: allowed is only with the format csv; this file is {format}"));
        }
        assert!(reading.check_applies_to(Format::Csv).is_ok());
    }

    #[test]
    fn width_and_shape_must_agree() {
        let both = Reading { width: Some(5), shape: Some(vec![2, 2]), ..Reading::default() };
        assert!(both.declared_width().unwrap_err().to_string().contains("the product of the declared shape"));
        let shape = Reading { shape: Some(vec![2, 3]), ..Reading::default() };
        assert_eq!(shape.declared_width().unwrap(), Some(6));
    }
}
