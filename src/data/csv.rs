//! CSV: cells between commas, tabs or another delimiter, one record a row, one of the columns being the label.

use std::collections::VecDeque;

use super::body::{self, Body, Layout};
use super::classes::{Classes, too_many};
use super::columns::{ColumnReader, Finished};
use super::dataset::Dataset;
use super::label::Label;
use super::one_hot;
use super::quote::{list, quoted};
use super::reading::{Format, Header, Reading};
use super::rows::{Row, Rows};
use super::rules::{ColumnRule, Treatment};
use super::schema::{Kind, Schema, Table};
use super::source::{Origin, Source};
use super::width::product;
use crate::{Error, Place, Result};

/// Reads the records of `source`.
pub(super) fn read(source: Source, reading: &Reading) -> Result<Dataset> {
    let file = source.file();
    let mut rows = Rows::new(source, reading.delimiter, reading.skip_lines)?;
    let mut ahead = VecDeque::new();
    let first = first_row(&mut rows)?;
    let header = has_header(reading, &first, &mut rows, &mut ahead)?;
    let origin = rows.origin().clone();
    let names = names(&first, header, reading.names.as_deref(), &origin)?;
    if names.len() < 2 {
        let found = format!("one column between delimiters {:?}", rows.delimiter());
        let expected = "a label and at least one feature; `--delimiter C` if it is another character";
        return Err(Error::data(origin.line(first.line), found, expected));
    }
    let named = header || reading.names.is_some();
    let label = label_position(&reading.label, &names, named, &origin)?;
    let mut treatments = treatments(&reading.columns, &names, label)?;
    let mut columns = Vec::with_capacity(names.len());
    for (at, name) in names.into_iter().enumerate() {
        columns.push(match at == label {
            true => ColumnReader::label(name),
            false => ColumnReader::declared(name, treatments[at].take(), reading.range)?,
        });
    }
    let first_line = first.line;
    if !header {
        ahead.push_front(first);
    }
    let classes = Classes::new(reading.classes.as_deref())?;
    let mut body = Body::new(&origin, columns, label, &reading.missing, classes);
    body.read(&mut rows, ahead, file.is_some())?;
    let mut notes = comment_note(&rows);
    let disk = file.zip(body.take_places());
    let Body { columns, mut labels, classes, .. } = body;
    let classes = classes.finish(&mut labels, &mut notes).map_err(|seen| {
        let (found, expected) = too_many(seen);
        origin.error(found, expected)
    })?;
    let finished = finish(columns, &origin)?;
    if !header && reading.classes.is_none() {
        check_first_label(&labels, &classes, &origin.line(first_line))?;
    }
    let delimiter = rows.delimiter();
    let layout = Layout { origin: &origin, delimiter, label, missing: &reading.missing, classes: &classes };
    let values = body::store(&finished, labels.len(), disk, &layout, body::as_seen)?;
    notes.extend(one_hot::notes(&finished, reading.normalize, true));
    let width = finished.iter().map(|column| column.column.kind.width()).sum();
    check_width(reading, width, &origin)?;
    let table = Table {
        header,
        delimiter,
        skip_lines: reading.skip_lines,
        missing: reading.missing.clone(),
        columns: finished.into_iter().map(|column| column.column).collect(),
    };
    let shape = reading.shape.clone().unwrap_or_else(|| vec![width]);
    let schema = Schema::of_file(Format::Csv, shape, classes, reading.range, reading.normalize).with_table(table);
    Dataset::from_file(origin.place(), values, labels, notes, schema)
}

