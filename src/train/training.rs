//! What steps of one machine and rounds of many nodes have in common.

use super::{Progress, Trainer, Wish};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::clip::ClipNorm;
use dp_accountant::Ledger;

/// A run that can be watched, stopped, kept and taken up again: steps of a [`Trainer`], or rounds of many nodes
/// ([`Rounds`](crate::distributed::Rounds)). In a run of many processes all of them call the same methods in the same order.
pub trait Training {
    /// Takes steps until the run is done, the budget is spent, or `watch` wishes to stop or pause; in a run of many processes the
    /// watcher of node 0 decides for all. What ended it: `Continue` where nothing is left to do.
    ///
    /// # Errors
    /// Whatever a step refuses; the steps before it are in the ledger.
    fn train(&mut self, watch: &mut (dyn FnMut(&Progress<'_>) -> Result<Wish> + Send)) -> Result<Wish>;

    /// Steps or rounds done.
    fn step(&self) -> u32;

    /// The steps of the plan that the run has spent.
    ///
    /// # Errors
    /// When they are too many to be counted.
    fn spent_steps(&self) -> Result<u32>;

    /// Whether every step that can be taken has been.
    fn is_done(&self) -> bool;

    /// What has been spent.
    fn ledger(&self) -> &Ledger;

    /// The clip norm of the step to come.
    fn clip_norm(&self) -> ClipNorm;

    /// Everything needed to go on from here, with notes of the caller's own; nothing where the run was left in the middle of a round.
    ///
    /// # Errors
    /// When tensors cannot be read from their device.
    fn checkpoint(&self, notes: serde_json::Value) -> Result<Option<Checkpoint>>;

    /// Goes on from a checkpoint: every later bit is the same.
    ///
    /// # Errors
    /// When the checkpoint is not one of this run.
    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()>;
}

impl Training for Trainer<'_> {
    fn train(&mut self, watch: &mut (dyn FnMut(&Progress<'_>) -> Result<Wish> + Send)) -> Result<Wish> {
        Trainer::train(self, watch)
    }

    fn step(&self) -> u32 {
        self.step
    }

    fn spent_steps(&self) -> Result<u32> {
        Ok(self.step)
    }

    fn is_done(&self) -> bool {
        Trainer::is_done(self)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn clip_norm(&self) -> ClipNorm {
        self.clip_norm
    }

    fn checkpoint(&self, notes: serde_json::Value) -> Result<Option<Checkpoint>> {
        Trainer::checkpoint(self, &notes).map(Some)
    }

    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        Trainer::resume(self, checkpoint)
    }
}
