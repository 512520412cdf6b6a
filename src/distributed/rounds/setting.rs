//! What a run of rounds is made of.

use crate::checkpoint::hexadecimal;
use crate::data::Dataset;
use crate::distributed::uplink::Trust;
use crate::distributed::{Method, Topology, Width};
use crate::model::Architecture;
use crate::nn::Parameters;
use crate::seed::Key;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;

/// What the messages of a run follow from, beside its plan, its data and its keys. Two runs with the same keys and another setting would
/// put different numbers under the same noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The algorithm.
    pub method: Method,
    /// How many nodes there are.
    pub nodes: usize,
    /// Whom nodes trust.
    pub trust: Trust,
    /// How numbers are written.
    pub width: Width,
    /// The model that all nodes learn.
    pub model: Architecture,
    /// Records that all nodes together answer with, without noise of their own; all of them if absent.
    pub minibatch: Option<NonZeroUsize>,
}

/// Keys, data and model of a run of rounds.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// A secret that all processes share.
    pub shared: &'a Key,
    /// The secret of this process alone, where nodes trust nobody; otherwise that of all.
    pub own: &'a Key,
    /// All records; where nodes are apart, those of the hosted node.
    pub data: &'a Dataset,
    /// The rows of each node, of all nodes.
    pub shards: &'a [Vec<usize>],
    /// Whether each process has the records of its own node alone: every node's rows are counted from 0.
    pub apart: bool,
    /// The model's parameters: where the run begins, and where it is put by it.
    pub parameters: &'a Parameters,
    /// Records in memory at a time.
    pub physical_batch: NonZeroUsize,
}

impl Grounds<'_> {
    /// Which rows each node has, who talks to whom, and in what pieces gradients are summed, as a hash under the key: sums that would be
    /// others are told from it, and nothing else.
    pub(super) fn places(&self, setting: &Setting) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.shared.derived("places").secret());
        for rows in self.shards {
            hash.update((rows.len() as u64).to_le_bytes());
            rows.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        if let Some(words) = setting.method.topology() {
            let nodes = setting.nodes;
            let mixing = words.parse::<Topology>()?.mixing(nodes, self.shared)?;
            let weights = (0..nodes).flat_map(|i| (0..nodes).map(move |j| (i, j)));
            weights.for_each(|(i, j)| hash.update(mixing.weight(i, j).to_le_bytes()));
        }
        hash.update((self.physical_batch.get() as u64).to_le_bytes());
        Ok(hexadecimal(&hash.finalize()))
    }

    /// Whether every record is at one node at most: at two it would cost what both have spent. Where nodes are apart nobody can tell.
    pub(super) fn disjoint(&self) -> Result<()> {
        if self.apart {
            return Ok(());
        }
        let mut seen = vec![false; self.data.len()];
        for row in self.shards.iter().flatten() {
            match seen.get_mut(*row) {
                Some(seen @ false) => *seen = true,
                Some(_) => return Err(Error::value("record", row, "in one shard, and not in two")),
                None => return Err(Error::value("record", row, format!("below {}", self.data.len()))),
            }
        }
        Ok(())
    }
}
