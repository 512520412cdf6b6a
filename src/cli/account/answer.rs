//! How answers are printed: one JSON object, or a line for each of its entries.

use super::plan::PlanArgs;
use crate::Result;
use dp_accountant::{Accountant, Bound};
use serde_json::{Map, Value, json};

/// One answer: names and values in the order in which they are printed.
pub(super) type Answer = Map<String, Value>;

/// The answer: first what was asked for, then who says so, then the question.
pub(super) fn of<const N: usize>(
    head: [(&str, Value); N],
    args: &PlanArgs,
    accountant: &dyn Accountant,
    bound: Option<&Bound>,
) -> Result<Answer> {
    let mut answer: Answer = head.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    if let Some(bound) = bound {
        answer.insert("accountant".into(), json!(bound.accountant()));
    }
    answer.insert("relation".into(), json!(accountant.relation()));
    for (name, value) in args.asked()? {
        answer.entry(name).or_insert(value);
    }
    Ok(answer)
}

/// The lines of an answer. Tables are printed by those who make them.
pub(super) fn text(answer: &Answer) -> String {
    let mut out = String::new();
    for (name, value) in answer {
        let value = match value {
            Value::Object(bound) => {
                let part = |part: &str| bound.get(part).map(plain).unwrap_or_default();
                if part("upper") == "inf" {
                    format!("{} (estimate; no bound)", part("estimate"))
                } else {
                    format!("{} (upper bound; not below {})", part("upper"), part("lower"))
                }
            }
            Value::Array(_) => continue,
            other => plain(other),
        };
        out += &format!("{:<18}{value}\n", name.replace('_', " "));
    }
    out
}

/// A JSON value without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A table with its columns aligned; the first row is its head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows = [["a", "long", ""], ["wide", "b", "c"]].map(|row| row.map(str::to_string).to_vec());
        assert_eq!(table(&rows), "a     long\nwide  b     c\n");
    }
}
