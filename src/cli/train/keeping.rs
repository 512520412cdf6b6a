//! What is kept of a run, from its first step to its last: in its directory, and in a ledger that it shares.

use super::Args;
use super::course::Course;
use super::place::Place;
use super::prepared::Prepared;
use crate::cli::flags::Flags;
use crate::journal::Journal;
use crate::recipe::Recipe;
use crate::report::{Report, RunDirectory};
use crate::train::{Training, Wish};
use crate::{Error, Result};

/// Where a run is kept, if it is.
pub(super) struct Keeping<'a> {
    prepared: &'a Prepared,
    place: &'a Place,
    /// Whether no process before this one has taken a step of it.
    fresh: bool,
    /// Whether every process keeps its own checkpoint.
    scattered: bool,
    config: String,
}

impl<'a> Keeping<'a> {
    /// The directory of the run with the journal so far; `run` stands where the interrupted run did.
    pub(super) fn open(
        args: &Args,
        prepared: &'a Prepared,
        place: &'a Place,
        flags: &Flags,
        run: &mut dyn Training,
    ) -> Result<(Self, Journal)> {
        let (fresh, config) = (place.checkpoint().is_none(), flags.to_toml());
        let journal = match place.checkpoint() {
            Some(checkpoint) => {
                let journal: Journal = checkpoint.notes()?;
                same_recipe(journal.recipe(), &prepared.recipe)?;
                run.resume(checkpoint)?;
                journal
            }
            None => Journal::new(prepared.recipe.clone()),
        };
        let scattered = args.nodes.over_mpi() && args.nodes.has_algorithm();
        Ok((Self { prepared, place, fresh, scattered, config }, journal))
    }

    /// The directory, in the process that shows and keeps results.
    pub(super) fn directory(&self) -> Option<&RunDirectory> {
        self.place.directory().filter(|_| self.place.leads())
    }

    fn keep(&self, run: &dyn Training, journal: &Journal) -> Result<()> {
        let Some(directory) = self.place.directory() else { return Ok(()) };
        let notes = serde_json::to_value(journal);
        let notes = notes.map_err(|error| Error::value("journal", error, "something JSON can hold"))?;
        match run.checkpoint(notes)? {
            Some(checkpoint) if self.scattered => directory.keep_checkpoint_and_last(&checkpoint),
            Some(checkpoint) => directory.keep_checkpoint(&checkpoint),
            // The one before still stands.
            None => Ok(()),
        }
    }

    /// Before the first step: whatever happens from here on, every process has something to go on from, and the shared ledger knows of
    /// it before anybody says anything.
    pub(super) fn begin(&self, course: &mut Course<'_>, journal: &Journal) -> Result<()> {
        self.place.make()?;
        self.keep(course.run(), journal)?;
        if let Some(directory) = self.directory() {
            directory.keep_config(&self.config)?;
        }
        course.wait()?;
        let Prepared { before, plan, recipe, .. } = self.prepared;
        let set_aside = if self.place.leads() { before.set_aside(plan, recipe) } else { Ok(()) };
        if course.first_says(set_aside.is_ok())? {
            return Ok(());
        }
        // What an interrupted run has bought stays.
        self.place.directory().iter().filter(|_| self.fresh).try_for_each(|directory| directory.discard())?;
        set_aside?;
        Err(Error::Refused { reason: "node 0 has refused to set the run aside in its ledger".into() })
    }

    /// After a stretch of steps, whichever way it ended.
    pub(super) fn stretch(&self, run: &dyn Training, journal: &Journal, trained: &Result<Wish>) -> Result<()> {
        let Some(directory) = self.place.directory() else { return Ok(()) };
        if self.fresh && trained.is_err() && run.spent_steps()? == 0 {
            // Nothing was spent, by this process or one before it: nothing is kept.
            if self.place.leads() {
                self.prepared.before.settle(&self.prepared.plan, 0)?;
            }
            return directory.discard();
        }
        // Budget has been spent: whatever happens from here on, what it bought is on the disk.
        self.keep(run, journal)
    }

    /// After the last stretch of this process: where nothing is left to go on from, what was spent is all that will be.
    pub(super) fn end(&self, run: &dyn Training) -> Result<()> {
        if self.place.directory().is_some() || !self.place.leads() {
            return Ok(());
        }
        self.prepared.before.settle(&self.prepared.plan, run.spent_steps()?)
    }

    /// After the run is done.
    pub(super) fn finish(&self, run: &dyn Training, report: &Report, model: &[u8], journal: &Journal) -> Result<()> {
        let Some(directory) = self.directory() else { return Ok(()) };
        directory.keep_config(&self.config)?;
        directory.keep_results(report, run.ledger(), model, journal)?;
        self.prepared.before.settle(&self.prepared.plan, run.spent_steps()?)
    }

    /// After a run is done whose results another process keeps.
    pub(super) fn clear(&self) -> Result<()> {
        self.place.directory().map_or(Ok(()), RunDirectory::clear)
    }
}

/// Going on under another recipe would make a model that neither describes.
fn same_recipe(then: &Recipe, now: &Recipe) -> Result<()> {
    if then == now {
        return Ok(());
    }
    let reason =
        format!("the run was started under another recipe; resume with its flags\n  then: {then:?}\n  now:  {now:?}");
    Err(Error::Refused { reason })
}
