//! The contract of the algorithms.

use super::{Compress, Nodes, Transport};
use crate::{Error, Result};
use dp_accountant::Event;
use std::collections::BTreeMap;

/// An algorithm, seen from one process: what its nodes and, if it hosts node 0, the server remember.
///
/// An algorithm asks oracles and moves vectors. Whether what oracles answer is private, is theirs; what a round has cost besides, is
/// returned by it.
pub trait Algorithm: Send {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// One round: whatever local steps belong to it, and its messages. The cost is that of noise which the algorithm adds itself:
    /// nothing, where it adds none.
    ///
    /// # Errors
    /// That of a node, or of the transport. The round is then half done: go on from a state.
    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event>;

    /// Where each hosted node stands. A server's point is the same for all: then there is one.
    fn points(&self) -> Vec<&[f64]>;

    /// Whether nodes have points of their own, and not one that is the same for all.
    fn is_apart(&self) -> bool {
        false
    }

    /// Everything that a later round depends on, beside what the oracles know. It holds what must not leave the nodes.
    fn state(&self) -> State;

    /// Goes on from a state.
    ///
    /// # Errors
    /// When the state is not one of this algorithm with these nodes.
    fn resume(&mut self, state: State) -> Result<()>;

    /// The mean of all nodes' points: what a run is judged by.
    ///
    /// # Errors
    /// That of the transport.
    fn mean_point(&self, transport: &mut dyn Transport) -> Result<Vec<f64>> {
        let points = self.points();
        if let Some(one) = points.first().filter(|_| !self.is_apart()) {
            return Ok(one.to_vec());
        }
        let points: Vec<Vec<f64>> = points.into_iter().map(<[f64]>::to_vec).collect();
        let sum = transport.all_reduce_sum(&points, super::Width::F64)?;
        Ok(super::vector::scaled(1.0 / transport.nodes() as f64, &sum))
    }
}

/// What an algorithm remembers: vectors by name, and the round to come.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// Whose it is.
    pub algorithm: String,
    /// Rounds done.
    pub rounds: u32,
    /// Vectors by name, those of several nodes one after another.
    pub vectors: BTreeMap<String, Vec<Vec<f64>>>,
}

impl State {
    /// Of the algorithm of this name, after so many rounds.
    pub fn of(algorithm: &str, rounds: u32) -> Self {
        Self { algorithm: algorithm.to_string(), rounds, vectors: BTreeMap::new() }
    }

    /// The state, if it is of the algorithm of this name.
    ///
    /// # Errors
    /// When it is of another.
    pub fn only_of(self, algorithm: &str) -> Result<Self> {
        if self.algorithm == algorithm {
            return Ok(self);
        }
        let reason = format!(
            "the state of the nodes is of {:?} and not of {algorithm}; resume with the flags of the first run",
            self.algorithm
        );
        Err(Error::Refused { reason })
    }

    /// With these vectors under a name.
    #[must_use]
    pub fn with<'a>(mut self, name: &str, vectors: impl IntoIterator<Item = &'a [f64]>) -> Self {
        self.vectors.insert(name.to_string(), vectors.into_iter().map(<[f64]>::to_vec).collect());
        self
    }

    /// Takes out the one vector of a name, if it is so long.
    ///
    /// # Errors
    /// As [`State::take`].
    pub fn one(&mut self, name: &str, dim: usize) -> Result<Vec<f64>> {
        self.take(name, 1, dim).map(|vectors| vectors.concat())
    }

    /// Takes out the vectors of a name, if they are so many and so long.
    ///
    /// # Errors
    /// When they are not there, or others.
    pub fn take(&mut self, name: &str, count: usize, dim: usize) -> Result<Vec<Vec<f64>>> {
        let found = self.vectors.remove(name).filter(|v| v.len() == count && v.iter().all(|v| v.len() == dim));
        found.ok_or_else(|| Error::Refused {
            reason: format!("the state of the nodes has no {count} vectors {name} of {dim} numbers; resume with the flags of the first run"),
        })
    }
}

/// A constant of an objective, if it is finite and positive.
pub(super) fn constant(name: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err(Error::value(name, value, "finite, above 0")) }
}

/// Whether B3 holds for a compressor as it is; one without a class is taken at its word.
pub(super) fn contraction(compress: &dyn Compress, dim: usize) -> Result<()> {
    match compress.class(dim) {
        Some(class) if class.scale != 1.0 => {
            let allowed = format!("one scaled by {}, as Contractive does", class.scale);
            Err(Error::value("compressor of a method with memory", compress.name(), allowed))
        }
        _ => Ok(()),
    }
}

/// The number of rounds after one more.
pub(super) fn next_round(rounds: u32) -> Result<u32> {
    rounds.checked_add(1).ok_or_else(|| Error::value("round", rounds, "fewer than 2^32"))
}
