//! One long text, cut into windows of equal length: a window is a record.

use std::io::BufRead;

use super::Text;
use crate::Result;
use crate::data::dataset::Dataset;
use crate::data::reading::{Format, Normalize};
use crate::data::schema::Schema;
use crate::data::source::Source;
use crate::data::tokens::Tokens;
use crate::data::values::Values;
use crate::data::vocabulary::{Vocabulary, not_text};

/// Reads `source` as windows of `length` tokens. What is left at the end and fills no window is left out.
pub(super) fn read(source: Source, vocabulary: &Vocabulary, length: usize) -> Result<Dataset> {
    let origin = source.origin().clone();
    let (mut stream, mut line) = (source.into_stream(), Vec::new());
    let (mut tokens, mut window) = (Tokens::new(vocabulary.size()), Vec::new());
    // No word goes on in another line, so lines are read one by one.
    for number in 1.. {
        line.clear();
        if stream.read_until(b'\n', &mut line).map_err(|error| origin.fault(error))? == 0 {
            break;
        }
        window.extend(vocabulary.ids(&line).ok_or_else(|| not_text(origin.line(number)))?);
        let whole = window.len() / length * length;
        window.drain(..whole).as_slice().chunks_exact(length).for_each(|window| tokens.push(window));
    }
    if tokens.records() == 0 {
        let expected = format!("at least one window of {length}; `--length N` makes windows shorter");
        return Err(origin.error(format!("{} tokens", window.len()), expected));
    }
    let mut notes = vec![
        format!(
            "a record, the unit of privacy, is one window of {length} tokens ({}); the text of one person may span several \
             windows, and the guarantee for that person is then weaker",
            vocabulary.description()
        ),
        "the windows follow one another without overlap; tokens at the end that fill no window were left out".into(),
    ];
    notes.extend(vocabulary.note());
    let schema = Schema::of_file(Format::Text, vec![length], Vec::new(), None, Normalize::None)
        .with_text(Text { vocabulary: vocabulary.clone(), layout: None });
    let labels = vec![0; tokens.records()];
    Dataset::from_file(origin.place(), Values::Tokens(tokens), labels, notes, schema)
}
