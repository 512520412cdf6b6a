//! CELGC (Liu, Zhuang, Lei and Liao 2022, arXiv 2205.05040): communication efficient local gradient clipping.
//!
//! Nodes take clipped steps of their own and average their points now and then: one vector for as many steps as one
//! likes. Nodes that disagree bias it, as they bias Clip-GD: it is meant for nodes with data of one law. With gamma =
//! infinity it is local SGD (FedAvg).

use super::algorithm::{State, next_round};
use super::step::{ClippedStep, local_steps};
use super::vector::{difference, norm, scaled};
use super::wire::Width;
use super::{Algorithm, Nodes, Transport, oracle};
use crate::Result;
use dp_accountant::Event;

/// CELGC.
///
/// ```text
/// every node i, I times:  x_i -= min(eta, gamma / |g_i(x_i)|) g_i(x_i)
/// everybody:              x_i = mean x_j
/// ```
///
/// Clipping the mean of a minibatch gives no privacy: that has to be in what oracles answer. No x_i is ever further
/// than 2 gamma I from their mean.
#[derive(Debug)]
pub struct Celgc {
    step: ClippedStep,
    local_steps: u32,
    width: Width,
    round: u32,
    /// Where the nodes stood before they averaged.
    ends: Vec<Vec<f64>>,
    point: Vec<f64>,
}

impl Celgc {
    /// At `point`, with `nodes` nodes in this process and `local` steps in a round, I.
    ///
    /// # Errors
    /// When there are no local steps.
    pub fn new(point: Vec<f64>, nodes: usize, step: ClippedStep, local: u32, width: Width) -> Result<Self> {
        let local_steps = local_steps(local)?;
        Ok(Self { step, local_steps, width, round: 0, ends: vec![point.clone(); nodes], point })
    }

    /// How far the hosted nodes had gone from the mean of all, the point, when the last round averaged them.
    pub fn drifts(&self) -> Vec<f64> {
        self.ends.iter().map(|end| norm(&difference(end, &self.point))).collect()
    }
}

impl Algorithm for Celgc {
    fn name(&self) -> &'static str {
        "celgc"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (step, local_steps, start) = (self.step, self.local_steps, &self.point);
        let round = next_round(self.round)?;
        nodes.each(&mut self.ends, |_, point, oracle| {
            point.clone_from(start);
            for _ in 0..local_steps {
                let gradient = oracle::finite_gradient(oracle, point)?;
                step.take(point, &gradient);
            }
            Ok(())
        })?;
        let sum = transport.all_reduce_sum(&self.ends, self.width)?;
        (self.point, self.round) = (scaled(1.0 / transport.nodes() as f64, &sum), round);
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
