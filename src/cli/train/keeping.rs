//! What is kept of a run, from its first step to its last: in its directory, and in a ledger that it shares.

use super::Args;
use super::prepared::{Interrupted, Prepared};
use crate::cli::flags::Flags;
use crate::journal::Journal;
use crate::recipe::Recipe;
use crate::report::{Report, RunDirectory};
use crate::train::Trainer;
use crate::{Error, Result};

/// Where a run is kept, if it is.
pub(super) struct Keeping<'a> {
    prepared: &'a Prepared,
    directory: Option<RunDirectory>,
    /// Whether no process before this one has taken a step of it.
    fresh: bool,
    config: String,
}

impl<'a> Keeping<'a> {
    /// The directory of the run with the journal so far; `trainer` stands where the interrupted run did.
    pub(super) fn open(
        args: &Args,
        prepared: &'a Prepared,
        flags: &Flags,
        interrupted: Option<Interrupted>,
        trainer: &mut Trainer<'_>,
    ) -> Result<(Self, Journal)> {
        let (fresh, config) = (interrupted.is_none(), flags.to_toml());
        let (directory, journal) = match (interrupted, &args.out) {
            (Some((directory, checkpoint)), _) => {
                let journal: Journal = checkpoint.notes()?;
                same_recipe(journal.recipe(), &prepared.recipe)?;
                trainer.resume(&checkpoint)?;
                (Some(directory), journal)
            }
            (None, Some(out)) => (Some(RunDirectory::create(out)?), Journal::new(prepared.recipe.clone())),
            (None, None) => (None, Journal::new(prepared.recipe.clone())),
        };
        Ok((Self { prepared, directory, fresh, config }, journal))
    }

    pub(super) fn directory(&self) -> Option<&RunDirectory> {
        self.directory.as_ref()
    }

    /// Before the first step: whatever happens from here on, there is something to go on from, and the shared ledger knows of it.
    pub(super) fn begin(&self, trainer: &Trainer<'_>, journal: &Journal) -> Result<()> {
        if let Some(directory) = &self.directory {
            directory.keep_checkpoint(&trainer.checkpoint(journal)?)?;
            directory.keep_config(&self.config)?;
        }
        let Prepared { before, plan, recipe, .. } = self.prepared;
        if let Err(error) = before.set_aside(plan, recipe) {
            // What an interrupted run has bought stays.
            self.directory.iter().filter(|_| self.fresh).try_for_each(RunDirectory::discard)?;
            return Err(error);
        }
        Ok(())
    }

    /// After a stretch of steps, whichever way it ended.
    pub(super) fn stretch(&self, trainer: &Trainer<'_>, journal: &Journal, trained: &Result<()>) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        if self.fresh && trained.is_err() && trainer.step() == 0 {
            // Nothing was spent, by this process or one before it: nothing is kept.
            self.prepared.before.settle(&self.prepared.plan, 0)?;
            return directory.discard();
        }
        // Budget has been spent: whatever happens from here on, what it bought is on the disk.
        directory.keep_checkpoint(&trainer.checkpoint(journal)?)
    }

    /// After the last stretch of this process: where nothing is left to go on from, what was spent is all that will be.
    pub(super) fn end(&self, trainer: &Trainer<'_>) -> Result<()> {
        if self.directory.is_some() {
            return Ok(());
        }
        self.prepared.before.settle(&self.prepared.plan, trainer.step())
    }

    /// After the run is done.
    pub(super) fn finish(&self, trainer: &Trainer<'_>, report: &Report, model: &[u8], journal: &Journal) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        directory.keep_config(&self.config)?;
        directory.keep_results(report, trainer.ledger(), model, journal)?;
        self.prepared.before.settle(&self.prepared.plan, trainer.step())
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
