//! What nodes know of each other's gradients when a run begins.

use super::vector::scaled;
use super::{Nodes, Transport, Width};
use crate::Result;

/// The direction of the very first local step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The mean of all nodes' gradients at the start: every node is asked for one more, and they are averaged over all nodes.
    Mean,
    /// The node's own gradient: nothing is said before the first round.
    Own,
}

/// Each hosted node's gradient at `point`, and the mean of all nodes'. It is summed once in a run, so in full width: what is rounded
/// here would stay in every later direction.
pub(super) fn gradients(
    nodes: &mut Nodes<'_>,
    transport: &mut dyn Transport,
    point: &[f64],
) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let own = nodes.gradients(point)?;
    let sum = transport.all_reduce_sum(&own, Width::F64)?;
    Ok((own, scaled(1.0 / transport.nodes() as f64, &sum)))
}
