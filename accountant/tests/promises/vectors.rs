//! Every golden value that belongs to these accountants holds within its own tolerance; docs/accountant/vectors.md says
//! which test covers which row, and which published values are wrong.

mod calibration;
mod curves;
mod gaussian;
mod published;

use dp_accountant::Event;
use serde_json::Value;

use crate::plans::dp_sgd;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/accounting.json");

/// The rows of these kinds, or nothing, loudly, when the file is not here.
pub(crate) fn rows(kind: &str) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(FILE) else {
        skipped(&format!("../shared is not here: the reference values of kind {kind} are not checked"));
        return Vec::new();
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let all = file["vectors"].as_array().unwrap().iter();
    let rows: Vec<Value> = all.filter(|row| row["kind"] == kind).cloned().collect();
    assert!(!rows.is_empty(), "no rows of kind {kind}");
    println!("{kind}: {} rows", rows.len());
    rows
}

pub(crate) fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"))
}

fn count(row: &Value) -> u64 {
    row["steps"].as_u64().unwrap_or_else(|| panic!("steps in {row}"))
}

pub(crate) fn plan(row: &Value) -> Event {
    dp_sgd(number(row, "sigma"), number(row, "q"), count(row))
}

/// Asserts that `got` is within the row's own tolerance of `want`.
fn close(row: &Value, got: f64, want: f64) {
    let allowed = match (row["tol_abs"].as_f64(), row["tol_rel"].as_f64()) {
        (Some(absolute), None) => absolute,
        (None, Some(relative)) => relative * want.abs(),
        _ => panic!("no tolerance in {row}"),
    };
    assert!((got - want).abs() <= allowed, "got {got}, want {want} +- {allowed}: {row}");
}

/// Says so past the test harness, which keeps what a passing test prints to itself.
fn skipped(what: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}
