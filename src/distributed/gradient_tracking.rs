//! Gradient tracking (Di Lorenzo and Scutari 2016, arXiv 1602.00391; Nedic, Olshevsky and Shi 2017, arXiv 1607.03218): every node
//! follows the mean gradient, by its own gradient's changes and its peers' trackers.
//!
//! In the form that adapts, then combines: points and trackers are both mixed after the step. With K steps in a round it is
//! Periodical GT, the baseline of K-GT (Liu, Lin, Koloskova and Stich 2024, arXiv 2301.01313): exact as well, but the noise of
//! single gradients stays in the trackers, and it needs smaller steps.

use super::algorithm::{State, next_round};
use super::gossip::Gossip;
use super::local_steps::LocalSteps;
use super::start::{Start, gradients};
use super::vector::{add, difference};
use super::{Algorithm, Nodes, Oracle, Transport};
use crate::Result;
use dp_accountant::Event;

/// Two vectors to every peer in a round.
///
/// ```text
/// start:         y_i = mean g_j(x_0), or g_i(x_0)
/// every node i:  K - 1 times: x_i -= step y_i;  y_i += g_i(x_i) - g_i(x_i before)
///                x_i = sum_j w_ij (x_j - step y_j)
///                y_i = sum_j w_ij y_j + g_i(x_i) - g_i(x_i before)
/// ```
///
/// The mean of the trackers is the mean of the last gradients at any width of the wire.
#[derive(Debug)]
pub struct GradientTracking {
    steps: LocalSteps,
    start: Start,
    gossip: Gossip,
    rounds: u32,
    places: Vec<Tracking>,
}

/// Where a node is, what it takes for the mean gradient, and its own gradient there.
#[derive(Debug, Clone)]
struct Tracking {
    point: Vec<f64>,
    tracker: Vec<f64>,
    gradient: Vec<f64>,
}

impl Tracking {
    /// Follows the own gradient to where the node is now.
    fn follow(&mut self, oracle: &mut dyn Oracle) -> Result<()> {
        let gradient = super::oracle::finite_gradient(oracle, &self.point)?;
        add(&mut self.tracker, 1.0, &difference(&gradient, &self.gradient));
        self.gradient = gradient;
        Ok(())
    }
}

impl GradientTracking {
    /// All nodes at `point`, `nodes` of them in this process, `local_steps` of size `step` in a round. Every node is asked for one
    /// gradient before the first.
    ///
    /// # Errors
    /// When the step is not a positive number, or there are no local steps.
    pub fn new(
        point: Vec<f64>,
        nodes: usize,
        step: f64,
        local_steps: u32,
        start: Start,
        gossip: Gossip,
    ) -> Result<Self> {
        let steps = LocalSteps::new(step, local_steps)?;
        let (tracker, gradient) = (vec![0.0; point.len()], vec![0.0; point.len()]);
        let place = Tracking { point, tracker, gradient };
        Ok(Self { steps, start, gossip, rounds: 0, places: vec![place; nodes] })
    }

    /// Gradients and trackers before the first round.
    fn begin(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<()> {
        let Some(place) = self.places.first() else { return Ok(()) };
        let (own, mean) = match self.start {
            Start::Mean => gradients(nodes, transport, &place.point).map(|(own, mean)| (own, Some(mean)))?,
            Start::Own => (nodes.gradients(&place.point)?, None),
        };
        for (place, own) in self.places.iter_mut().zip(own) {
            place.tracker = mean.clone().unwrap_or_else(|| own.clone());
            place.gradient = own;
        }
        Ok(())
    }
}

impl Algorithm for GradientTracking {
    fn name(&self) -> &'static str {
        "gradient-tracking"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (next, steps) = (next_round(self.rounds)?, self.steps);
        if self.rounds == 0 {
            self.begin(nodes, transport)?;
        }
        let said = nodes.each(&mut self.places, |_, place, oracle| {
            for _ in 1..steps.count() {
                add(&mut place.point, -steps.size(), &place.tracker);
                place.follow(oracle)?;
            }
            let mut moved = place.point.clone();
            add(&mut moved, -steps.size(), &place.tracker);
            Ok([moved, place.tracker.clone()])
        })?;
        let mixed = self.gossip.mix(&said, transport)?;
        for (place, [point, tracker]) in self.places.iter_mut().zip(mixed) {
            // What the wire has rounded off stays with the node, so that the trackers keep their sum.
            place.tracker = difference(&place.tracker, &self.gossip.rounded(&place.tracker));
            add(&mut place.tracker, 1.0, &tracker);
            place.point = point;
        }
        nodes.each(&mut self.places, |_, place, oracle| place.follow(oracle))?;
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
        State::of(self.name(), self.rounds)
            .with("point", self.points())
            .with("tracker", self.places.iter().map(|place| place.tracker.as_slice()))
            .with("gradient", self.places.iter().map(|place| place.gradient.as_slice()))
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let (count, dim) = (self.places.len(), self.places.first().map_or(0, |place| place.point.len()));
        let points = state.take("point", count, dim)?;
        let trackers = state.take("tracker", count, dim)?;
        let gradients = state.take("gradient", count, dim)?;
        let places = points.into_iter().zip(trackers).zip(gradients);
        self.places = places.map(|((point, tracker), gradient)| Tracking { point, tracker, gradient }).collect();
        self.rounds = state.rounds;
        Ok(())
    }
}
