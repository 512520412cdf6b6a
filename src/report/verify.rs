//! Checking a finished run: does everything in its directory say the same, and does the accountant agree?

use super::directory::sha256;
use super::{Files, FinishedRun, Guarantee, Interval, Joint, Privacy, Report};
use crate::plan::Unit;
use crate::{Error, Place, Result};
use candle_core::{DType, Device};
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
/// really did what the ledger says. What this version wrote is written again and compared; the statement and the page of another
/// version, which told the same in its own words, are known by the hashes in its report.
///
/// # Errors
/// [`Error::Unverified`] naming what disagrees; an error of input if a file is missing or unreadable.
pub fn verify(directory: &Path) -> Result<Verified> {
    FinishedRun::verified(directory).map(|(_, verified)| verified)
}

impl FinishedRun {
    /// Reads a run directory, and verifies it as [`verify`] does.
    ///
    /// # Errors
    /// As [`FinishedRun::read`] and [`verify`].
    pub fn verified(directory: &Path) -> Result<(Self, Verified)> {
        if !directory.join("report.json").exists() && directory.join("checkpoint").exists() {
            let reason = "the run was interrupted and has no report yet; finish it with train --resume".to_string();
            return Err(Error::Unverified { reason });
        }
        let run = Self::read(directory)?;
        let mut checks = Checks(Vec::new());
        let privacy = &run.report.privacy;
        let recomputed = checks.ledger(&run)?;
        let epsilon_upper = recomputed.epsilon.upper;
        checks.spent_before(privacy, &recomputed)?;
        checks.parameters(&run.report, recomputed)?;
        checks.nodes(&run.report)?;
        checks.assumptions(&run.report)?;
        checks.budget(&run)?;
        checks.model(&run)?;
        checks.files(&run)?;
        let Checks(checks) = checks;
        let verified = Verified { epsilon_upper, delta: privacy.delta.get(), steps: privacy.steps, checks };
        Ok((run, verified))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.directory.join(name);
        std::fs::read(&path).map_err(Error::io("read", &path))
    }
}

/// What agreed so far.
struct Checks(Vec<String>);

impl Checks {
    fn check(&mut self, holds: bool, claim: impl Into<String>, otherwise: impl Into<String>) -> Result<()> {
        if holds {
            self.0.push(claim.into());
            return Ok(());
        }
        Err(Error::Unverified { reason: otherwise.into() })
    }

    /// The ledger is what the plan costs, and the epsilons are what the ledger costs; with what the ledger adds up to.
    fn ledger(&mut self, run: &FinishedRun) -> Result<Privacy> {
        let (plan, privacy, ledger) = (&run.report.plan, &run.report.privacy, &run.ledger);
        let done = u32::try_from(privacy.steps).ok().filter(|steps| *steps <= plan.draft().steps);
        self.check(
            done.map(|steps| plan.event_of(steps)).transpose()?.is_some_and(|planned| ledger.event() == planned),
            format!("the ledger holds the plan's events of {} steps", privacy.steps),
            "the ledger does not hold what the plan and the steps done say",
        )?;
        let recomputed = Privacy::new(plan, ledger, privacy.key, run.report.nodes.as_ref())?;
        let (stated, now) = (privacy.epsilon, recomputed.epsilon);
        self.check(
            same(stated, now),
            format!("epsilon recomputed from the ledger is {}", now.upper),
            format!("epsilon is stated as {stated}, and the ledger costs {now}"),
        )?;
        let (stated_rows, rows) = (&privacy.guarantees, &recomputed.guarantees);
        let words = run.report.is_of_this_version();
        self.check(
            stated_rows.len() == rows.len()
                && stated_rows.iter().zip(rows).all(|(stated, now)| agree(stated, now, words)),
            format!("the guarantees beside it are those of the ledger, {} in all", rows.len()),
            "the guarantees beside the stated one are not those of the ledger",
        )?;
        Ok(recomputed)
    }

    /// What the model started from has cost, and what others have.
    fn spent_before(&mut self, privacy: &Privacy, recomputed: &Privacy) -> Result<()> {
        let before = |of: &Privacy| [of.started_from, of.joint.map(|joint| joint.epsilon)];
        let mut pairs = before(privacy).into_iter().zip(before(recomputed));
        self.check(
            pairs.all(|pair| matches!(pair, (None, None)) || matches!(pair, (Some(a), Some(b)) if same(a, b))),
            "what was spent before is the plan's",
            "what is stated as spent before, or together with others, is not the plan's",
        )
    }

    /// Everything else is the plan's to the letter.
    fn parameters(&mut self, report: &Report, recomputed: Privacy) -> Result<()> {
        let privacy = &report.privacy;
        let joint = recomputed.joint.zip(privacy.joint).map(|(now, stated)| Joint { epsilon: stated.epsilon, ..now });
        let expected = Privacy {
            epsilon: privacy.epsilon,
            started_from: privacy.started_from,
            joint,
            guarantees: privacy.guarantees.clone(),
            // The accountant may have been an earlier version of this one.
            accountant_version: privacy.accountant_version.clone(),
            // The last clip norm follows from releases that are not kept; only a plan under which it moves has one.
            last_clip_norm: privacy.last_clip_norm.filter(|_| report.plan.draft().clipping.adaptive().is_some()),
            ..recomputed
        };
        let different = differences(privacy, &expected);
        self.check(
            different.is_empty(),
            "the stated parameters are the plan's",
            format!("the stated parameters are not the plan's: {}", different.join(", ")),
        )
    }

