//! Texts with labels: a line is a record.

use super::cells::{Cells, Lines};
use super::{Layout, Text};
use crate::data::classes::{Classes, too_many};
use crate::data::dataset::Dataset;
use crate::data::label::Label;
use crate::data::quote::{list, quoted};
use crate::data::reading::{Format, Header, Normalize, Reading};
use crate::data::schema::Schema;
use crate::data::source::{Origin, Source};
use crate::data::tokens::Tokens;
use crate::data::values::Values;
use crate::data::vocabulary::{Vocabulary, not_text};
use crate::{Error, Result};

/// Reads the records of `source`.
pub(super) fn read(source: Source, reading: &Reading, vocabulary: &Vocabulary, length: usize) -> Result<Dataset> {
    let mut lines = Lines::new(source, reading.delimiter, reading.skip_lines)?;
    let (origin, delimiter) = (lines.origin().clone(), lines.delimiter());
    let mut records = Records::new(&origin, vocabulary, length, Classes::new(reading.classes.as_deref())?);
    let first = lines.next()?.ok_or_else(|| origin.error("an empty file", "at least one record"))?;
    let (header, label) = columns(reading, &first, &origin)?;
    let first_line = first.line;
    if header.is_none() {
        records.push(&first, label)?;
    }
    records.read(&mut lines, label)?;
    let Records { tokens, mut labels, classes, .. } = records;
    let mut notes = Vec::new();
    let classes = classes.finish(&mut labels, &mut notes).map_err(|seen| {
        let (found, expected) = too_many(seen);
        origin.error(found, expected)
    })?;
    let undecided = header.is_none() && reading.header == Header::Auto && reading.classes.is_none();
    if let (true, Some((first, others))) = (undecided, labels.split_first())
        && !others.contains(first)
    {
        let found = format!("the label {}, which no other line has", quoted(&classes[*first as usize]));
        let expected = "`--header yes` if this line names the columns, `--header no` if it is a record";
        return Err(Error::data(origin.line(first_line), found, expected));
    }
    notes.extend(notes_on_texts(vocabulary, length));
    let layout = Layout { delimiter, skip_lines: reading.skip_lines, header, label };
    let schema = Schema::of_file(Format::Text, vec![length], classes, None, Normalize::None)
        .with_text(Text { vocabulary: vocabulary.clone(), layout: Some(layout) });
    Dataset::from_file(origin.place(), Values::Tokens(tokens), labels, notes, schema)
}

/// Reads the records of `source` as those of `schema` were read.
pub(super) fn read_like(source: Source, schema: &Schema, vocabulary: &Vocabulary, layout: &Layout) -> Result<Dataset> {
    let mut lines = Lines::new(source, Some(layout.delimiter), layout.skip_lines)?;
    let origin = lines.origin().clone();
    let mut records = Records::new(&origin, vocabulary, schema.width(), Classes::new(Some(schema.classes()))?);
    if let Some(names) = &layout.header {
        let first = lines.next()?.ok_or_else(|| origin.error("an empty file", "a header and at least one record"))?;
        if first.names() != *names {
            let expected = format!("the columns {}, as in the training file", list(names));
            return Err(Error::data(origin.line(first.line), list(&first.names()), expected));
        }
    }
    records.read(&mut lines, layout.label)?;
    let Records { tokens, mut labels, classes, .. } = records;
    let mut notes = Vec::new();
    // The classes are given, so they cannot be too many.
    classes.finish(&mut labels, &mut notes).unwrap_or_default();
    notes.extend(notes_on_texts(vocabulary, schema.width()));
    Dataset::from_file(origin.place(), Values::Tokens(tokens), labels, notes, schema.clone())
}

fn notes_on_texts(vocabulary: &Vocabulary, length: usize) -> Vec<String> {
    let cut = format!(
        "a text is its first {length} tokens ({}), a public constant; shorter texts were filled up",
        vocabulary.description()
    );
    std::iter::once(cut).chain(vocabulary.note()).collect()
}

/// The names of the columns, if the first line holds them, and which one is the label.
fn columns(reading: &Reading, first: &Cells<'_>, origin: &Origin) -> Result<(Option<[String; 2]>, usize)> {
    let names = first.names();
    let (header, label) = match &reading.label {
        Label::First | Label::Position(1) => (reading.header == Header::Yes, 0),
        Label::Last | Label::Position(2) => (reading.header == Header::Yes, 1),
        Label::Position(position) => return Err(Error::value("label", position, "a position 1 or 2")),
        Label::Name(name) if reading.header == Header::No => {
            return Err(Error::value("label", name, "last, first or a position, since the file has no header"));
        }
        Label::Name(name) => {
            let at = names.iter().position(|column| column == name).ok_or_else(|| {
                let allowed = format!("one of the columns {} of {}", list(&names), origin.path().display());
                Error::value("label", name, allowed)
            })?;
            (true, at)
        }
    };
    Ok((header.then_some(names), label))
}

/// The records read so far.
struct Records<'a> {
    origin: &'a Origin,
    vocabulary: &'a Vocabulary,
    length: usize,
    classes: Classes,
    labels: Vec<u32>,
    tokens: Tokens,
}

impl<'a> Records<'a> {
    fn new(origin: &'a Origin, vocabulary: &'a Vocabulary, length: usize, classes: Classes) -> Self {
        Self { origin, vocabulary, length, classes, labels: Vec::new(), tokens: Tokens::new(vocabulary.size()) }
    }

    fn read(&mut self, lines: &mut Lines, label: usize) -> Result<()> {
        while let Some(cells) = lines.next()? {
            self.push(&cells, label)?;
        }
        if self.labels.is_empty() {
            return Err(self.origin.error("a header and no records", "at least one record"));
        }
        Ok(())
    }

    fn push(&mut self, cells: &Cells<'_>, column: usize) -> Result<()> {
        let place = || self.origin.line(cells.line);
        let label = cells.label(column, self.origin)?;
        if label.is_empty() {
            return Err(Error::data(place(), "a missing label", "a label for every record"));
        }
        let Some(code) = self.classes.code(label) else {
            let expected = format!(
                "one of the classes {}; `--header yes` if the first line names the columns",
                self.classes.list()
            );
            return Err(Error::data(place(), format!("the label {}", quoted(label)), expected));
        };
        let mut ids = self.vocabulary.ids(cells.text(column)).ok_or_else(|| not_text(place()))?;
        ids.truncate(self.length);
        self.tokens.push(&ids);
        self.labels.push(code);
        Ok(())
    }
}
