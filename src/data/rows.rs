//! Rows of a CSV file, one at a time, each with the number of the line it starts in.

use std::io::{BufRead, Cursor, Read};

use csv::{ReaderBuilder, StringRecord, Terminator};

use super::reading::{DELIMITERS, is_delimiter};
use super::sniff;
use super::source::{Origin, Source};
use crate::{Error, Result};

/// Added to the end of every file, so that each row ends with a line end and an open quote shows.
const END: &[u8] = b"\n\n";

/// The rows of a CSV file after the lines before the table.
pub(super) struct Rows {
    reader: csv::Reader<Box<dyn Read>>,
    origin: Origin,
    delimiter: char,
    /// Bytes of the file before the table.
    bytes_before: u64,
    lines_before: i64,
    comments: u64,
}

/// One row.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// The line the row starts in, counted from one.
    pub(super) line: u64,
    /// Where the row lies: from here, maybe with empty lines before it, ...
    pub(super) start: u64,
    /// ... to here, its line end included. At the end of a file without a line end, one more byte than there is.
    pub(super) end: u64,
    record: StringRecord,
}

impl Row {
    /// The number of cells.
    pub(super) fn len(&self) -> usize {
        self.record.len()
    }

    /// The cells, without the blanks around them.
    pub(super) fn cells(&self) -> impl Iterator<Item = &str> {
        self.record.iter().map(str::trim)
    }
}

impl Rows {
    /// Leaves out `skip_lines` lines, then empty lines and comments (lines that start with `|`, as in files of the C4.5
    /// family), and finds the delimiter if none is given.
    pub(super) fn new(source: Source, delimiter: Option<char>, skip_lines: usize) -> Result<Self> {
        if let Some(delimiter) = delimiter.filter(|&delimiter| !is_delimiter(delimiter)) {
            return Err(Error::value("delimiter", format!("{delimiter:?}"), DELIMITERS));
        }
        let origin = source.origin().clone();
        let mut bytes_before = source.start();
        let mut stream = source.into_stream();
        let (mut lines_before, mut comments) = (0u64, 0u64);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).map_err(|error| origin.fault(error))? > 0 {
            if lines_before >= skip_lines as u64 {
                let comment = line.starts_with(b"|") && delimiter != Some('|');
                if !comment && !line.trim_ascii().is_empty() {
                    break;
                }
                comments += u64::from(comment);
            }
            lines_before += 1;
            bytes_before += line.len() as u64;
            line.clear();
        }
        // The reader would do so itself, and count the mark to the first row.
        while line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
            bytes_before += BYTE_ORDER_MARK.len() as u64;
        }
        let delimiter = delimiter.unwrap_or_else(|| sniff::delimiter(origin.path(), &line));
        let reader = reader(delimiter, Cursor::new(line).chain(stream));
        Ok(Self { reader, origin, delimiter, bytes_before, lines_before: lines_before as i64, comments })
    }

    /// Reads rows again, that lie one after another in `bytes` behind an empty line. Places are counted from the start of `bytes`, lines
    /// from the first row.
    pub(super) fn again(origin: &Origin, delimiter: char, bytes: Vec<u8>) -> Self {
        let reader = reader(delimiter, Cursor::new(bytes));
        Self { reader, origin: origin.clone(), delimiter, bytes_before: 0, lines_before: -1, comments: 0 }
    }

    /// Where the rows come from.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The delimiter, given or found.
    pub(super) fn delimiter(&self) -> char {
        self.delimiter
    }

    /// The number of comment lines left out before the table.
    pub(super) fn comments(&self) -> u64 {
        self.comments
    }

    /// Reads the next row that is not blank; false at the end of the file.
    pub(super) fn next(&mut self, row: &mut Row) -> Result<bool> {
        loop {
            row.start = self.bytes_before + self.reader.position().byte();
            let more = self.reader.read_record(&mut row.record);
            row.end = self.bytes_before + self.reader.position().byte();
            // The row has just ended, with its line end read.
            let next_line = self.lines_before.saturating_add_unsigned(self.reader.position().line()).unsigned_abs();
            match more {
                Ok(false) => return Ok(false),
                Ok(true) => {}
                Err(error) => return Err(self.fault(error, next_line)),
            }
            let breaks: usize = row.record.iter().map(|cell| cell.bytes().filter(|&b| b == b'\n').count()).sum();
            row.line = next_line.saturating_sub(1 + breaks as u64);
            if row.record.iter().next_back().is_some_and(|cell| cell.ends_with("\n\n")) {
                let line = self.origin.line(row.line + 1);
                return Err(Error::data(line, "a quote that is never closed", "a closing quote"));
            }
            if row.record.len() > 1 || row.cells().any(|cell| !cell.is_empty()) {
                return Ok(true);
            }
        }
    }

    fn fault(&self, error: csv::Error, next_line: u64) -> Error {
        let line = self.origin.line(next_line.saturating_sub(1));
        match error.into_kind() {
            csv::ErrorKind::Io(error) => self.origin.fault(error),
            csv::ErrorKind::Utf8 { err, .. } => {
                Error::data(line, format!("bytes that are not UTF-8 text in cell {}", err.field() + 1), "UTF-8 text")
            }
            kind => Error::data(line, format!("{kind:?}"), "a row of cells"),
        }
    }
}