    /// What the nodes promise follows from plan and setting, and its cost is the plan's.
    fn nodes(&mut self, report: &Report) -> Result<()> {
        let Some(nodes) = &report.nodes else {
            let clients = report.plan.draft().unit == Unit::Client;
            return if clients {
                Err(unverified("the plan is of clients, and the report has no nodes"))
            } else {
                Ok(())
            };
        };
        if let Some(why) = nodes.contradiction(report) {
            return Err(unverified(why));
        }
        let now = nodes.clone().promising(&report.plan)?;
        // The words of another version are its own.
        self.check(
            now.promise == nodes.promise || !report.is_of_this_version(),
            format!("what the {} nodes promise follows from plan and algorithm", nodes.records.len()),
            "what the nodes promise does not follow from plan and algorithm",
        )
    }

    /// Whatever is assumed is what plan, nodes and model call for.
    fn assumptions(&mut self, report: &Report) -> Result<()> {
        let missing = super::assumptions::missing(report);
        self.check(
            missing.is_none() || !report.is_of_this_version(),
            "nothing is left out of what the guarantee rests on",
            format!("the report leaves out what its guarantee rests on: {}", missing.unwrap_or_default()),
        )
    }

    fn budget(&mut self, run: &FinishedRun) -> Result<()> {
        let plan = &run.report.plan;
        let Some(budget) = plan.draft().budget else { return Ok(()) };
        let upper = plan.joint_epsilon(&run.ledger.event())?.upper();
        self.check(
            upper <= budget.get(),
            format!("the budget {} is kept", budget.get()),
            format!("epsilon {upper} exceeds the budget {}", budget.get()),
        )
    }

    fn model(&mut self, run: &FinishedRun) -> Result<()> {
        let (model, stated) = (run.bytes("model.safetensors")?, &run.report.model);
        let hash = sha256(&model);
        self.check(
            hash == stated.sha256,
            format!("model.safetensors has the stated hash {hash}"),
            format!("model.safetensors has the hash {hash}, and the report states {}", stated.sha256),
        )?;
        let (parameters, finite) = count(&run.directory.join("model.safetensors"), &model)?;
        self.check(
            parameters == stated.parameters && finite == stated.finite,
            format!("the model has {parameters} parameters"),
            format!("the model has {parameters} parameters (finite: {finite}), and the report states otherwise"),
        )
    }

    /// The statement, the page and the metrics are those of the report.
    fn files(&mut self, run: &FinishedRun) -> Result<()> {
        let (report, stated) = (&run.report, run.report.files.as_ref());
        let [statement, page] = [run.bytes("statement.txt")?, run.bytes("report.html")?];
        // The words of another version are its own. Where no hashes are stated, there is nothing else to go by.
        let compared = report.is_of_this_version() || stated.is_none();
        if compared {
            self.check(
                statement == super::statement(report).into_bytes(),
                "statement.txt says what report.json says",
                "statement.txt does not say what report.json says",
            )?;
            self.check(
                page == super::page(report, &run.metrics).into_bytes(),
                "report.html shows what report.json and metrics.csv say",
                "report.html does not show what report.json and metrics.csv say",
            )?;
        }
        let Some(Files { statement: of_statement, page: of_page, metrics: of_metrics }) = stated else { return Ok(()) };
        let metrics = run.bytes("metrics.csv")?;
        let version = &report.versions.dpsgd;
        let but = if compared { "" } else { "; what it says was not compared" };
        for (name, bytes, stated) in [
            ("statement.txt", statement, of_statement),
            ("report.html", page, of_page),
            ("metrics.csv", metrics, of_metrics),
        ] {
            self.check(
                sha256(&bytes) == *stated,
                format!("{name} is as dpsgd {version} wrote it: it has the stated hash{but}"),
                format!("{name} is not the file that was written with report.json: its hash is another"),
            )?;
        }
        Ok(())
    }
}

fn unverified(reason: &str) -> Error {
    Error::Unverified { reason: reason.into() }
}

/// Whether two intervals are the same but for rounding.
fn same(stated: Interval, now: Interval) -> bool {
    let close = |stated: f64, now: f64| (stated - now).abs() <= 1e-9 * now.abs().max(1e-9);
    close(stated.upper, now.upper) && close(stated.lower, now.lower) && close(stated.estimate, now.estimate)
}

/// Whether two guarantees are the same but for rounding, and in the same words if they are to be.
fn agree(stated: &Guarantee, now: &Guarantee, words: bool) -> bool {
    let numbers = match (stated.epsilon, now.epsilon) {
        (Some(stated), Some(now)) => same(stated, now),
        (stated, now) => stated.is_none() && now.is_none(),
    };
    // Another version of the accountant may give the same reason in other words.
    let (epsilon, not_available) = (stated.epsilon, stated.not_available.clone());
    let meaning = if words { &now.meaning } else { &stated.meaning }.clone();
    numbers && *stated == Guarantee { epsilon, not_available, meaning, ..now.clone() }
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

/// The names of the fields in which two statements differ, also of those that only one of them has.
fn differences(stated: &Privacy, recomputed: &Privacy) -> Vec<String> {
    let fields = |privacy: &Privacy| match serde_json::to_value(privacy) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (stated, recomputed) = (fields(stated), fields(recomputed));
    let differs = |name: &&String| stated.get(*name) != recomputed.get(*name);
    let missing = recomputed.keys().filter(|name| !stated.contains_key(*name));
    stated.keys().chain(missing).filter(differs).cloned().collect()
}
