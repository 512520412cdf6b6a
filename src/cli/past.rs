//! The flags that say what was spent on the same data before: `--ledger` and `--extend`.

use crate::data::Schema;
use crate::ledger_file::{Entry, LedgerFile, State};
use crate::nn::Parameters;
use crate::plan::{Others, Past, Plan, Unit};
use crate::recipe::Recipe;
use crate::report::{FinishedRun, Privacy};
use crate::seed::{Key, Origin};
use crate::{Error, Result};
use candle_core::Device;
use dp_accountant::{Event, Relation};
use std::path::{Component, Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Privacy")]
pub(super) struct PastArgs {
    /// A ledger that models on the same data share. --epsilon is then the budget of all of them together: this run sees what the
    /// others have spent or set aside, sets its own plan aside, and puts what it has spent in the place of that.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "holdout"])]
    ledger: Option<PathBuf>,
    /// Start from the model of a finished run, with what it has cost: --epsilon is the budget of both together. The key is a new one.
    #[arg(long, value_name = "DIR", conflicts_with = "holdout")]
    extend: Option<PathBuf>,
}

/// What was spent before, and where to say what will be.
pub(super) struct Before {
    ledger: Option<LedgerFile>,
    model: Option<FinishedRun>,
}

impl PastArgs {
    /// Refuses a ledger in the directory of the run, where it would be taken for a file of the run, or be overwritten by one.
    pub(super) fn keep_apart(&self, out: Option<&Path>) -> Result<()> {
        let (Some(ledger), Some(out)) = (&self.ledger, out) else { return Ok(()) };
        if whereabouts(ledger)?.starts_with(whereabouts(out)?) {
            let allowed = format!("a file outside {}, which is this run's alone", out.display());
            return Err(Error::value("--ledger", ledger.display(), allowed));
        }
        Ok(())
    }

    /// Whether a ledger is given.
    pub(super) fn shares_a_ledger(&self) -> bool {
        self.ledger.is_some()
    }

    /// Which of the flags are given.
    pub(super) fn given(&self) -> [(&'static str, bool); 2] {
        [("--ledger", self.ledger.is_some()), ("--extend", self.extend.is_some())]
    }

    /// What was spent before. The process that leads a run alone sees the ledger.
    pub(super) fn read(&self, leads: bool) -> Result<Before> {
        let model = self.extend.as_deref().map(|directory| {
            let (run, _) = FinishedRun::verified(directory)?;
            if run.report.model.finite {
                return Ok(run);
            }
            let reason =
                format!("the training of {} diverged: its model is not finite, and nothing starts from it", run.name);
            Err(Error::Refused { reason })
        });
        Ok(Before { ledger: self.ledger.as_ref().filter(|_| leads).map(LedgerFile::new), model: model.transpose()? })
    }
}

impl Before {
    /// The key of a run that starts from another's model: a new one, even if the seed is the same, as steps are counted from 0 again
    /// and no noise may be drawn twice.
    pub(super) fn key(&self, key: Key) -> Key {
        match &self.model {
            Some(model) => key.derived(&format!("extend {}", model.report.model.sha256)),
            None => key,
        }
    }

    /// What was spent, as a run that begins now finds it, or as the interrupted run of this plan found it.
    pub(super) fn past(&self, relation: Relation, interrupted: Option<&Plan>) -> Result<Past> {
        if let Some(plan) = interrupted {
            return self.as_then(plan);
        }
        let model = self.model.as_ref().map_or_else(|| Ok(Event::nothing()), |run| cost(run, relation))?;
        let others = self.ledger.as_ref().map(|ledger| {
            let entries = ledger.read_under(relation)?;
            let ancestors = self.ancestors();
            let listed = |id: &String| entries.entries.iter().any(|entry| entry.id == *id);
            Ok::<_, Error>(Others {
                entry: Entry::new_id()?,
                runs: entries.entries.iter().filter(|entry| !ancestors.contains(&entry.id)).count(),
                event: entries.without(&ancestors),
                with_model: !ancestors.last().is_some_and(listed),
                ancestors,
            })
        });
        let keys = self.model.as_ref().map(|run| keys(&run.report.privacy));
        let apart = self.model.as_ref().is_some_and(|run| run.report.is_apart());
        Ok(Past { model, keys, apart, others: others.transpose()? })
    }

    /// The entries, wherever they are, of the runs that led to the model to start from, that of the last run last.
    fn ancestors(&self) -> Vec<String> {
        let others = self.model.as_ref().and_then(|run| run.report.plan.draft().past.others.as_ref());
        others.map_or_else(Vec::new, |others| {
            others.ancestors.iter().chain(std::iter::once(&others.entry)).cloned().collect()
        })
    }

    fn as_then(&self, plan: &Plan) -> Result<Past> {
        let past = &plan.draft().past;
        let flags = [
            ("--ledger", past.others.is_some(), self.ledger.is_some()),
            ("--extend", past.model != Event::nothing(), self.model.is_some()),
        ];
        match flags.into_iter().find(|(_, then, now)| then != now) {
            None => Ok(past.clone()),
            Some((flag, then, _)) => {
                let given = if then { "with" } else { "without" };
                Err(Error::Refused { reason: format!("the run was started {given} {flag}; resume it {given} it") })
            }
        }
    }

    /// Loads the model to start from, to be trained on records of this schema.
    pub(super) fn load(&self, recipe: &Recipe, schema: &Schema, parameters: &Parameters) -> Result<()> {
        let Some(run) = &self.model else { return Ok(()) };
        if run.report.recipe.model != recipe.model {
            let allowed = format!("{}, the architecture of {}", run.report.recipe.model.name(), run.name);
            return Err(Error::value("--model", recipe.model.name(), allowed));
        }
        // Shapes alone do not tell columns or classes in another order.
        if let Some(what) = run.report.model.schema.mistaken_in(schema) {
            let reason = format!("the model of {} would take {} for something else: {what}", run.name, recipe.data);
            return Err(Error::Refused { reason });
        }
        let path = run.directory.join("model.safetensors");
        parameters.load(&candle_core::safetensors::load(&path, &Device::Cpu)?, &path)
    }

    /// Sets the whole plan aside, if the ledger still is what the plan was calibrated against.
    pub(super) fn set_aside(&self, plan: &Plan, recipe: &Recipe) -> Result<()> {
        let (past, event) = (&plan.draft().past, plan.steps_event(plan.affordable_steps()?)?);
        let (Some(ledger), Some(others)) = (&self.ledger, &past.others) else { return Ok(()) };
        let entry = Entry {
            id: others.entry.clone(),
            run: format!("{} on {}", recipe.model.name(), recipe.data),
            state: State::SetAside,
            event: past.entry(event),
        };
        ledger.set_aside(plan.draft().relation, entry, |entries| {
            if entries.without(&others.ancestors) == others.event {
                return Ok(());
            }
            let reason = format!("the ledger {} has changed meanwhile; start again", ledger.path().display());
            Err(Error::Refused { reason })
        })
    }

    /// Puts what the first `steps` steps have spent in the place of what was set aside.
    pub(super) fn settle(&self, plan: &Plan, steps: u32) -> Result<()> {
        let past = &plan.draft().past;
        let (Some(ledger), Some(others)) = (&self.ledger, &past.others) else { return Ok(()) };
        let spent = if steps == 0 { Event::nothing() } else { past.entry(plan.steps_event(steps)?) };
        ledger.settle(&others.entry, spent)
    }
}

/// What the model of a finished run has cost.
fn cost(run: &FinishedRun, relation: Relation) -> Result<Event> {
    let plan = &run.report.plan;
    if plan.draft().unit == Unit::Client {
        let reason = format!(
            "{} states its cost for clients, who may have had other records than those of this run: nothing can be added to it",
            run.name
        );
        return Err(Error::Refused { reason });
    }
    if plan.draft().relation != relation {
        let reason = format!(
            "{} states its cost under {:?}, and costs under {relation:?} cannot be added to it; use --relation as there",
            run.name,
            plan.draft().relation
        );
        return Err(Error::Refused { reason });
    }
    Ok(run.ledger.event())
}

/// Where the keys came from of a finished run and of those it started from. One that does not say is taken for one with a seed.
fn keys(privacy: &Privacy) -> Origin {
    match (privacy.started_from, privacy.started_from_key) {
        (Some(_), None) => Origin::Seed,
        _ => privacy.keys(),
    }
}

/// The place that a path names, links followed, whether or not there is anything yet.
fn whereabouts(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io("follow", path))?;
    let mut place = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(place.pop()),
            part => place.push(part),
        }
        place = place.canonicalize().unwrap_or(place);
    }
    Ok(place)
}