/// Reads the records of `source` as those of `schema`, whose layout is `table`, were read.
pub(super) fn read_like(source: Source, schema: &Schema, table: &Table) -> Result<Dataset> {
    let file = source.file();
    let mut rows = Rows::new(source, Some(table.delimiter), table.skip_lines)?;
    let origin = rows.origin().clone();
    let first = first_row(&mut rows)?;
    if first.len() != table.columns.len() {
        let expected = format!("{}, as in the training file", table.columns.len());
        return Err(Error::data(origin.line(first.line), format!("{} cells", first.len()), expected));
    }
    if table.header {
        let names = names(&first, true, None, &origin)?;
        if let Some((found, expected)) = names.iter().zip(&table.columns).find(|(found, column)| **found != column.name)
        {
            let expected = format!("the column {}, as in the header of the training file", quoted(&expected.name));
            return Err(Error::data(origin.line(first.line), quoted(found), expected));
        }
    }
    let label = table.columns.iter().position(|column| column.kind == Kind::Label).unwrap_or_default();
    let columns = table.columns.iter().map(ColumnReader::like).collect::<Result<Vec<_>>>()?;
    let classes = Classes::new(Some(schema.classes()))?;
    let mut body = Body::new(&origin, columns, label, &table.missing, classes);
    let ahead = if table.header { VecDeque::new() } else { VecDeque::from([first]) };
    body.read(&mut rows, ahead, file.is_some())?;
    let mut notes = comment_note(&rows);
    let disk = file.zip(body.take_places());
    let Body { columns, mut labels, classes, .. } = body;
    // The classes are given, so they cannot be too many.
    classes.finish(&mut labels, &mut notes).unwrap_or_default();
    let finished = finish(columns, &origin)?;
    let (delimiter, classes) = (table.delimiter, schema.classes());
    let layout = Layout { origin: &origin, delimiter, label, missing: &table.missing, classes };
    let values = body::store(&finished, labels.len(), disk, &layout, ColumnReader::like)?;
    notes.extend(one_hot::notes(&finished, schema.normalize(), false));
    Dataset::from_file(origin.place(), values, labels, notes, schema.clone())
}

fn first_row(rows: &mut Rows) -> Result<Row> {
    let mut first = Row::default();
    if rows.next(&mut first)? { Ok(first) } else { Err(rows.origin().error("an empty file", "at least one record")) }
}

/// Whether `first` is a header. To tell, rows are read into `ahead` until one of them holds a number.
fn has_header(reading: &Reading, first: &Row, rows: &mut Rows, ahead: &mut VecDeque<Row>) -> Result<bool> {
    if let Some(names) = &reading.names {
        if reading.header == Header::Yes {
            let names = names.join(",");
            return Err(Error::value("column_names", names, "none with `--header yes`: the header names the columns"));
        }
        return Ok(false);
    }
    match (reading.header, &reading.label) {
        (Header::No, Label::Name(name)) => {
            return Err(Error::value("label", name, "last, first or a position, since the file has no header"));
        }
        (Header::Yes, _) | (Header::Auto, Label::Name(_)) => return Ok(true),
        (Header::No, _) => return Ok(false),
        (Header::Auto, _) => {}
    }
    let is_number = |cell: &str| cell.parse::<f64>().is_ok();
    let is_missing = |cell: &str| reading.missing.iter().any(|word| word == cell);
    if first.cells().any(|cell| is_number(cell) || is_missing(cell)) {
        return Ok(false);
    }
    let mut row = Row::default();
    while rows.next(&mut row)? {
        let number = row.cells().any(is_number);
        ahead.push_back(row.clone());
        if number {
            return Ok(true);
        }
    }
    if ahead.is_empty() {
        return Err(rows.origin().error("a header and no records", "at least one record"));
    }
    let found = "text in every cell, from which it does not follow whether the first row names the columns";
    Err(rows.origin().error(found, "`--header yes` or `--header no`"))
}

