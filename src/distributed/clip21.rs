//! Clip21 (Khirirat, Gorbunov, Horvath, Islamov, Karray and Richtarik 2023, arXiv 2305.18929): error feedback for clipping.
//!
//! Every node clips the difference between its gradient and what the server knows of it. Where gradients settle, differences
//! become short, clipping stops, and the run is gradient descent: nodes that disagree bias nothing.

use super::algorithm::State;
use super::memory::{Memory, Visibility};
use super::participation::Participation;
use super::step::step_size;
use super::uplink::{Trust, Uplink};
use super::vector::add;
use super::{Algorithm, Nodes, Transport};
use crate::{Error, Result};
use dp_accountant::Event;

/// Clip21-GD and Clip21-SGD, as the oracles answer with whole or sampled gradients; with another compressor in the
/// uplink than a clip it is EF21 (Richtarik, Sokolov and Fatkhullin 2021) started at 0. With vectors that never
/// change in the place of gradients it is Clip21-Avg, with nodes that are idle now and then Clip21-PP.
///
/// ```text
/// every node i that takes part:  c_i = C(grad f_i(x) - v_i);  v_i += c_i;  send c_i
/// server:                        v += (sum of c_i) / n;  x -= step v
/// ```
///
/// Sampled gradients bias it, at any step size: memories follow the median of what is sampled. [`super::Sgd2m`] does
/// not do that.
#[derive(Debug)]
pub struct Clip21 {
    step: f64,
    uplink: Uplink,
    visibility: Visibility,
    participation: Participation,
    memories: Vec<Memory>,
    /// What the server knows of the mean gradient.
    estimate: Vec<f64>,
    point: Vec<f64>,
}

impl Clip21 {
    /// At `point`, with `nodes` nodes in this process, every memory at 0, without noise.
    ///
    /// # Errors
    /// When the step size is negative or not finite, and when the uplink adds noise: then the memory is a choice, which
    /// [`Clip21::private`] takes.
    pub fn new(point: Vec<f64>, nodes: usize, step: f64, uplink: Uplink) -> Result<Self> {
        if uplink.noise().is_some() {
            return Err(Error::value("memory", "not chosen", "hidden or public, where messages carry noise"));
        }
        Self::private(point, nodes, step, uplink, Visibility::Hidden)
    }

    /// The same with noise in the uplink, and what memories add of it.
    ///
    /// # Errors
    /// When the step size is negative or not finite, and for public memories where nodes do not add noise themselves:
    /// a node does not know what the noise on the sum is.
    pub fn private(point: Vec<f64>, nodes: usize, step: f64, uplink: Uplink, visibility: Visibility) -> Result<Self> {
        let central = uplink.noise().is_some_and(|noise| noise.trust == Trust::Central);
        if central && visibility == Visibility::Public {
            return Err(Error::value("memory", "public", "hidden, where the noise is added to the sum"));
        }
        let (step, participation) = (step_size(step)?, Participation::everybody());
        let (memories, estimate) = (vec![Memory::new(point.len()); nodes], vec![0.0; point.len()]);
        Ok(Self { step, uplink, visibility, participation, memories, estimate, point })
    }

    /// With idle nodes, whose memories stay as they are.
    #[must_use]
    pub fn with(self, participation: Participation) -> Self {
        Self { participation, ..self }
    }

    /// What the server knows of each hosted node's gradient, but for the noise on hidden ones. They must not leave
    /// the nodes.
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }

    /// What the server knows of the mean gradient, the same in every process: it follows from what has been sent.
    pub fn estimate(&self) -> &[f64] {
        &self.estimate
    }
}

impl Algorithm for Clip21 {
    fn name(&self) -> &'static str {
        "clip21"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (point, uplink, participation, visibility) =
            (&self.point, &self.uplink, &self.participation, self.visibility);
        let sent = nodes.each(&mut self.memories, |node, memory, oracle| {
            if !participation.includes(node, uplink.round()) {
                return Ok(None);
            }
            let gradient = uplink.answer(oracle, point)?;
            memory.send(node, &gradient, 1.0, uplink, visibility).map(Some)
        })?;
        let (mean, event) = self.uplink.mean(&sent, self.point.len(), transport)?;
        add(&mut self.estimate, 1.0, &mean);
        add(&mut self.point, -self.step, &self.estimate);
        // Where nodes add noise themselves, whoever reads messages knows who sent them.
        let central = self.uplink.noise().is_some_and(|noise| noise.trust == Trust::Central);
        Ok(if central { self.participation.amplify(event) } else { event })
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.uplink.round())
            .with("memory", self.memories.iter().map(Memory::known))
            .with("estimate", [self.estimate.as_slice()])
            .with("point", [self.point.as_slice()])
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let dim = self.point.len();
        let memories = state.take("memory", self.memories.len(), dim)?.into_iter().map(Memory::of).collect();
        (self.memories, self.estimate, self.point) = (memories, state.one("estimate", dim)?, state.one("point", dim)?);
        self.uplink.resume(state.rounds);
        Ok(())
    }
}
