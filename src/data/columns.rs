//! Columns: how the cells of one CSV column become features.

use std::collections::HashMap;

use super::quote::{list, quoted};
use super::range::{Scale, stored};
use super::rules::{Treatment, repeated};
use super::schema::{Column, Kind};
use super::source::Origin;
use crate::{Error, Place, Result};

/// Stands for a missing or unknown category: no feature of the column is set.
const NONE: u32 = u32::MAX;

/// One column while its file is read.
#[derive(Debug)]
pub(super) struct ColumnReader {
    name: String,
    cells: Cells,
}

#[derive(Debug)]
enum Cells {
    Label,
    Ignored,
    /// Nothing is declared and every cell so far is missing: `missing` of them.
    Undecided {
        missing: usize,
        range: Option<(f64, f64)>,
    },
    Numeric(Numbers),
    Categorical(Categories),
}

#[derive(Debug)]
struct Numbers {
    range: Option<(f64, f64)>,
    scale: Option<Scale>,
    /// Whether there is an indicator feature; `None` while that depends on whether a value is missing.
    indicator: Option<bool>,
    /// The values as they are stored, NaN where one is missing: no cell may be NaN.
    values: Vec<f32>,
    any_missing: bool,
}

#[derive(Debug)]
struct Categories {
    names: Vec<String>,
    codes: HashMap<String, u32>,
    known: Known,
    cells: Vec<u32>,
    any_missing: bool,
    unknown: usize,
    /// For a column taken for categories because its first cell is text: that cell, its line, and whether another
    /// text, and a number, came after it.
    first: Option<(String, u64)>,
    more_text: bool,
    numbers: bool,
}

/// Where the categories of a column come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    /// From the data that is being read.
    Open,
    /// They were declared: another one is an error.
    Declared,
    /// They were seen in the training file: another one is none of them.
    Training,
}

/// What a column has become.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) column: Column,
    pub(super) features: Features,
    /// Whether a cell was missing.
    pub(super) any_missing: bool,
    /// Whether there is a missing-value indicator because a cell was missing, and not because it was declared.
    pub(super) indicator_seen: bool,
    /// The number of cells whose category is unknown.
    pub(super) unknown: usize,
}

/// The features of a column, record by record.
#[derive(Debug)]
pub(super) enum Features {
    /// None at all.
    Nothing,
    /// A number, NaN where it is missing, and whether there is an indicator for that.
    Numbers(Vec<f32>, bool),
    /// The position of the one feature that is set; past the end where none is.
    Categories(Vec<u32>),
}

impl ColumnReader {
    /// A column that holds the label.
    pub(super) fn label(name: String) -> Self {
        Self { name, cells: Cells::Label }
    }

    /// A column with what is declared about it, if anything; `range` is the range of every numeric value.
    pub(super) fn declared(name: String, treatment: Option<Treatment>, range: Option<(f64, f64)>) -> Result<Self> {
        let cells = match treatment {
            None => Cells::Undecided { missing: 0, range },
            Some(Treatment::Ignored) => Cells::Ignored,
            Some(Treatment::Numeric { range: own, missing }) => {
                Cells::Numeric(Numbers::new(own.or(range), missing.then_some(true), 0)?)
            }
            Some(Treatment::Categorical { values: None }) => {
                Cells::Categorical(Categories::new(Vec::new(), Known::Open, 0))
            }
            Some(Treatment::Categorical { values: Some(values) }) => {
                let values: Vec<String> = values.iter().map(|value| value.trim().to_owned()).collect();
                if values.is_empty() || repeated(&values).is_some() {
                    let name = format!("categories of column {name}");
                    return Err(Error::value(name, values.join("|"), "at least one category, none of them twice"));
                }
                Cells::Categorical(Categories::new(values, Known::Declared, 0))
            }
        };
        Ok(Self { name, cells })
    }

    /// A column as it was in the training file.
    pub(super) fn like(column: &Column) -> Result<Self> {
        let cells = match &column.kind {
            Kind::Label => Cells::Label,
            Kind::Ignored => Cells::Ignored,
            Kind::Numeric { range, missing } => Cells::Numeric(Numbers::new(*range, Some(*missing), 0)?),
            Kind::Categorical { values, declared } => {
                let known = if *declared { Known::Declared } else { Known::Training };
                Cells::Categorical(Categories::new(values.clone(), known, 0))
            }
        };
        Ok(Self { name: column.name.clone(), cells })
    }

    /// The column's name, or its position counted from one.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes in the next cell, from `line`.
    pub(super) fn push(&mut self, cell: &str, missing: &[String], line: u64, origin: &Origin) -> Result<()> {
        let is_missing = || missing.iter().any(|word| word == cell);
        if let Cells::Undecided { missing, range } = &mut self.cells {
            if is_missing() {
                *missing += 1;
                return Ok(());
            }
            if cell.parse::<f64>().is_err() {
                self.cells = Cells::Categorical(Categories::starting_with(cell, line, *missing));
                return Ok(());
            }
            self.cells = Cells::Numeric(Numbers::new(*range, None, *missing)?);
        }
        let refused = match &mut self.cells {
            Cells::Label | Cells::Ignored | Cells::Undecided { .. } => Ok(()),
            Cells::Numeric(numbers) => numbers.push(cell, is_missing()),
            Cells::Categorical(categories) => categories.push(cell, is_missing()),
        };
        refused.map_err(|expected| Error::data(Place::cell(origin.path(), line, &self.name), quoted(cell), expected))
    }

