//! Labelled lines: two cells of bytes each, with the number of the line they start in.

use std::io::{BufRead, Read};

use csv::{ByteRecord, ReaderBuilder, Terminator};

use crate::data::reading::{DELIMITERS, is_delimiter};
use crate::data::source::{Origin, Source};
use crate::{Error, Result};

/// Added to the end of every file, so that each line ends and an open quote shows.
const END: &[u8] = b"\n\n";

/// The lines of a file, each of two cells. Between tabs, quotes are text; with another delimiter a cell that contains it stands
/// between quotes, as in CSV files.
pub(super) struct Lines {
    reader: csv::Reader<Box<dyn Read>>,
    origin: Origin,
    delimiter: char,
    before: u64,
    record: ByteRecord,
}

/// The two cells of a line.
pub(super) struct Cells<'a> {
    /// The number of the line, counted from one.
    pub(super) line: u64,
    cells: [&'a [u8]; 2],
}

impl Cells<'_> {
    /// The cell of the label, without the blanks around it; it must be text.
    pub(super) fn label(&self, column: usize, origin: &Origin) -> Result<&str> {
        let cell = self.cells[column];
        let text = std::str::from_utf8(cell).map_err(|_| {
            Error::data(origin.line(self.line), "bytes that are not UTF-8 text in the label", "UTF-8 text")
        })?;
        Ok(text.trim())
    }

    /// The other cell.
    pub(super) fn text(&self, label: usize) -> &[u8] {
        self.cells[1 - label]
    }

    /// Both cells as the names of columns.
    pub(super) fn names(&self) -> [String; 2] {
        self.cells.map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
    }
}

impl Lines {
    /// Leaves out `skip_lines` lines; a tab is the delimiter if none is given.
    pub(super) fn new(source: Source, delimiter: Option<char>, skip_lines: usize) -> Result<Self> {
        if let Some(delimiter) = delimiter.filter(|&delimiter| !is_delimiter(delimiter)) {
            return Err(Error::value("delimiter", format!("{delimiter:?}"), DELIMITERS));
        }
        let (origin, delimiter) = (source.origin().clone(), delimiter.unwrap_or('\t'));
        let (mut stream, mut line) = (source.into_stream(), Vec::new());
        let mut before = 0;
        while before < skip_lines as u64
            && stream.read_until(b'\n', &mut line).map_err(|error| origin.fault(error))? > 0
        {
            before += 1;
            line.clear();
        }
        let lines: Box<dyn Read> = Box::new(stream.chain(END));
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter as u8)
            .quoting(delimiter != '\t')
            .terminator(Terminator::Any(b'\n'))
            .from_reader(lines);
        Ok(Self { reader, origin, delimiter, before, record: ByteRecord::new() })
    }

    /// Where the lines come from.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The delimiter.
    pub(super) fn delimiter(&self) -> char {
        self.delimiter
    }

    /// The next line that is not blank, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Cells<'_>>> {
        loop {
            let more = self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(error) => self.origin.fault(error),
                kind => self.origin.error(format!("{kind:?}"), "lines of a label and a text"),
            })?;
            if !more {
                return Ok(None);
            }
            if self.record.len() > 1 || self.record.iter().any(|cell| !cell.trim_ascii().is_empty()) {
                break;
            }
        }
        // The line has just ended, with its line end read.
        let breaks: usize = self.record.iter().map(|cell| cell.iter().filter(|&&byte| byte == b'\n').count()).sum();
        let line = (self.before + self.reader.position().line()).saturating_sub(1 + breaks as u64);
        let refuse = |found: String, expected: &str| Err(Error::data(self.origin.line(line), found, expected));
        let mut cells = self.record.iter();
        match (cells.next(), cells.next(), cells.next()) {
            (Some(_), Some(last), None) | (Some(last), None, _) if last.ends_with(b"\n\n") => {
                // No line end was read after it.
                Err(Error::data(self.origin.line(line + 1), "a quote that is never closed", "a closing quote"))
            }
            _ if breaks > 0 => {
                // A stray quote would make one record of the lines of several people.
                refuse(
                    "a line end within quotes".into(),
                    "a label and a text on each line; `--delimiter tab` for quotes that are text",
                )
            }
            (Some(first), Some(last), None) => {
                let last = last.strip_suffix(b"\r").unwrap_or(last);
                Ok(Some(Cells { line, cells: [first, last] }))
            }
            _ => {
                let found = format!("{} cell(s) between delimiters {:?}", self.record.len(), self.delimiter);
                refuse(found, "two: a label and a text; `--delimiter C` if it is another character")
            }
        }
    }
}
