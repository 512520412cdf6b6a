//! Data-parallel DP-SGD: every node has a shard of the records, and sums are added up before noise is drawn once.
//!
//! Batches are those of one machine: every record is in a batch by the coin that one machine would toss for it, whoever has the record.
//! Every node clips and sums its own, the sums are reduced, and every process draws the same noise from the key that all have, and takes
//! the same step. So law and accounting are those of one machine, and results differ by the rounding of sums alone. Whoever has the
//! key sees what it hides: the processes trust each other, and whoever sees the messages between them is trusted too.

use super::cost::{self, NodeCost};
use super::nodes::Times;
use super::{Transport, Width, agreement};
use crate::checkpoint::Fingerprint;
use crate::clip::ClippedSum;
use crate::plan::Plan;
use crate::sample::Batch;
use crate::seed::Key;
use crate::train::Wish;
use crate::{Error, Result};
use std::time::Instant;

/// Which node has which record, and how nodes talk.
pub struct Shards<'a> {
    transport: &'a mut dyn Transport,
    /// The node of every record.
    nodes: Vec<usize>,
    /// How long each hosted node has computed.
    times: Vec<Times>,
}

impl std::fmt::Debug for Shards<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("nodes", &self.transport.nodes()).finish_non_exhaustive()
    }
}

impl<'a> Shards<'a> {
    /// `shards[i]` are the records of node i; a node may have none.
    ///
    /// # Errors
    /// When there is not a shard for each node, or a record is in none or in two.
    pub fn new(transport: &'a mut dyn Transport, shards: &[Vec<usize>], records: usize) -> Result<Self> {
        if shards.len() != transport.nodes() {
            return Err(Error::value("shards", shards.len(), format!("one for each of {} nodes", transport.nodes())));
        }
        let mut nodes = vec![None; records];
        for (node, shard) in shards.iter().enumerate() {
            for row in shard {
                match nodes.get_mut(*row) {
                    Some(owner @ None) => *owner = Some(node),
                    Some(Some(other)) => {
                        let allowed = format!("in one shard, and not in those of nodes {other} and {node}");
                        return Err(Error::value("record", row, allowed));
                    }
                    None => return Err(Error::value("record", row, format!("below {records}"))),
                }
            }
        }
        match nodes.iter().position(Option::is_none) {
            Some(row) => Err(Error::value("record", row, "in the shard of a node")),
            None => {
                let times = vec![Times::default(); transport.hosted().len()];
                Ok(Self { transport, nodes: nodes.into_iter().flatten().collect(), times })
            }
        }
    }

    /// Whether all processes have one plan, key and shards: with others, sums would not have the bound that the noise
    /// is made for.
    ///
    /// # Errors
    /// When this process has not, or another is gone.
    pub(crate) fn agree(
        &mut self,
        (plan, key): (&Plan, &Key),
        start: &[f64],
        records: Option<&Fingerprint>,
    ) -> Result<()> {
        let plan = serde_json::to_vec(plan).map_err(|error| Error::value("plan", error, "finite numbers"))?;
        let nodes: Vec<u8> = self.nodes.iter().flat_map(|node| (*node as u64).to_le_bytes()).collect();
        let key = key.derived("agreement");
        let start = Width::F64.message(start);
        let records = records.map_or("", Fingerprint::as_str);
        let parts: [(&str, &[u8]); 5] = [
            ("copy of the records", records.as_bytes()),
            ("start", &start),
            ("plan", &plan),
            ("key", key.secret()),
            ("dealing of records", &nodes),
        ];
        agreement::same(self.transport, &parts)
    }

    /// Whether nodes are in several processes.
    pub(crate) fn spans_processes(&self) -> bool {
        self.transport.hosted().len() < self.transport.nodes()
    }

    /// The node of every record.
    pub(crate) fn nodes_of_records(&self) -> &[usize] {
        &self.nodes
    }

    /// What the watcher in the process of node 0 wishes, in all processes.
    pub(crate) fn wish(&mut self, own: Wish) -> Result<Wish> {
        agreement::wish(self.transport, own)
    }

    /// Waits until all processes have come here.
    pub(crate) fn wait(&mut self) -> Result<()> {
        agreement::barrier(self.transport)
    }

    /// What the process of node 0 says, in all processes.
    pub(crate) fn first_says(&mut self, own: bool) -> Result<bool> {
        agreement::from_first(self.transport, || Ok(own))
    }

    /// What each node has moved and how long it took, of all nodes, in the process that hosts node 0.
    pub(crate) fn costs(&mut self) -> Result<Option<Vec<NodeCost>>> {
        let own: Vec<NodeCost> = self
            .transport
            .traffic()
            .iter()
            .zip(&self.times)
            .map(|(traffic, times)| NodeCost::new(traffic, times))
            .collect();
        cost::collected(self.transport, &own)
    }

    /// The clipped sum of a batch over all nodes. `clipped` makes that of the part of a node, with the key for what is drawn for its
    /// examples by their places.
    ///
    /// Of a batch in a uniformly random order, the parts are in uniformly random orders that do not depend on each other, as the
    /// bound of a sum needs them ([`Batch`]).
    pub(crate) fn sum(
        &mut self,
        batch: &Batch,
        key: &Key,
        mut clipped: impl FnMut(&Batch, &Key) -> Result<ClippedSum>,
    ) -> Result<ClippedSum> {
        let alone = self.transport.nodes() == 1;
        let mut of_node = |node: usize| {
            let part = batch.part(|row| self.nodes[row] == node);
            // Places are counted by every node from 0: with one key, examples of two nodes would share what is drawn for them.
            let key = if alone { key.clone() } else { key.derived(&format!("examples of node {node}")) };
            clipped(&part, &key)
        };
        let mut timed = |(node, times): (usize, &mut Times)| {
            let since = Instant::now();
            let sum = of_node(node);
            times.computing += since.elapsed();
            sum
        };
        let own = self.transport.hosted().zip(&mut self.times).map(&mut timed).collect::<Result<Vec<_>>>()?;
        ClippedSum::reduced(own, |vectors| self.transport.all_reduce_sum(vectors, Width::F64))
    }
}
