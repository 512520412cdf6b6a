//! D-SGD (Koloskova, Loizou, Boreiri, Jaggi and Stich 2020, arXiv 2003.10422, algorithm 1): local steps, and averages with one's peers.
//!
//! Where nodes disagree, a constant step leaves an error that mixing never removes: it grows with the disagreement and with the
//! number of local steps. On a complete graph it is local SGD, also known as federated averaging.

use super::algorithm::{State, next_round};
use super::gossip::Gossip;
use super::local_steps::LocalSteps;
use super::{Algorithm, Nodes, Transport};
use crate::Result;
use dp_accountant::Event;

/// One vector to every peer in a round.
///
/// ```text
/// every node i:  y = x_i;  K times: y -= step g_i(y);  x_i = sum_j w_ij y_j
/// ```
#[derive(Debug)]
pub struct Dsgd {
    steps: LocalSteps,
    gossip: Gossip,
    rounds: u32,
    points: Vec<Vec<f64>>,
}

impl Dsgd {
    /// All nodes at `point`, `nodes` of them in this process, `local_steps` of size `step` in a round.
    ///
    /// # Errors
    /// When the step is not a positive number, or there are no local steps.
    pub fn new(point: Vec<f64>, nodes: usize, step: f64, local_steps: u32, gossip: Gossip) -> Result<Self> {
        Ok(Self { steps: LocalSteps::new(step, local_steps)?, gossip, rounds: 0, points: vec![point; nodes] })
    }
}

impl Algorithm for Dsgd {
    fn name(&self) -> &'static str {
        "dsgd"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (next, steps) = (next_round(self.rounds)?, self.steps);
        let stepped = nodes.each(&mut self.points, |_, point, oracle| {
            steps.take(point, |y| super::oracle::finite_gradient(oracle, y)).map(|(end, _)| [end])
        })?;
        self.points = self.gossip.mix(&stepped, transport)?.into_iter().map(|[point]| point).collect();
        self.rounds = next;
        Ok(Event::nothing())
    }

    fn points(&self) -> Vec<&[f64]> {
        self.points.iter().map(Vec::as_slice).collect()
    }

    fn is_apart(&self) -> bool {
        true
    }

    fn state(&self) -> State {
        State::of(self.name(), self.rounds).with("point", self.points())
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        self.points = state.take("point", self.points.len(), self.points.first().map_or(0, Vec::len))?;
        self.rounds = state.rounds;
        Ok(())
    }
}
