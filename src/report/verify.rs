//! Checking a finished run: does everything in its directory say the same, and does the accountant agree?

use super::directory::sha256;
use super::{Report, statement};
use crate::{Error, Place, Result};
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
    let planned = plan.step_event()?.repeated(u64::from(privacy.steps));
    check(
        ledger.event() == planned && privacy.steps <= plan.draft().steps,
        format!("the ledger holds the plan's event {} times", privacy.steps),
        "the ledger does not hold what the plan and the steps done say".into(),
    )?;
    let bound = plan.epsilon(&ledger.event())?;
    let stated = privacy.epsilon;
    let same = |stated: f64, now: f64| (stated - now).abs() <= 1e-9 * now.abs().max(1e-9);
    check(
        same(stated.upper, bound.upper()) && same(stated.lower, bound.lower()),
        format!("epsilon recomputed from the ledger is {}", bound.upper()),
        format!(
            "epsilon is stated as {} to {}, and the ledger costs {} to {}",
            stated.lower,
            stated.upper,
            bound.lower(),
            bound.upper()
        ),
    )?;
    let draft = plan.draft();
    check(
        privacy.delta == draft.delta
            && privacy.neighbouring_relation == draft.relation
            && privacy.unit == draft.unit
            && privacy.records == draft.records
            && privacy.expected_batch == draft.expected_batch
            && privacy.sampling_rate == plan.sampling_rate()
            && privacy.clip_norm == draft.clip_norm.get()
            && privacy.noise_multiplier == plan.noise_multiplier()
            && privacy.steps_asked == draft.steps
            && privacy.budget == draft.budget,
        "the stated parameters are the plan's".into(),
        "the stated parameters are not the plan's".into(),
    )?;
    if let Some(budget) = draft.budget {
        check(
            bound.upper() <= budget.get(),
            format!("the budget {} is kept", budget.get()),
            format!("epsilon {} exceeds the budget {}", bound.upper(), budget.get()),
        )?;
    }
    let hash = sha256(&read("model.safetensors")?);
    check(
        hash == report.model.sha256,
        format!("model.safetensors has the stated hash {hash}"),
        format!("model.safetensors has the hash {hash}, and the report states {}", report.model.sha256),
    )?;
    check(
        read("statement.txt")? == statement(&report).into_bytes(),
        "statement.txt says what report.json says".into(),
        "statement.txt does not say what report.json says".into(),
    )?;
    Ok(Verified { epsilon_upper: bound.upper(), delta: privacy.delta.get(), steps: u64::from(privacy.steps), checks })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = Place::line(path, error.line() as u64);
        Error::data(place, error.to_string(), "a file written by this version of dpsgd train")
    })
}
