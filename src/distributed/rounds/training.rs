//! A run of rounds that is watched, kept and taken up again.

use super::{Rounds, Setting};
use crate::checkpoint::{Checkpoint, OfNodes};
use crate::clip::ClipNorm;
use crate::distributed::set_point;
use crate::train::{Progress, Training, Wish};
use crate::{Error, Result};
use dp_accountant::Ledger;

impl Training for Rounds<'_> {
    fn train(&mut self, watch: &mut (dyn FnMut(&Progress<'_>) -> Result<Wish> + Send)) -> Result<Wish> {
        self.rounds(watch)
    }

    fn step(&self) -> u32 {
        self.round
    }

    fn spent_steps(&self) -> Result<u32> {
        // A round that was left in the middle may have told all that it tells.
        self.steps_after(if self.broken { self.round + 1 } else { self.round })
    }

    fn is_done(&self) -> bool {
        self.round == self.affordable
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn clip_norm(&self) -> ClipNorm {
        self.plan.draft().clip_norm
    }

    fn checkpoint(&self, notes: serde_json::Value) -> Result<Option<Checkpoint>> {
        if self.broken {
            return Ok(None);
        }
        let setting = serde_json::to_value(&self.setting);
        let nodes = OfNodes {
            places: self.grounds.places(&self.setting)?,
            setting: setting.map_err(|error| Error::value("setting", error, "finite numbers"))?,
            state: self.algorithm.state(),
            answers: self.nodes.answers(),
            own: self.grounds.own.clone(),
        };
        let spent = (&self.ledger, self.round);
        Checkpoint::of_nodes(self.plan, self.grounds.shared, &self.fingerprint, spent, nodes, notes).map(Some)
    }

    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let refused = |what: &str| {
            let reason = format!("the checkpoint was written {what}; resume with the flags of the first run");
            Err(Error::Refused { reason })
        };
        let Some(nodes) = checkpoint.nodes()? else { return refused("by a run of one algorithm less") };
        if checkpoint.plan() != self.plan {
            return refused("under another plan");
        }
        if !checkpoint.is_of(&self.fingerprint) {
            return refused("for other records");
        }
        let same = serde_json::from_value::<Setting>(nodes.setting).ok().as_ref() == Some(&self.setting);
        if !same || nodes.places != self.grounds.places(&self.setting)? {
            return refused(
                "for another algorithm, or where nodes had other records dealt to them, other peers or another --physical-batch",
            );
        }
        let steps = self.steps_after(checkpoint.step())?;
        let spent = self.plan.event_of(steps)?;
        let keys = checkpoint.key()? == *self.grounds.shared && nodes.own == *self.grounds.own;
        if !keys || checkpoint.step() > self.affordable || (self.private && checkpoint.ledger().event() != spent) {
            return refused("by another run, or changed");
        }
        self.algorithm.resume(nodes.state)?;
        self.nodes.resume(&nodes.answers)?;
        // Where no round is left to do, nothing else puts them there.
        set_point(self.grounds.parameters, &self.algorithm.mean_point(self.transport)?)?;
        self.ledger = self.plan.draft().past.ledger_after(&self.plan.steps_event(steps)?);
        (self.round, self.broken) = (checkpoint.step(), false);
        Ok(())
    }
}
