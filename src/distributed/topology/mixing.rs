//! Mixing matrices: with which weights a node takes what its peers say.

use super::spectrum;
use crate::{Error, Result};

/// A matrix W with which every average of all nodes' vectors stays what it is, and repeated mixing leads everybody to it: symmetric,
/// not negative, rows and columns with the sum 1, eigenvalues in (-1, 1], the graph of its weights in one piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing {
    peers: Vec<Vec<usize>>,
    /// Of each node, the nodes it listens to in their order, itself among them, each with its weight.
    rows: Vec<Vec<(usize, f64)>>,
    gap: f64,
}

/// Why a matrix is none that mixes: the row where it was seen, what stands there, and what should.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) row: Option<usize>,
    pub(super) found: String,
    pub(super) expected: String,
}

impl Fault {
    fn new(row: impl Into<Option<usize>>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { row: row.into(), found: found.into(), expected: expected.into() }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::value("mixing matrix", fault.found, fault.expected)
    }
}

impl Mixing {
    /// The most nodes there can be: the gap takes 2 n^3 operations.
    pub const MOST: usize = 4096;

    /// How far the sum of a row may be from 1. What is missing is added to the node's weight of itself.
    pub const ROUNDING: f64 = 1e-9;

    /// The smallest gap that is told from none.
    pub const SMALLEST_GAP: f64 = 1e-9;

    /// With `weights` `(n, n)`: row i says with which weight node i takes what each node says.
    ///
    /// # Errors
    /// When the matrix has not every property that the type promises.
    pub fn new(weights: &[Vec<f64>]) -> Result<Self> {
        Ok(Self::checked(weights)?)
    }

    /// With the weights of Metropolis and Hastings (Xiao, Boyd and Kim 2007): `w_ij = 1 / (1 + max(d_i, d_j))` for peers with d_i and
    /// d_j peers, and for the node itself what is left, which is never nothing. `peers[i]` are those of node i.
    ///
    /// # Errors
    /// When peers are not mutual or do not exist, or the graph is not in one piece.
    pub fn metropolis(peers: &[Vec<usize>]) -> Result<Self> {
        crate::distributed::transport::mutual(peers.len(), peers)?;
        Ok(Self::of_graph(peers)?)
    }

    /// As [`Mixing::metropolis`], of peers that are mutual.
    pub(super) fn of_graph(peers: &[Vec<usize>]) -> Result<Self, Fault> {
        let weighted = peers.iter().enumerate().map(|(node, of_node)| {
            let weight = |peer: &usize| 1.0 / (1 + of_node.len().max(peers[*peer].len())) as f64;
            with_itself(node, of_node.iter().map(|peer| (*peer, weight(peer))).collect())
        });
        Self::of_rows(weighted.collect())
    }

    pub(super) fn checked(weights: &[Vec<f64>]) -> Result<Self, Fault> {
        let n = weights.len();
        for (i, row) in weights.iter().enumerate() {
            if row.len() != n {
                return Err(Fault::new(i, format!("{} weights of node {i}", row.len()), format!("{n} weights")));
            }
            if let Some((j, weight)) =
                row.iter().enumerate().find(|(_, weight)| !(0.0..=1.0 + Self::ROUNDING).contains(*weight))
            {
                return Err(Fault::new(i, format!("{weight} from node {i} to {j}"), "weights from 0 to 1"));
            }
            if let Some(j) = (0..i).find(|j| row[*j] != weights[*j][i]) {
                let found = format!("{} from node {i} to {j} and {} back", row[j], weights[j][i]);
                return Err(Fault::new(i, found, "a symmetric matrix"));
            }
            let sum: f64 = row.iter().sum();
            if (sum - 1.0).abs() > Self::ROUNDING {
                let expected = format!("1, within {:e}", Self::ROUNDING);
                return Err(Fault::new(i, format!("weights of node {i} with the sum {sum}"), expected));
            }
        }
        let others = |(node, row): (usize, &Vec<f64>)| {
            let others = row.iter().copied().enumerate().filter(|(j, weight)| *j != node && *weight > 0.0);
            with_itself(node, others.collect())
        };
        Self::of_rows(weights.iter().enumerate().map(others).collect())
    }

