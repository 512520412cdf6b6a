//! Inspection: what was read, column by column, and what of it was declared or seen. It is not private.

use serde::Serialize;

use super::Dataset;
use super::quote::list;
use super::reading::{Format, Normalize, Reading};
use super::rules::Treatment;
use super::schema::{Column, Kind};
use super::suggest::{self, Suggestion};
use super::vocabulary::Vocabulary;
use crate::Result;

/// Of the first record, as many values are shown.
const SHOWN: usize = 12;

/// What a dataset was read as, with what was declared and what was seen in it. Everything seen, and the first record, is private
/// data in clear.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// What this is, for whoever finds it in a file.
    pub not_private: &'static str,
    /// The dataset's name.
    pub name: String,
    /// The format it was read in.
    pub format: Option<Format>,
    /// The number of records.
    pub records: usize,
    /// The shape of a record.
    pub shape: Vec<usize>,
    /// The number of values of a record.
    pub features: usize,
    /// Bytes of memory the records take.
    pub memory_bytes: usize,
    /// The classes, in the order of their numbers.
    pub classes: Vec<String>,
    /// What of the file as a whole was declared.
    pub declared: Vec<String>,
    /// What of the file as a whole was seen in it.
    pub seen: Vec<String>,
    /// The columns of a CSV file.
    pub columns: Vec<ColumnInspection>,
    /// What a privacy statement will say of the data.
    pub notes: Vec<String>,
    /// The first record as a model sees it.
    pub first_record: FirstRecord,
    /// Flags that would declare what was seen.
    pub suggestions: Vec<Suggestion>,
}

/// What a column of a CSV file has become.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnInspection {
    /// Its name, or its position counted from one.
    pub name: String,
    /// `label`, `ignored`, `numeric` or `categorical`.
    pub treatment: &'static str,
    /// The number of features it becomes.
    pub features: usize,
    /// What of it was declared.
    pub declared: Vec<String>,
    /// What of it was seen in the file.
    pub seen: Vec<String>,
}

/// The first record as a model sees it.
#[derive(Debug, Clone, Serialize)]
pub struct FirstRecord {
    /// Its class.
    pub label: String,
    /// The first of its values that are not zero, each with the name of the feature.
    pub values: Vec<(String, f32)>,
    /// How many of its values are not zero.
    pub not_zero: usize,
}

impl Inspection {
    /// Looks at `data`, which were read as `reading` says. Reads every record once more if values were seen that have no range.
    ///
    /// # Errors
    ///
    /// When the data stay on disk and cannot be read again.
    pub fn new(data: &Dataset, reading: &Reading) -> Result<Self> {
        let schema = data.schema();
        let mut inspection = Self {
            not_private: "this shows private data in clear: keep it as you keep them",
            name: data.name().to_owned(),
            format: schema.format(),
            records: data.len(),
            shape: data.shape().to_vec(),
            features: data.width(),
            memory_bytes: data.bytes(),
            classes: data.classes().to_vec(),
            declared: Vec::new(),
            seen: Vec::new(),
            columns: Vec::new(),
            notes: data.notes().to_vec(),
            first_record: first_record(data)?,
            suggestions: Vec::new(),
        };
        inspection.whole(reading);
        let ranges = Ranges::of(data)?;
        match schema.table() {
            Some(table) => {
                let mut feature = 0;
                for (at, column) in table.columns.iter().enumerate() {
                    inspection.column(at, column, reading, ranges.at(feature));
                    feature += column.kind.width();
                }
            }
            None => inspection.values(data, reading, ranges.all()),
        }
        Ok(inspection)
    }

    /// Classes, and the number of features of a LIBSVM file.
    fn whole(&mut self, reading: &Reading) {
        if self.format == Some(Format::Text) {
            let (vocabulary, length) = (reading.vocabulary.as_ref().map_or(0, Vocabulary::size), self.features);
            self.declared
                .push(format!("the vocabulary, {vocabulary} tokens, and the length of a record, {length} tokens"));
        }
        if self.classes.is_empty() {
            return;
        }
        let classes = format!("the classes {}", list(&self.classes));
        if reading.classes.is_some() || self.format == Some(Format::Cifar10) {
            self.declared.push(classes);
        } else {
            self.seen.push(classes);
            self.suggestions.extend(suggest::classes(&self.classes));
        }
        if self.format == Some(Format::Libsvm) {
            let width = format!("the number of features, {}", self.features);
            if reading.width.is_some() || reading.shape.is_some() {
                self.declared.push(width);
            } else {
                self.seen.push(width);
                self.suggestions.push(Suggestion::new("--width", &self.features.to_string()));
            }
        }
    }

