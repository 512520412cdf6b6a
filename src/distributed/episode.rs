//! EPISODE (Crawshaw, Bao and Liu 2023, arXiv 2302.07155): local clipping for nodes that disagree.
//!
//! Every round starts with a gradient of all nodes together. It decides for everybody whether the round's steps are
//! clipped, and it corrects every local step, so that nodes go where all would go and not each to its own optimum.

use super::algorithm::{State, next_round};
use super::step::{ClippedStep, local_steps};
use super::vector::{add, difference, norm, scaled};
use super::wire::Width;
use super::{Algorithm, Nodes, Transport, oracle};
use crate::Result;
use dp_accountant::Event;

/// EPISODE.
///
/// ```text
/// every node i:           G_i = g_i(x), from records of its own drawing;  G = mean G_j
/// everybody:              clipped, if |G| > gamma / eta
/// every node i, I times:  d = g_i(x_i) - G_i + G;  x_i -= gamma d / |d| if clipped, otherwise eta d
/// everybody:              x_i = mean x_j
/// ```
///
/// A round asks every node for I + 1 gradients, and sends two vectors: an accountant that counts I forgets one.
/// Clipping the mean of a minibatch gives no privacy: that has to be in what oracles answer.
#[derive(Debug)]
pub struct Episode {
    step: ClippedStep,
    local_steps: u32,
    width: Width,
    round: u32,
    nodes: usize,
    point: Vec<f64>,
}

impl Episode {
    /// At `point`, with `nodes` nodes in this process and `local` steps in a round, I.
    ///
    /// # Errors
    /// When there are no local steps.
    pub fn new(point: Vec<f64>, nodes: usize, step: ClippedStep, local: u32, width: Width) -> Result<Self> {
        Ok(Self { step, local_steps: local_steps(local)?, width, round: 0, nodes, point })
    }
}

impl Algorithm for Episode {
    fn name(&self) -> &'static str {
        "episode"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (step, local_steps, start) = (self.step, self.local_steps, &self.point);
        let round = next_round(self.round)?;
        let share = 1.0 / transport.nodes() as f64;
        let resampled =
            nodes.each(&mut vec![(); self.nodes], |_, (), oracle| oracle::finite_gradient(oracle, start))?;
        let mean = scaled(share, &transport.all_reduce_sum(&resampled, self.width)?);
        let clipped = step.clips(norm(&mean));
        let mut states: Vec<(Vec<f64>, Vec<f64>)> =
            resampled.into_iter().map(|resampled| (start.clone(), resampled)).collect();
        nodes.each(&mut states, |_, (point, resampled), oracle| {
            for _ in 0..local_steps {
                let mut along = difference(&oracle::finite_gradient(oracle, point)?, resampled);
                add(&mut along, 1.0, &mean);
                step.take_as(clipped, point, &along);
            }
            Ok(())
        })?;
        let ends: Vec<Vec<f64>> = states.into_iter().map(|(point, _)| point).collect();
        let sum = transport.all_reduce_sum(&ends, self.width)?;
        (self.point, self.round) = (scaled(share, &sum), round);
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