    /// Hands over the features of the cells since the last time, which are then forgotten.
    pub(super) fn take(&mut self) -> Features {
        match &mut self.cells {
            Cells::Label | Cells::Ignored => Features::Nothing,
            Cells::Undecided { missing, .. } => {
                // That there are missing values must not be forgotten with them.
                *missing = (*missing).min(1);
                Features::Nothing
            }
            Cells::Numeric(numbers) => {
                let indicator = numbers.indicator.unwrap_or(numbers.any_missing);
                Features::Numbers(std::mem::take(&mut numbers.values), indicator)
            }
            Cells::Categorical(categories) => Features::Categories(std::mem::take(&mut categories.cells)),
        }
    }

    /// Ends the column: its kind is now known, and its categories are put in order.
    pub(super) fn finish(self, origin: &Origin) -> Result<Finished> {
        let place = |line| Place { line, column: Some(self.name.clone()), ..origin.place() };
        let indicator_seen = matches!(&self.cells, Cells::Numeric(n) if n.indicator.is_none() && n.any_missing);
        let (kind, features, any_missing, unknown) = match self.cells {
            Cells::Label => (Kind::Label, Features::Nothing, false, 0),
            Cells::Ignored => (Kind::Ignored, Features::Nothing, false, 0),
            Cells::Undecided { .. } => {
                let expected =
                    format!("a value that tells what the column holds; --ignore {} leaves it out", self.name);
                return Err(Error::data(place(None), "only missing values", expected));
            }
            Cells::Numeric(numbers) => {
                let missing = numbers.indicator.unwrap_or(numbers.any_missing);
                let kind = Kind::Numeric { range: numbers.range, missing };
                (kind, Features::Numbers(numbers.values, missing), numbers.any_missing, 0)
            }
            Cells::Categorical(mut categories) => {
                if let (Some((text, line)), true, false) = (&categories.first, categories.numbers, categories.more_text)
                {
                    let expected = format!(
                        "a number, as in every later record; `--header yes` if line {line} names the columns, \
                         `--skip-lines N` to leave out the first N lines, `--categorical {}` if it is a category",
                        self.name
                    );
                    return Err(Error::data(place(Some(*line)), quoted(text), expected));
                }
                if categories.names.is_empty() {
                    let expected = format!("at least one category; --ignore {} leaves the column out", self.name);
                    return Err(Error::data(place(None), "only missing values", expected));
                }
                if categories.known == Known::Open {
                    categories.sort();
                }
                let declared = categories.known == Known::Declared;
                let kind = Kind::Categorical { values: categories.names, declared };
                (kind, Features::Categories(categories.cells), categories.any_missing, categories.unknown)
            }
        };
        Ok(Finished { column: Column { name: self.name, kind }, features, any_missing, indicator_seen, unknown })
    }
}

impl Numbers {
    fn new(range: Option<(f64, f64)>, indicator: Option<bool>, missing: usize) -> Result<Self> {
        let scale = range.map(Scale::new).transpose()?;
        Ok(Self { range, scale, indicator, values: vec![f32::NAN; missing], any_missing: missing > 0 })
    }

    fn push(&mut self, cell: &str, missing: bool) -> Result<(), String> {
        if missing {
            self.any_missing = true;
            self.values.push(f32::NAN);
            return Ok(());
        }
        let value = cell.parse::<f64>().map_err(|_| {
            "a number, as in the records before; `--categorical COLUMN` if the column holds categories, \
             `--missing WORD` if this stands for a missing value"
        })?;
        let value = stored(value, self.scale).ok_or(
            "a finite number within the range of f32; `--missing WORD` if this stands for a missing value, \
             `--categorical COLUMN` if the column holds categories",
        )?;
        self.values.push(value);
        Ok(())
    }
}

impl Categories {
    fn new(names: Vec<String>, known: Known, missing: usize) -> Self {
        let codes = names.iter().cloned().zip(0u32..).collect();
        Self {
            names,
            codes,
            known,
            cells: vec![NONE; missing],
            any_missing: missing > 0,
            unknown: 0,
            first: None,
            more_text: false,
            numbers: false,
        }
    }

    /// The categories of a column whose first cell, after `missing` missing ones, is a text.
    fn starting_with(text: &str, line: u64, missing: usize) -> Self {
        let mut categories = Self::new(vec![text.to_owned()], Known::Open, missing);
        categories.cells.push(0);
        categories.first = Some((text.to_owned(), line));
        categories
    }

    fn push(&mut self, cell: &str, missing: bool) -> Result<(), String> {
        // A declared category counts as one even if the word otherwise stands for a missing value.
        let code = match self.codes.get(cell) {
            Some(&code) => code,
            None if missing => {
                self.any_missing = true;
                NONE
            }
            None => match self.known {
                Known::Open => {
                    let code = self.names.len() as u32;
                    self.names.push(cell.to_owned());
                    self.codes.insert(cell.to_owned(), code);
                    code
                }
                Known::Declared => {
                    return Err(format!("one of the declared categories {}", list(&self.names)));
                }
                Known::Training => {
                    self.unknown += 1;
                    NONE
                }
            },
        };
        if self.first.is_some() && code != NONE && !self.more_text {
            match cell.parse::<f64>() {
                Ok(_) => self.numbers = true,
                Err(_) => self.more_text = true,
            }
        }
        self.cells.push(code);
        Ok(())
    }

    /// Puts the categories in order, which then tells nothing of the order of the records.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by(|&a, &b| self.names[a].cmp(&self.names[b]));
        let mut rank = vec![0u32; order.len()];
        (0u32..).zip(&order).for_each(|(to, &from)| rank[from] = to);
        self.cells.iter_mut().filter(|cell| **cell != NONE).for_each(|cell| *cell = rank[*cell as usize]);
        self.names.sort();
    }
}
