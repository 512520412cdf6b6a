//! `dpsgd ledger`: what the models that share a ledger have cost.

use super::{Ended, Format, print};
use crate::ledger_file::{Entry, LedgerFile, State};
use crate::plan::stated;
use crate::report::{Interval, down, up};
use crate::{Error, Result};
use dp_accountant::{Delta, Event};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  dpsgd train --epsilon 1 --ledger spent.json && dpsgd ledger spent.json")]
pub(super) struct Args {
    /// The ledger that `train --ledger` wrote.
    file: PathBuf,
    /// The probability with which the epsilon may fail to hold.
    #[arg(long, value_name = "D", default_value_t = 1e-5)]
    delta: f64,
    /// The accountant: auto, analytic, moments, pld or rdp.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    accountant: String,
}

#[derive(Serialize)]
struct Shown {
    delta: f64,
    relation: dp_accountant::Relation,
    /// Of whoever sees all models.
    epsilon: Interval,
    entries: Vec<ShownEntry>,
}

#[derive(Serialize)]
struct ShownEntry {
    #[serde(flatten)]
    entry: Entry,
    epsilon: Interval,
}

pub(super) fn run(args: Args, format: Format) -> anyhow::Result<Ended> {
    let shown = shown(&args)?;
    match format {
        Format::Json => print(&(serde_json::to_string_pretty(&shown)? + "\n"))?,
        Format::Text => print(&text(&shown))?,
    }
    Ok(Ended::Done)
}

fn shown(args: &Args) -> Result<Shown> {
    let ledger = LedgerFile::new(&args.file);
    let missing = || Error::io("read", &args.file)(std::io::ErrorKind::NotFound.into());
    let entries = ledger.read()?.ok_or_else(missing)?;
    let delta = Delta::new(args.delta)?;
    let accountant = dp_accountant::by_name(&args.accountant, entries.relation)
        .map_err(|_| Error::value("--accountant", &args.accountant, dp_accountant::NAMES.join(", ")))?;
    let epsilon = |event: &Event| Ok::<_, Error>(Interval::from(stated(event, accountant.epsilon(event, delta)?)?));
    let all = Event::composed(entries.entries.iter().map(|entry| entry.event.clone()));
    let relation = entries.relation;
    let shown = |entry: Entry| Ok(ShownEntry { epsilon: epsilon(&entry.event)?, entry });
    let (epsilon, entries) = (epsilon(&all)?, entries.entries.into_iter().map(shown).collect::<Result<_>>()?);
    Ok(Shown { delta: args.delta, relation, epsilon, entries })
}

fn text(shown: &Shown) -> String {
    let mut text = format!("{:<18}{:<28}{:<12}epsilon\n", "entry", "model", "state");
    for ShownEntry { entry, epsilon } in &shown.entries {
        let state = match entry.state {
            State::SetAside => "set aside",
            State::Spent => "spent",
        };
        text += &format!("{:<18}{:<28}{state:<12}{}\n", entry.id, entry.run, up(epsilon.upper));
    }
    text + &format!(
        "together: epsilon {} at delta {}, not below {}\n",
        up(shown.epsilon.upper),
        shown.delta,
        down(shown.epsilon.lower)
    )
}