/// What some programs put in front of text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn reader(delimiter: char, table: impl Read + 'static) -> csv::Reader<Box<dyn Read>> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter as u8)
        // The carriage return of a CRLF stays at the end of the last cell, where trimming takes it off.
        .terminator(Terminator::Any(b'\n'))
        .from_reader(Box::new(table.chain(END)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rows(bytes: &'static [u8], skip_lines: usize) -> Result<Vec<(u64, Vec<String>)>> {
        let mut rows = Rows::new(Source::embedded("t.csv", bytes)?, None, skip_lines)?;
        let mut row = Row::default();
        let mut all = Vec::new();
        while rows.next(&mut row)? {
            all.push((row.line, row.cells().map(str::to_owned).collect()));
        }
        Ok(all)
    }

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn quotes_line_ends_blanks_and_empty_lines() {
        let text = b"\r\n| a comment\n\na, \"b\" ,c\r\n\r\n\n\"x,\"\"1\"\"\ny\",2,\"z\"\r\n  \n 3 ,4,5";
        let expected =
            [(4, cells(&["a", "\"b\"", "c"])), (7, cells(&["x,\"1\"\ny", "2", "z"])), (10, cells(&["3", "4", "5"]))];
        assert_eq!(rows(text, 0).unwrap(), expected);
        assert_eq!(rows(text, 6).unwrap(), expected[1..]);
        assert!(rows(text, 99).unwrap().is_empty());
    }

    #[test]
    fn lines_are_counted_with_and_without_a_final_line_end() {
        for text in [&b"1,2\n3,4"[..], b"1,2\n3,4\n", b"1,2\r\n3,4\r\n\r\n"] {
            assert_eq!(rows(text, 0).unwrap(), [(1, cells(&["1", "2"])), (2, cells(&["3", "4"]))]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_line_and_cell() {
        let message = rows(b"1,2\n3,4\n5,\xff6\n", 0).unwrap_err().to_string();
        assert_eq!(message, "t.csv:3: found bytes that are not UTF-8 text in cell 2; expected UTF-8 text");
        let message = rows(b"skipped \xff\n1,2\n\n\xff,4\n5,6\n", 1).unwrap_err().to_string();
        assert_eq!(message, "t.csv:4: found bytes that are not UTF-8 text in cell 1; expected UTF-8 text");
    }

    #[test]
    fn an_open_quote_is_named_by_the_line_it_starts_in() {
        for text in [&b"1,2\n3,\"4\n5,6\n7,8\n"[..], b"1,2\n3,\"4", b"1,2\n3,\""] {
            let message = rows(text, 0).unwrap_err().to_string();
            assert_eq!(message, "t.csv:2: found a quote that is never closed; expected a closing quote");
        }
    }
}
