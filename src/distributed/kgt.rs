//! K-GT (Liu, Lin, Koloskova and Stich 2024, arXiv 2301.01313): gradient tracking with K local steps.
//!
//! Every node corrects its gradients by what it has learnt of how they differ from the mean. Where nodes settle, the correction is
//! what is missing from their own gradient to the mean, so nodes that disagree bias nothing, whatever the number of local steps.
//! What is tracked is a mean over K gradients, so their noise is averaged before it is spread.

use super::algorithm::{State, next_round};
use super::gossip::Gossip;
use super::local_steps::{LocalSteps, positive};
use super::start::{Start, gradients};
use super::vector::{add, difference};
use super::{Algorithm, Nodes, Transport};
use crate::Result;
use dp_accountant::Event;

/// Two vectors to every peer in a round. K = 1 and the outer step 1 are gradient tracking, a complete graph is SCAFFOLD.
///
/// ```text
/// start:         c_i = mean g_j(x_0) - g_i(x_0), or 0
/// every node i:  y = x_i;  K times: y -= step (g_i(y) + c_i);  z_i = (x_i - y) / (K step)
///                c_i += sum_j w_ij z_j - z_i
///                x_i = sum_j w_ij (x_j - K step outer z_j)
/// ```
///
/// The corrections have the sum 0 at any width of the wire, so the mean point moves along the mean of all gradients.
#[derive(Debug)]
pub struct Kgt {
    steps: LocalSteps,
    outer: f64,
    start: Start,
    gossip: Gossip,
    rounds: u32,
    places: Vec<Corrected>,
}

/// Where a node is, and what it adds to its gradients.
#[derive(Debug, Clone)]
struct Corrected {
    point: Vec<f64>,
    correction: Vec<f64>,
}

impl Kgt {
    /// All nodes at `point`, `nodes` of them in this process, `local_steps` of size `step` in a round, and `outer` times their
    /// sum between rounds.
    ///
    /// # Errors
    /// When a step is not a positive number, or there are no local steps.
    pub fn new(
        point: Vec<f64>,
        nodes: usize,
        (step, outer): (f64, f64),
        local_steps: u32,
        start: Start,
        gossip: Gossip,
    ) -> Result<Self> {
        let (steps, outer) = (LocalSteps::new(step, local_steps)?, positive("outer step size", outer)?);
        let place = Corrected { correction: vec![0.0; point.len()], point };
        Ok(Self { steps, outer, start, gossip, rounds: 0, places: vec![place; nodes] })
    }

    /// The corrections before the first round.
    fn begin(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<()> {
        let Some(place) = self.places.first().filter(|_| self.start == Start::Mean) else { return Ok(()) };
        let (own, mean) = gradients(nodes, transport, &place.point)?;
        for (place, own) in self.places.iter_mut().zip(&own) {
            place.correction = difference(&mean, own);
        }
        Ok(())
    }
}

impl Algorithm for Kgt {
    fn name(&self) -> &'static str {
        "kgt"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (next, steps) = (next_round(self.rounds)?, self.steps);
        if self.rounds == 0 {
            self.begin(nodes, transport)?;
        }
        let (gossip, length) = (&self.gossip, steps.length() * self.outer);
        let said = nodes.each(&mut self.places, |_, place, oracle| {
            let (_, tracked) = steps.take(&place.point, |y| {
                let mut direction = super::oracle::finite_gradient(oracle, y)?;
                add(&mut direction, 1.0, &place.correction);
                Ok(direction)
            })?;
            // The node takes off what its peers read, so that the corrections keep their sum.
            let tracked = gossip.rounded(&tracked);
            let mut moved = place.point.clone();
            add(&mut moved, -length, &tracked);
            Ok([tracked, moved])
        })?;
        let mixed = self.gossip.mix(&said, transport)?;
        for ((place, [own, _]), [tracked, point]) in self.places.iter_mut().zip(said).zip(mixed) {
            add(&mut place.correction, 1.0, &difference(&tracked, &own));
            place.point = point;
        }
        self.rounds = next;
        Ok(Event::nothing())
    }

    fn points(&self) -> Vec<&[f64]> {
        self.places.iter().map(|place| place.point.as_slice()).collect()
    }

    fn is_apart(&self) -> bool {
        true
    }

    fn state(&self) -> State {
        let corrections = self.places.iter().map(|place| place.correction.as_slice());
        State::of(self.name(), self.rounds).with("point", self.points()).with("correction", corrections)
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let (count, dim) = (self.places.len(), self.places.first().map_or(0, |place| place.point.len()));
        let (points, corrections) = (state.take("point", count, dim)?, state.take("correction", count, dim)?);
        let places = points.into_iter().zip(corrections);
        self.places = places.map(|(point, correction)| Corrected { point, correction }).collect();
        self.rounds = state.rounds;
        Ok(())
    }
}
