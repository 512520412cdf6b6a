//! The run itself: the steps of one machine, or the rounds of many nodes.

use crate::clip::Symmetry;
use crate::distributed::Rounds;
use crate::distributed::cost::NodeCost;
use crate::train::{Trainer, Training};
use crate::{Error, Result};

/// What is watched, kept and resumed.
pub(super) enum Course<'a> {
    Steps(Box<Trainer<'a>>),
    Rounds(Box<Rounds<'a>>),
}

impl<'a> Course<'a> {
    pub(super) fn run(&mut self) -> &mut (dyn Training + 'a) {
        match self {
            Self::Steps(trainer) => trainer.as_mut(),
            Self::Rounds(rounds) => rounds.as_mut(),
        }
    }

    /// What each node has cost, in the process of node 0.
    pub(super) fn costs(&mut self) -> Result<Option<Vec<NodeCost>>> {
        match self {
            Self::Steps(trainer) => trainer.costs(),
            Self::Rounds(rounds) => rounds.costs(),
        }
    }

    /// Waits until all processes have come here.
    pub(super) fn wait(&mut self) -> Result<()> {
        match self {
            Self::Steps(trainer) => trainer.wait(),
            Self::Rounds(rounds) => rounds.wait(),
        }
    }

    /// What the process of node 0 says, in all processes.
    pub(super) fn first_says(&mut self, own: bool) -> Result<bool> {
        match self {
            Self::Steps(trainer) => trainer.first_says(own),
            Self::Rounds(rounds) => rounds.first_says(own),
        }
    }

    pub(super) fn symmetry(&self, examples: usize) -> Result<Symmetry> {
        match self {
            Self::Steps(trainer) => trainer.symmetry(examples),
            Self::Rounds(_) => Err(Error::value("--symmetry", "given", "nothing beside an algorithm of nodes")),
        }
    }
}