    /// Of rows that are symmetric with the sum 1.
    fn of_rows(rows: Vec<Vec<(usize, f64)>>) -> Result<Self, Fault> {
        let n = rows.len();
        if !(1..=Self::MOST).contains(&n) {
            return Err(Fault::new(None, format!("{n} nodes"), format!("1 to {}", Self::MOST)));
        }
        let others = |(node, row): (usize, &Vec<(usize, f64)>)| {
            row.iter().map(|(j, _)| *j).filter(|j| *j != node).collect::<Vec<_>>()
        };
        let peers: Vec<Vec<usize>> = rows.iter().enumerate().map(others).collect();
        let reached = reached(&peers);
        if reached < n {
            let found = format!("a graph in pieces: node 0 reaches {} of {} others", reached - 1, n - 1);
            return Err(Fault::new(None, found, "a graph in one piece"));
        }
        let gap = gap(&rows);
        if gap < Self::SMALLEST_GAP {
            let expected = format!("a gap of {:e} and more; weights of nodes for themselves help", Self::SMALLEST_GAP);
            return Err(Fault::new(None, format!("a spectral gap of {gap:e}"), expected));
        }
        Ok(Self { peers, rows, gap })
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.peers.len()
    }

    /// The peers of every node, in the order of nodes: those with a weight above 0.
    pub fn peers(&self) -> &[Vec<usize>] {
        &self.peers
    }

    /// The weight with which node `i` takes what `j` says; 0 where they are no peers, or no nodes.
    pub fn weight(&self, i: usize, j: usize) -> f64 {
        let row = self.rows.get(i).map_or(&[][..], Vec::as_slice);
        row.binary_search_by_key(&j, |(node, _)| *node).map_or(0.0, |place| row[place].1)
    }

    /// The nodes that `node` listens to, itself among them, in their order, with their weights.
    pub(in crate::distributed) fn row(&self, node: usize) -> &[(usize, f64)] {
        &self.rows[node]
    }

    /// `p = 1 - lambda_2^2`, lambda_2 the second largest absolute eigenvalue: mixing once brings the squared distance of all nodes from
    /// their average down to (1 - p) of what it was, or less. 1 where everybody hears everybody; off by some n 2^-52 at most.
    pub fn spectral_gap(&self) -> f64 {
        self.gap
    }
}

/// The weights of the others, in their order, and among them what is left of 1 for the node itself.
fn with_itself(node: usize, mut others: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    let left = 1.0 - others.iter().map(|(_, weight)| weight).sum::<f64>();
    let place = others.partition_point(|(other, _)| *other < node);
    others.insert(place, (node, left.max(0.0)));
    others
}

/// How many nodes there is a way to from node 0, itself among them.
pub(super) fn reached(peers: &[Vec<usize>]) -> usize {
    let (mut seen, mut next, mut count) = (vec![false; peers.len()], vec![0], 0);
    seen[0] = true;
    while let Some(node) = next.pop() {
        count += 1;
        for peer in &peers[node] {
            if !std::mem::replace(&mut seen[*peer], true) {
                next.push(*peer);
            }
        }
    }
    count
}

/// The average of all nodes is the direction of the eigenvalue 1; without it, the largest that is left is lambda_2.
fn gap(rows: &[Vec<(usize, f64)>]) -> f64 {
    let n = rows.len();
    let mut matrix = vec![-1.0 / n as f64; n * n];
    for (i, row) in rows.iter().enumerate() {
        row.iter().for_each(|(j, weight)| matrix[i * n + j] += weight);
    }
    let second = spectrum::radius(matrix, n).min(1.0);
    (1.0 - second) * (1.0 + second)
}
