//! One-hot: the finished columns of a CSV file side by side as records of numbers.

use super::columns::{Features, Finished};
use super::notes;
use super::quote::list;
use super::range::Scale;
use super::reading::Normalize;
use super::schema::Kind;
use super::source::Origin;
use super::values::{Sparse, Values};
use super::width::product;
use crate::Result;

/// The number of features of all columns.
pub(super) fn width(columns: &[Finished], origin: &Origin) -> Result<usize> {
    let width = columns.iter().fold(0usize, |sum, column| sum.saturating_add(column.column.kind.width()));
    product(&[width]).map_err(|_| origin.error(format!("{width} features"), "fewer categories"))
}

/// The records, `width` values each, stored densely or sparsely, whichever takes less memory.
pub(super) fn values(columns: &[Finished], records: usize, width: usize) -> Values {
    // A sparse entry takes a column number and a value, twice as much as a dense value; each record one offset more.
    let entries = columns.iter().map(entries).sum::<usize>();
    if 2 * (entries + records) < width.saturating_mul(records) {
        let mut sparse = Sparse::new(0.0);
        for record in 0..records {
            // The width was checked to be far below `u32::MAX`.
            entries_of(features(columns), record, |at, value| sparse.push(at as u32, value));
            sparse.end_row();
        }
        Values::Sparse(sparse)
    } else {
        let mut dense = vec![0.0; width * records];
        for record in 0..records {
            entries_of(features(columns), record, |at, value| dense[record * width + at] = value);
        }
        Values::Dense(dense)
    }
}

fn features(columns: &[Finished]) -> impl Iterator<Item = (&Features, usize)> {
    columns.iter().map(|column| (&column.features, column.column.kind.width()))
}

/// Calls `put` with each position and value of a record that may differ from zero. `columns` are features and their number.
pub(super) fn entries_of<'a>(
    columns: impl Iterator<Item = (&'a Features, usize)>,
    record: usize,
    mut put: impl FnMut(usize, f32),
) {
    let mut start = 0;
    for (features, width) in columns {
        match features {
            Features::Nothing => {}
            Features::Numbers(values, indicator) => match (values[record].is_nan(), indicator) {
                (false, _) => put(start, values[record]),
                (true, true) => put(start + 1, 1.0),
                (true, false) => {}
            },
            Features::Categories(codes) => {
                let code = codes[record] as usize;
                if code < width {
                    put(start + code, 1.0);
                }
            }
        }
        start += width;
    }
}

/// An upper bound of the number of values that are not zero.
fn entries(column: &Finished) -> usize {
    match &column.features {
        Features::Nothing => 0,
        Features::Numbers(values, _) => values.iter().filter(|&&value| value != 0.0).count(),
        Features::Categories(codes) => codes.len(),
    }
}

/// What was assumed about the columns. In a `training` file, what was seen rather than declared is named.
pub(super) fn notes(columns: &[Finished], normalize: Normalize, training: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let names = |wanted: &dyn Fn(&Finished) -> bool| {
        let names: Vec<&String> = columns.iter().filter(|c| wanted(c)).map(|c| &c.column.name).collect();
        (!names.is_empty()).then(|| named(&names))
    };
    if training {
        let seen = |c: &Finished| matches!(c.column.kind, Kind::Categorical { declared: false, .. });
        if let Some(names) = names(&seen) {
            notes.push(format!(
                "the categories of {names} were seen in the data, not declared: they are not privatised"
            ));
        }
        let declared = |c: &Finished| !c.indicator_seen && matches!(c.features, Features::Numbers(_, true));
        if let Some(names) = names(&declared) {
            notes.push(format!("missing values in {names} are 0 beside an indicator feature, as declared"));
        }
        if let Some(names) = names(&|c| c.indicator_seen) {
            notes.push(format!(
                "missing values in {names} are 0 beside an indicator feature; that values are missing there \
                 was seen in the data and is not privatised"
            ));
        }
    }
    let without = |c: &Finished| c.any_missing && matches!(c.features, Features::Numbers(_, false));
    if let Some(names) = names(&without) {
        notes.push(format!(
            "missing values in {names} are 0 without an indicator: the training file has none missing there"
        ));
    }
    if let Some(names) = names(&|c| c.any_missing && matches!(c.features, Features::Categories(_))) {
        notes.push(format!("missing values in {names} are none of the categories"));
    }
    for column in columns.iter().filter(|column| column.unknown > 0) {
        notes.push(format!(
            "{} cell(s) of {} hold a category the training file does not have and are none of the categories (a \
             count that is not privatised)",
            column.unknown,
            named(&[&column.column.name])
        ));
    }
    let mut ranges: Vec<(Scale, Vec<&String>)> = Vec::new();
    for Finished { column, .. } in columns {
        if let Kind::Numeric { range: Some(range), .. } = column.kind
            && let Ok(scale) = Scale::new(range)
        {
            match ranges.iter_mut().find(|(other, _)| *other == scale) {
                Some((_, names)) => names.push(&column.name),
                None => ranges.push((scale, vec![&column.name])),
            }
        }
    }
    let numeric = columns.iter().filter(|c| matches!(c.features, Features::Numbers(..))).count();
    for (scale, names) in ranges {
        let all = names.len() == numeric;
        let what = if all { "the numeric values".to_owned() } else { format!("the values of {}", named(&names)) };
        notes.push(notes::scaled(&what, scale));
    }
    if normalize == Normalize::None
        && let Some(names) = names(&|c| matches!(c.column.kind, Kind::Numeric { range: None, .. }))
    {
        notes.push(notes::unscaled(&format!("the values of {names}")));
    }
    notes.extend(notes::normalized(normalize));
    notes
}

fn named(columns: &[&String]) -> String {
    let noun = if columns.len() == 1 { "column" } else { "columns" };
    format!("{noun} {}", list(columns.iter().copied()))
}
