//! What a node of a run has moved and how long it took.

use super::nodes::Times;
use super::transport::{Traffic, Transport};
use super::wire::Message;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a node has cost since its process was last started. Times can tell something about its data.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeCost {
    /// Bytes sent to other nodes.
    pub sent_bytes: u64,
    /// Bytes received from other nodes.
    pub received_bytes: u64,
    /// Seconds of computing; not told by nodes that trust nobody.
    pub computing_seconds: Option<f64>,
    /// Seconds of waiting for others, and of moving bytes; likewise.
    pub waiting_seconds: Option<f64>,
}

impl NodeCost {
    /// From what its process has counted.
    pub(super) fn new(traffic: &Traffic, times: &Times) -> Self {
        Self {
            sent_bytes: traffic.sent,
            received_bytes: traffic.received,
            computing_seconds: Some(times.computing.as_secs_f64()),
            waiting_seconds: Some((traffic.waiting + times.waiting).as_secs_f64()),
        }
    }

    /// Bytes alone.
    pub(super) fn without_times(self) -> Self {
        Self { computing_seconds: None, waiting_seconds: None, ..self }
    }
}

/// The costs of all nodes, in the process that hosts node 0, out of those of the hosted ones.
pub(super) fn collected(transport: &mut dyn Transport, own: &[NodeCost]) -> Result<Option<Vec<NodeCost>>> {
    let unreadable = |error: serde_json::Error| Error::value("cost of a node", error, "finite numbers");
    let message = |cost: &NodeCost| Ok(Message::from(serde_json::to_vec(cost).map_err(unreadable)?));
    let all = transport.collect(own.iter().map(message).collect::<Result<_>>()?)?;
    all.map(|all| all.iter().map(|cost| serde_json::from_slice(cost).map_err(unreadable)).collect()).transpose()
}