/// The names of the columns: those declared, those of the header, or the positions where there is neither or the name is
/// empty.
fn names(first: &Row, header: bool, declared: Option<&[String]>, origin: &Origin) -> Result<Vec<String>> {
    if let Some(declared) = declared.filter(|declared| declared.len() != first.len()) {
        let expected = format!("{}, as many as the declared column names", declared.len());
        return Err(Error::data(origin.line(first.line), format!("{} cells", first.len()), expected));
    }
    let named = |(at, cell): (usize, &str)| match (declared.and_then(|names| names.get(at)), header) {
        (Some(name), _) if !name.trim().is_empty() => name.trim().to_owned(),
        (None, true) if !cell.is_empty() => cell.to_owned(),
        _ => (at + 1).to_string(),
    };
    let names: Vec<String> = first.cells().enumerate().map(named).collect();
    match super::rules::repeated(&names) {
        Some(name) => {
            let found = format!("two columns named {}", quoted(name));
            Err(Error::data(origin.line(first.line), found, "column names that differ"))
        }
        None => Ok(names),
    }
}

fn label_position(label: &Label, names: &[String], named: bool, origin: &Origin) -> Result<usize> {
    match label {
        Label::Last => Ok(names.len() - 1),
        Label::First => Ok(0),
        Label::Position(position) if (1..=names.len()).contains(position) => Ok(position - 1),
        Label::Position(position) => Err(Error::value("label", position, format!("a position 1 to {}", names.len()))),
        Label::Name(name) => names.iter().position(|column| named && column == name).ok_or_else(|| {
            let allowed = format!("one of the columns {} of {}", list(names), origin.path().display());
            Error::value("label", name, allowed)
        }),
    }
}

/// What is declared about each column.
fn treatments(rules: &[ColumnRule], names: &[String], label: usize) -> Result<Vec<Option<Treatment>>> {
    let mut treatments = vec![None; names.len()];
    for ColumnRule { column, treatment } in rules {
        let by_position =
            || column.parse::<usize>().ok().and_then(|at| at.checked_sub(1)).filter(|&at| at < names.len());
        let at = names.iter().position(|name| name == column).or_else(by_position);
        let Some(at) = at else {
            return Err(Error::value("column", column, format!("one of the columns {}", list(names))));
        };
        if at == label {
            return Err(Error::value("column", column, "a column that does not hold the label"));
        }
        treatments[at] = match (treatments[at].take(), treatment.clone()) {
            (None, treatment) => Some(treatment),
            // `--numeric age?` and `--range age=0:120` say one thing together.
            (Some(Treatment::Numeric { range: a, missing: m }), Treatment::Numeric { range: b, missing: n })
                if a.is_none() || b.is_none() || a == b =>
            {
                Some(Treatment::Numeric { range: a.or(b), missing: m || n })
            }
            (Some(_), _) => {
                return Err(Error::value("column", column, "columns declared once, or twice without contradiction"));
            }
        };
    }
    Ok(treatments)
}

fn finish(columns: Vec<ColumnReader>, origin: &Origin) -> Result<Vec<Finished>> {
    columns.into_iter().map(|column| column.finish(origin)).collect()
}

/// Refuses a first label that is the only text among numbers: it is the name of the column, in a header that was taken
/// for a record because other columns are named by numbers.
fn check_first_label(labels: &[u32], classes: &[String], line: &Place) -> Result<()> {
    let is_number = |name: &&String| name.parse::<f64>().is_ok();
    let Some((first, others)) = labels.split_first() else { return Ok(()) };
    let name = &classes[*first as usize];
    let alone = classes.len() > 1 && classes.iter().filter(is_number).count() == classes.len() - 1;
    if alone && !is_number(&name) && !others.contains(first) {
        let expected = "a number, as every later label; `--header yes` if this line names the columns, \
                        `--skip-lines N` if it is none of the table, --classes if it is a class";
        return Err(Error::data(line.clone(), format!("the label {}", quoted(name)), expected));
    }
    Ok(())
}

fn check_width(reading: &Reading, width: usize, origin: &Origin) -> Result<()> {
    match reading.declared_width()? {
        Some(declared) if declared != width => {
            Err(origin.error(format!("columns that become {width} features"), format!("{declared}, as declared")))
        }
        _ => product(&[width]).map(drop),
    }
}

fn comment_note(rows: &Rows) -> Vec<String> {
    match rows.comments() {
        0 => Vec::new(),
        count => vec![format!("{count} line(s) starting with `|` before the table were left out as comments")],
    }
}
