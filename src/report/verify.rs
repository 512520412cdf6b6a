//! Checking a finished run: does everything in its directory say the same, and does the accountant agree?

use super::directory::sha256;
use super::finished::parse;
use super::{Guarantee, Interval, Joint, Metrics, Privacy, Report, page, statement};
use crate::{Error, Place, Result};
use candle_core::{DType, Device};
use dp_accountant::Ledger;
use serde::Serialize;
use std::path::Path;

/// What was checked, for who asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// The epsilon recomputed from the ledger.
    pub epsilon_upper: f64,
    /// The delta it holds at.
    pub delta: f64,
    /// Steps in the ledger.
    pub steps: u64,
    /// What agreed.
    pub checks: Vec<String>,
}

/// Recomputes the epsilon of a run directory from its ledger and compares everything that can be compared.
///
/// It shows that the directory is consistent and its epsilon follows from its ledger. It cannot show that the training
/// really did what the ledger says.
///
/// # Errors
/// [`Error::Unverified`] naming what disagrees; an error of input if a file is missing or unreadable.
pub fn verify(directory: &Path) -> Result<Verified> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(Error::io("read", &path))
    };
    if !directory.join("report.json").exists() && directory.join("checkpoint").exists() {
        let reason = "the run was interrupted and has no report yet; finish it with train --resume".to_string();
        return Err(Error::Unverified { reason });
    }
    let report: Report = parse(&directory.join("report.json"), &read("report.json")?)?;
    let ledger: Ledger = parse(&directory.join("ledger.json"), &read("ledger.json")?)?;
    let mut checks = Vec::new();
    let mut check = |holds: bool, claim: String, otherwise: String| {
        if holds {
            checks.push(claim);
            return Ok(());
        }
        Err(Error::Unverified { reason: otherwise })
    };

    let (plan, privacy) = (&report.plan, &report.privacy);
    let done = u32::try_from(privacy.steps).ok().filter(|steps| *steps <= plan.draft().steps);
    check(
        done.map(|steps| plan.event_of(steps)).transpose()?.is_some_and(|planned| ledger.event() == planned),
        format!("the ledger holds the plan's events of {} steps", privacy.steps),
        "the ledger does not hold what the plan and the steps done say".into(),
    )?;
    let recomputed = Privacy::new(plan, &ledger, privacy.key)?;
    let (stated, now) = (privacy.epsilon, recomputed.epsilon);
    check(
        same(stated, now),
        format!("epsilon recomputed from the ledger is {}", now.upper),
        format!("epsilon is stated as {stated}, and the ledger costs {now}"),
    )?;
    let (stated_rows, rows) = (&privacy.guarantees, &recomputed.guarantees);
    check(
        stated_rows.len() == rows.len() && stated_rows.iter().zip(rows).all(|(stated, now)| agree(stated, now)),
        format!("the guarantees beside it are those of the ledger, {} in all", rows.len()),
        "the guarantees beside the stated one are not those of the ledger".into(),
    )?;
    let before = |of: &Privacy| [of.started_from, of.joint.map(|joint| joint.epsilon)];
    let pairs = before(privacy).into_iter().zip(before(&recomputed));
    check(
        pairs.into_iter().all(|pair| matches!(pair, (None, None)) || matches!(pair, (Some(a), Some(b)) if same(a, b))),
        "what was spent before is the plan's".into(),
        "what is stated as spent before, or together with others, is not the plan's".into(),
    )?;
    let joint = recomputed.joint.zip(privacy.joint).map(|(now, stated)| Joint { epsilon: stated.epsilon, ..now });
    let started_from = privacy.started_from;
    // Everything else must be the plan's to the letter; the accountant may have been an earlier version of this one.
    let accountant_version = privacy.accountant_version.clone();
    let guarantees = privacy.guarantees.clone();
    // The last clip norm follows from releases that are not kept; only a plan under which it moves has one.
    let last_clip_norm = privacy.last_clip_norm.filter(|_| plan.draft().clipping.adaptive().is_some());
    let expected =
        Privacy { epsilon: stated, accountant_version, guarantees, last_clip_norm, started_from, joint, ..recomputed };
    let different = differences(privacy, &expected);
    check(
        different.is_empty(),
        "the stated parameters are the plan's".into(),
        format!("the stated parameters are not the plan's: {}", different.join(", ")),
    )?;
    let draft = plan.draft();
    if let Some(budget) = draft.budget {
        let upper = plan.joint_epsilon(&ledger.event())?.upper();
        check(
            upper <= budget.get(),
            format!("the budget {} is kept", budget.get()),
            format!("epsilon {upper} exceeds the budget {}", budget.get()),
        )?;
    }
    let model = read("model.safetensors")?;
    let hash = sha256(&model);
    check(
        hash == report.model.sha256,
        format!("model.safetensors has the stated hash {hash}"),
        format!("model.safetensors has the hash {hash}, and the report states {}", report.model.sha256),
    )?;
    let (parameters, finite) = count(&directory.join("model.safetensors"), &model)?;
    check(
        parameters == report.model.parameters && finite == report.model.finite,
        format!("the model has {parameters} parameters"),
        format!("the model has {parameters} parameters (finite: {finite}), and the report states otherwise"),
    )?;
    check(
        read("statement.txt")? == statement(&report).into_bytes(),
        "statement.txt says what report.json says".into(),
        "statement.txt does not say what report.json says".into(),
    )?;
    let metrics = Metrics::parse(&read("metrics.csv")?, &directory.join("metrics.csv"))?;
    check(
        read("report.html")? == page(&report, &metrics).into_bytes(),
        "report.html shows what report.json and metrics.csv say".into(),
        "report.html does not show what report.json and metrics.csv say".into(),
    )?;
    Ok(Verified { epsilon_upper: now.upper, delta: privacy.delta.get(), steps: privacy.steps, checks })
}

