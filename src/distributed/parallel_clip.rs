//! Naive parallel clip (Zhang, Jin, Fang and Wang 2020, arXiv 2010.02519, run on many nodes): the mean gradient,
//! clipped once.
//!
//! What CELGC is compared with: nodes that disagree do not bias it, and it sends a vector for every step. Nobody is
//! protected: what is sent is not clipped.

use super::algorithm::{State, next_round};
use super::step::ClippedStep;
use super::vector::scaled;
use super::wire::Width;
use super::{Algorithm, Nodes, Transport, oracle};
use crate::Result;
use dp_accountant::Event;

/// Naive parallel clip.
///
/// ```text
/// every node i:  send g_i(x)
/// everybody:     x -= min(eta, gamma / |mean g|) mean g
/// ```
#[derive(Debug)]
pub struct ParallelClip {
    step: ClippedStep,
    width: Width,
    round: u32,
    point: Vec<f64>,
}

impl ParallelClip {
    /// At `point`.
    pub fn new(point: Vec<f64>, step: ClippedStep, width: Width) -> Self {
        Self { step, width, round: 0, point }
    }
}

impl Algorithm for ParallelClip {
    fn name(&self) -> &'static str {
        "parallel-clip"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let point = &self.point;
        let round = next_round(self.round)?;
        let gradients =
            nodes.each(&mut vec![(); nodes.len()], |_, (), oracle| oracle::finite_gradient(oracle, point))?;
        let sum = transport.all_reduce_sum(&gradients, self.width)?;
        self.step.take(&mut self.point, &scaled(1.0 / transport.nodes() as f64, &sum));
        self.round = round;
        Ok(Event::nothing())
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.round).with("point", [self.point.as_slice()])
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        self.point = state.one("point", self.point.len())?;
        self.round = state.rounds;
        Ok(())
    }
}
