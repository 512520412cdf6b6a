//! Text: labelled lines to classify, or one long text whose tokens are to be foretold.

mod cells;
mod labelled;
mod windows;

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::reading::{Header, Normalize, Reading, is_delimiter};
use super::schema::Schema;
use super::source::Source;
use super::vocabulary::Vocabulary;
use super::width::product;
use crate::data::Label;
use crate::{Error, Result};

/// How the tokens of a text file were found, so that another file becomes tokens in the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    pub(super) vocabulary: Vocabulary,
    /// How labelled lines are laid out; absent for one long text.
    pub(super) layout: Option<Layout>,
}

/// How a file of labelled lines is laid out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    pub(super) delimiter: char,
    pub(super) skip_lines: usize,
    /// The names of the two columns, if the first line has them.
    pub(super) header: Option<[String; 2]>,
    /// Which of the two columns is the label.
    pub(super) label: usize,
}

/// Reads the records of `source`.
pub(super) fn read(source: Source, reading: &Reading) -> Result<Dataset> {
    let Some(vocabulary) = &reading.vocabulary else {
        let allowed = "`bytes`, or a public file of words, one a line: a vocabulary is never learnt from the data";
        return Err(Error::value("vocabulary", "absent", allowed));
    };
    if reading.on_disk {
        return Err(Error::value("on_disk", "given", super::ON_DISK));
    }
    let length = reading.length.unwrap_or(vocabulary.usual_length());
    check_length(length)?;
    if reading.language_model {
        check_unlabelled(reading)?;
        return windows::read(source, vocabulary, length);
    }
    labelled::read(source, reading, vocabulary, length)
}

/// Reads the records of `source` as those of `schema`, whose texts are `text`, were read.
pub(super) fn read_like(source: Source, schema: &Schema, text: &Text) -> Result<Dataset> {
    match &text.layout {
        Some(layout) => labelled::read_like(source, schema, &text.vocabulary, layout),
        None => windows::read(source, &text.vocabulary, schema.width()),
    }
}

/// What is declared for other formats and means nothing here, if anything: its name and value.
pub(super) fn declared_in_vain(reading: &Reading) -> Option<(&'static str, String)> {
    let is_default = |same: bool, name, value: String| (!same).then_some((name, value));
    is_default(reading.normalize == Normalize::None, "normalize", reading.normalize.to_string())
        .or(is_default(reading.range.is_none(), "range", "declared".into()))
        .or(is_default(reading.width.is_none(), "width", "declared".into()))
        .or(is_default(reading.shape.is_none(), "shape", "declared".into()))
}

impl Text {
    /// Whether it agrees with the rest of a schema.
    pub(super) fn check(&self, shape: &[usize]) -> Result<()> {
        let refuse = |found: String, allowed: &str| Err(Error::value("schema", found, allowed));
        if shape.len() != 1 {
            return refuse(format!("shape {shape:?}"), "the shape [length] of texts");
        }
        match &self.layout {
            Some(layout) if layout.label > 1 => refuse(format!("label {}", layout.label), "column 0 or 1"),
            Some(layout) if !is_delimiter(layout.delimiter) => {
                refuse(format!("delimiter {:?}", layout.delimiter), super::reading::DELIMITERS)
            }
            _ => Ok(()),
        }
    }
}

fn check_length(length: usize) -> Result<()> {
    if length == 0 {
        return Err(Error::value("length", length, "at least 1 token"));
    }
    product(&[length]).map(drop)
}

/// Refuses what is declared about labels where there are none.
fn check_unlabelled(reading: &Reading) -> Result<()> {
    let declared = [
        ("label", reading.label != Label::Last),
        ("header", reading.header != Header::Auto),
        ("delimiter", reading.delimiter.is_some()),
        ("skip_lines", reading.skip_lines > 0),
        ("classes", reading.classes.is_some()),
    ];
    match declared.into_iter().find(|(_, declared)| *declared) {
        Some((name, _)) => Err(Error::value(name, "declared", "nothing: a language model has a text without labels")),
        None => Ok(()),
    }
}