    /// The range of the values of a file without columns.
    fn values(&mut self, data: &Dataset, reading: &Reading, seen: Option<(f32, f32)>) {
        match (data.schema().range(), seen) {
            (Some((low, high)), _) if reading.range.is_some() => {
                self.declared.push(format!("the range of the values, {low} to {high}"));
            }
            (Some(_), _) | (None, None) => {}
            (None, Some((low, high))) => {
                self.seen.push(format!("values from {low} to {high}"));
                self.suggestions.extend(suggest::range(None, (low, high), false));
            }
        }
    }

    fn column(&mut self, at: usize, column: &Column, reading: &Reading, seen_range: Option<(f32, f32)>) {
        let name = &column.name;
        let (mut declared, mut seen) = (Vec::new(), Vec::new());
        let treatment = match &column.kind {
            Kind::Label => "label",
            Kind::Ignored => "ignored",
            Kind::Categorical { values, declared: known } => {
                let categories = format!("{} categories: {}", values.len(), list(values));
                if *known {
                    declared.push(categories);
                } else {
                    seen.push(categories);
                    self.suggestions.extend(suggest::categories(name, values));
                }
                "categorical"
            }
            Kind::Numeric { range, missing } => {
                let indicator = *missing && !declares_missing(reading, at, name);
                if *missing {
                    let whose = if indicator { &mut seen } else { &mut declared };
                    whose.push("missing values".to_owned());
                }
                match (range, seen_range) {
                    (Some((low, high)), _) => {
                        declared.push(format!("range {low} to {high}"));
                        if indicator {
                            self.suggestions.push(Suggestion::new("--numeric", &format!("{name}?")));
                        }
                    }
                    (None, Some((low, high))) => {
                        seen.push(format!("numbers from {low} to {high}"));
                        self.suggestions.extend(suggest::range(Some(name), (low, high), *missing));
                    }
                    (None, None) => {}
                }
                "numeric"
            }
        };
        let (name, features) = (name.clone(), column.kind.width());
        self.columns.push(ColumnInspection { name, treatment, features, declared, seen });
    }
}

/// Whether it is declared that values of the column may be missing.
fn declares_missing(reading: &Reading, at: usize, name: &str) -> bool {
    let names_it = |column: &str| column == name || column.parse::<usize>().is_ok_and(|position| position == at + 1);
    let missing = |treatment: &Treatment| matches!(treatment, Treatment::Numeric { missing: true, .. });
    reading.columns.iter().any(|rule| names_it(&rule.column) && missing(&rule.treatment))
}

fn first_record(data: &Dataset) -> Result<FirstRecord> {
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    data.gather(&[0], &mut values, &mut labels)?;
    // Without columns the names are numbers, of which there may be very many.
    let names = data.schema().table().map(|_| data.schema().feature_names());
    let name = |at: usize| names.as_ref().map_or_else(|| (at + 1).to_string(), |names| names[at].clone());
    let set: Vec<(usize, f32)> = values.into_iter().enumerate().filter(|(_, value)| *value != 0.0).collect();
    let label = labels.first().and_then(|&label| data.classes().get(label as usize)).cloned().unwrap_or_default();
    Ok(FirstRecord {
        label,
        not_zero: set.len(),
        values: set.into_iter().take(SHOWN).map(|(at, value)| (name(at), value)).collect(),
    })
}

/// The smallest and the largest value of each feature.
struct Ranges(Vec<(f32, f32)>);

impl Ranges {
    /// Looks at every record, unless every value has a declared range or records were scaled.
    fn of(data: &Dataset) -> Result<Self> {
        let schema = data.schema();
        let open = |column: &Column| matches!(column.kind, Kind::Numeric { range: None, .. });
        let wanted = match schema.table() {
            Some(table) => table.columns.iter().any(open),
            None => schema.range().is_none() && schema.text().is_none(),
        };
        // A record that was scaled no longer shows the numbers that were in the file.
        if !wanted || schema.normalize() != Normalize::None {
            return Ok(Self(Vec::new()));
        }
        // Where a value is missing, the feature after it is 1.
        let mut indicated = vec![false; data.width()];
        let mut feature = 0;
        for column in schema.table().map_or(&[][..], |table| &table.columns) {
            if let Kind::Numeric { missing: true, .. } = column.kind {
                indicated[feature] = true;
            }
            feature += column.kind.width();
        }
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); data.width()];
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        let rows: Vec<usize> = (0..data.len()).collect();
        for rows in rows.chunks(256) {
            data.gather(rows, &mut values, &mut labels)?;
            for record in values.chunks_exact(data.width()) {
                for (at, (range, &value)) in ranges.iter_mut().zip(record).enumerate() {
                    if !(indicated[at] && record.get(at + 1) == Some(&1.0)) {
                        *range = (range.0.min(value), range.1.max(value));
                    }
                }
            }
        }
        Ok(Self(ranges))
    }

    fn at(&self, feature: usize) -> Option<(f32, f32)> {
        self.0.get(feature).copied().filter(|(low, high)| low <= high)
    }

    fn all(&self) -> Option<(f32, f32)> {
        self.0.iter().copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
