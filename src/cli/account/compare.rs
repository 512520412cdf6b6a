//! `dpsgd account compare`: every accountant on one plan, side by side.

use super::answer::{Answer, plain, table};
use super::plan::PlanArgs;
use crate::Result;
use dp_accountant::{Accountant, Bound, Delta, Event, Unaccountable};
use serde_json::{Value, json};
use std::time::Instant;

/// Each accountant is asked this often; the least time stands.
const REPETITIONS: u32 = 3;

pub(super) fn compare(args: &PlanArgs, delta: f64) -> Result<Answer> {
    let (event, delta) = (args.event()?, Delta::new(delta)?);
    let rows = dp_accountant::NAMES.into_iter().map(|name| {
        let accountant = args.accountant(name)?;
        Ok(row(name, accountant.as_ref(), &event, delta))
    });
    let rows: Vec<Value> = rows.collect::<Result<_>>()?;
    let head = [("delta", json!(delta))];
    let mut answer = super::answer::of(head, args, args.accountant("auto")?.as_ref(), None)?;
    answer.insert("accountants".into(), Value::Array(rows));
    Ok(answer)
}

/// What one accountant says, and how long it takes to say it.
fn row(name: &str, accountant: &dyn Accountant, event: &Event, delta: Delta) -> Value {
    let mut best: Option<(f64, std::result::Result<Bound, Unaccountable>)> = None;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let answer = accountant.epsilon(event, delta);
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        if best.as_ref().is_none_or(|(least, _)| milliseconds < *least) {
            best = Some((milliseconds, answer));
        }
    }
    match best {
        Some((milliseconds, Ok(bound))) => {
            let width = bound.upper() - bound.lower();
            let width = if width.is_finite() { json!(width) } else { json!("inf") };
            let answered = bound.accountant();
            json!({"asked": name, "answered": answered, "epsilon": bound, "width": width, "milliseconds": milliseconds})
        }
        Some((_, Err(refusal))) => json!({"asked": name, "refused": refusal.to_string()}),
        None => Value::Null,
    }
}

/// The rows as a table, refusals below it.
pub(super) fn text(answer: &Answer) -> String {
    let head = ["accountant", "lower", "estimate", "upper", "width", "ms"].map(str::to_string).to_vec();
    let (mut rows, mut refusals) = (vec![head], String::new());
    for row in answer.get("accountants").and_then(Value::as_array).into_iter().flatten() {
        let name = plain(&row["asked"]);
        if let Some(reason) = row["refused"].as_str() {
            refusals += &format!("{name}: refused: {reason}\n");
            continue;
        }
        let answered = plain(&row["answered"]);
        let name = if answered == name { name } else { format!("{name} ({answered})") };
        let number = |value: &Value| value.as_f64().map_or_else(|| plain(value), |number| format!("{number:.9}"));
        let short = |value: &Value| value.as_f64().map_or_else(|| plain(value), |number| format!("{number:.1e}"));
        let milliseconds = row["milliseconds"].as_f64().map_or_else(String::new, |time| format!("{time:.2}"));
        let epsilon = &row["epsilon"];
        let bounds = [&epsilon["lower"], &epsilon["estimate"], &epsilon["upper"]].map(number);
        rows.push([vec![name], bounds.to_vec(), vec![short(&row["width"]), milliseconds]].concat());
    }
    super::answer::text(answer) + "\n" + &table(&rows) + if refusals.is_empty() { "" } else { "\n" } + &refusals
}
