//! How messages get from node to node.
//!
//! The contract is collective: every process calls the same methods in the same order, each for the nodes it hosts. What comes
//! out does not depend on the member: sums are taken in the order of nodes, so `Local` and MPI agree to the last bit, and so
//! do their counts of bytes.

mod local;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(not(feature = "mpi"))]
#[path = "without_mpi.rs"]
mod mpi;

pub use local::Local;
pub use mpi::Mpi;

use super::wire::{Message, Width};
use crate::{Error, Result};
use std::ops::Range;
use std::time::Duration;

/// Moves messages between the nodes of a run.
pub trait Transport: Send {
    /// How many nodes there are, in all processes together.
    fn nodes(&self) -> usize;

    /// The nodes that this process hosts.
    fn hosted(&self) -> Range<usize>;

    /// The sum of a vector of every node, `((v_0 + v_1) + v_2) + ...` for each element, the same bits in every process. Every v_i
    /// and the sum are rounded to `width`. `vectors` are those of the hosted nodes, all of one length.
    ///
    /// On the wire it is reduced in shares, one for each node, and the shares are handed to everybody: each node sends and receives
    /// `2 (n - 1) / n` times the vector, the least that n nodes can do with.
    ///
    /// # Errors
    /// When the vectors have different lengths, or another node is gone.
    fn all_reduce_sum(&mut self, vectors: &[Vec<f64>], width: Width) -> Result<Vec<f64>>;

    /// Every node's message to node 0. The process that hosts node 0 gets them all, in the order of nodes; others get none.
    ///
    /// # Errors
    /// When there is not a message for each hosted node, or another node is gone.
    fn collect(&mut self, messages: Vec<Message>) -> Result<Option<Vec<Message>>>;

    /// A message of node 0 to all others. `message` is there in the process that hosts node 0, and in no other.
    ///
    /// # Errors
    /// When a message is given by another process or missing, or another node is gone.
    fn broadcast(&mut self, message: Option<Message>) -> Result<Message>;

    /// Every node's message to each of its peers: `peers[i]` are those of node i, for all nodes; who is a peer has the other as a
    /// peer. For each hosted node, the messages of its peers in the order of `peers[i]`.
    ///
    /// # Errors
    /// When peers are not mutual, or do not exist, when there is not a message for each hosted node, or another node is gone.
    fn exchange(&mut self, peers: &[Vec<usize>], messages: Vec<Message>) -> Result<Vec<Vec<Message>>>;

    /// What each hosted node has sent, received and waited for so far.
    fn traffic(&self) -> &[Traffic];

    /// Ends the other processes of the run, which would wait for this one for ever, and this one too, with an exit code. Where there are
    /// no others it does nothing.
    fn abandon(&self, _code: i32) {}
}

/// What a node has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Traffic {
    /// Bytes sent to other nodes.
    pub sent: u64,
    /// Bytes received from other nodes.
    pub received: u64,
    /// Time in collective operations, of which most is waiting for others. Nothing where all nodes are in one process.
    pub waiting: Duration,
}

/// The elements that node `node` of `nodes` adds up, of `length` in all: shares are as equal as they can be.
pub(super) fn share(node: usize, nodes: usize, length: usize) -> Range<usize> {
    let start = |node: usize| node * (length / nodes) + node.min(length % nodes);
    start(node)..start(node + 1)
}

/// What a node moves in an all-reduce of `length` elements: its parts of the others' shares and the sums of its own share out, as much in.
pub(super) fn reduced(node: usize, nodes: usize, length: usize, width: Width) -> (u64, u64) {
    let own = share(node, nodes, length).len();
    let bytes = ((length - own) + own * (nodes - 1)) * width.bytes();
    (bytes as u64, bytes as u64)
}

/// The contributions, if there is one for each hosted node.
fn one_each<'a, T>(transport: &impl Transport, given: &'a [T]) -> Result<&'a [T]> {
    let hosted = transport.hosted().len();
    if given.len() == hosted {
        return Ok(given);
    }
    Err(Error::value("messages", given.len(), format!("one from each of the {hosted} nodes of this process")))
}

fn same_lengths(vectors: &[Vec<f64>]) -> Result<()> {
    match vectors.windows(2).find(|pair| pair[0].len() != pair[1].len()) {
        None => Ok(()),
        Some(pair) => {
            Err(Error::value("length of a vector", pair[1].len(), format!("{}, as of another node", pair[0].len())))
        }
    }
}

/// Whether every peer exists, is somebody else, is named once, and says the same of the other.
pub(super) fn mutual(nodes: usize, peers: &[Vec<usize>]) -> Result<()> {
    if peers.len() != nodes {
        return Err(Error::value("peers", format!("of {} nodes", peers.len()), format!("of {nodes} nodes")));
    }
    for (node, of_node) in peers.iter().enumerate() {
        for (place, peer) in of_node.iter().enumerate() {
            let known = peers.get(*peer).is_some_and(|of_peer| of_peer.contains(&node));
            if !known || *peer == node || of_node[..place].contains(peer) {
                let allowed = "another node that names this one as its peer, once";
                return Err(Error::value(format!("peer of node {node}"), peer, allowed));
            }
        }
    }
    Ok(())
}