/// Whether two intervals are the same but for rounding.
fn same(stated: Interval, now: Interval) -> bool {
    let close = |stated: f64, now: f64| (stated - now).abs() <= 1e-9 * now.abs().max(1e-9);
    close(stated.upper, now.upper) && close(stated.lower, now.lower) && close(stated.estimate, now.estimate)
}

/// Whether two guarantees are the same but for rounding.
fn agree(stated: &Guarantee, now: &Guarantee) -> bool {
    let numbers = match (stated.epsilon, now.epsilon) {
        (Some(stated), Some(now)) => same(stated, now),
        (stated, now) => stated.is_none() && now.is_none(),
    };
    // Another version of the accountant may give the same reason in other words.
    let (epsilon, not_available) = (stated.epsilon, stated.not_available.clone());
    numbers && *stated == Guarantee { epsilon, not_available, ..now.clone() }
}

/// How many numbers a model file holds, and whether all are finite.
fn count(path: &Path, model: &[u8]) -> Result<(usize, bool)> {
    let expected = "a safetensors file written by dpsgd train";
    let tensors = candle_core::safetensors::load_buffer(model, &Device::Cpu)
        .map_err(|error| Error::data(Place::file(path), error.to_string(), expected))?;
    let (mut count, mut finite) = (0, true);
    for tensor in tensors.values() {
        let values: Vec<f64> = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
        count += values.len();
        finite &= values.iter().all(|value| value.is_finite());
    }
    Ok((count, finite))
}

/// The names of the fields in which two statements differ.
fn differences(stated: &Privacy, recomputed: &Privacy) -> Vec<String> {
    let fields = |privacy: &Privacy| match serde_json::to_value(privacy) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let recomputed = fields(recomputed);
    fields(stated)
        .into_iter()
        .filter(|(name, value)| recomputed.get(name) != Some(value))
        .map(|(name, _)| name)
        .collect()
}
