//! The nodes of a process, computing side by side.

use super::Oracle;
use crate::clip::Clipping;
use crate::{Error, Result};
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The nodes that a process hosts, in their order, each with its oracle.
///
/// They compute on rayon's threads: a thousand nodes need no thousand threads.
pub struct Nodes<'a> {
    oracles: Vec<Box<dyn Oracle + 'a>>,
    /// The number of the first.
    first: usize,
    times: Vec<Times>,
}

/// How long a node has computed, and waited for the slowest node of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Times {
    /// Time in its own oracle and for its own messages.
    pub computing: Duration,
    /// Time between its own end and that of the slowest, if every node had a processor of its own.
    pub waiting: Duration,
}

impl std::fmt::Debug for Nodes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("first", &self.first).field("count", &self.oracles.len()).finish_non_exhaustive()
    }
}

impl<'a> Nodes<'a> {
    /// Nodes with these oracles, numbered from `first` on.
    ///
    /// # Errors
    /// When there are none, or points have not the same number of numbers for all.
    pub fn new(first: usize, oracles: Vec<Box<dyn Oracle + 'a>>) -> Result<Self> {
        let Some(one) = oracles.first() else { return Err(Error::value("nodes of a process", 0, "at least 1")) };
        if let Some(other) = oracles.iter().find(|oracle| oracle.dim() != one.dim()) {
            return Err(Error::value(
                "parameters of a node",
                other.dim(),
                format!("{}, as of node {first}", one.dim()),
            ));
        }
        let times = vec![Times::default(); oracles.len()];
        Ok(Self { oracles, first, times })
    }

    /// How many numbers a point has.
    pub fn dim(&self) -> usize {
        self.oracles[0].dim()
    }

    /// How many nodes there are in this process.
    pub fn len(&self) -> usize {
        self.oracles.len()
    }

    /// Never: a process without nodes takes no part.
    pub fn is_empty(&self) -> bool {
        self.oracles.is_empty()
    }

    /// What `compute` makes of each node: its number, its own part of `states`, its oracle. Nodes compute side by side; results come in
    /// their order.
    ///
    /// # Errors
    /// That of the first node that has one. A node that panics ends the run like one that is refused, and not the process.
    pub fn each<S: Send, T: Send>(
        &mut self,
        states: &mut [S],
        compute: impl Fn(usize, &mut S, &mut dyn Oracle) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        if states.len() != self.len() {
            return Err(Error::value("states of nodes", states.len(), format!("one for each of {}", self.len())));
        }
        let first = self.first;
        let nodes = self.oracles.par_iter_mut().zip(states).enumerate();
        let computed: Vec<(Result<T>, Duration)> = nodes
            .map(|(place, (oracle, state))| {
                let (node, since) = (first + place, Instant::now());
                let result = catch_unwind(AssertUnwindSafe(|| compute(node, state, oracle.as_mut())));
                (result.unwrap_or_else(|panic| Err(died(node, panic.as_ref()))), since.elapsed())
            })
            .collect();
        let slowest = computed.iter().map(|(_, time)| *time).max().unwrap_or_default();
        for (times, (_, time)) in self.times.iter_mut().zip(&computed) {
            times.computing += *time;
            times.waiting += slowest - *time;
        }
        computed
            .into_iter()
            .enumerate()
            .map(|(place, (result, _))| result.map_err(|error| of(first + place, error)))
            .collect()
    }

    /// What each node's oracle answers at `point`: gradients `(dim)`, in the order of nodes.
    ///
    /// # Errors
    /// As [`Nodes::each`].
    pub fn gradients(&mut self, point: &[f64]) -> Result<Vec<Vec<f64>>> {
        let mut none = vec![(); self.len()];
        self.each(&mut none, |_, (), oracle| super::oracle::finite_gradient(oracle, point))
    }

    /// Each node's objective at `point`. Not private.
    ///
    /// # Errors
    /// As [`Nodes::each`].
    pub fn losses(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        let mut none = vec![(); self.len()];
        self.each(&mut none, |_, (), oracle| oracle.loss(point))
    }

    /// How many gradients each node was asked for.
    pub fn answers(&self) -> Vec<u32> {
        self.oracles.iter().map(|oracle| oracle.answers()).collect()
    }

    /// Puts the nodes back to where they had given so many answers.
    ///
    /// # Errors
    /// When there is not a number for each node.
    pub fn resume(&mut self, answers: &[u32]) -> Result<()> {
        if answers.len() != self.len() {
            return Err(Error::value("answers of nodes", answers.len(), format!("one for each of {}", self.len())));
        }
        self.oracles.iter_mut().zip(answers).for_each(|(oracle, answers)| oracle.resume(*answers));
        Ok(())
    }

    /// What was done to the examples of all hosted nodes since this was last asked for. Not private.
    pub fn take_clipping(&mut self) -> Clipping {
        let mut all = Clipping::default();
        self.oracles.iter_mut().for_each(|oracle| all += oracle.take_clipping());
        all
    }

    /// How long each node has computed and waited.
    pub fn times(&self) -> &[Times] {
        &self.times
    }
}

/// The error with the node it came from.
fn of(node: usize, error: Error) -> Error {
    match error {
        Error::Node { .. } => error,
        other => Error::Node { node, reason: other.to_string() },
    }
}

fn died(node: usize, panic: &(dyn std::any::Any + Send)) -> Error {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Node { node, reason: format!("it died: {}", said.unwrap_or("it did not say why")) }
}
