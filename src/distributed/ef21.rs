//! EF21 (Richtarik, Sokolov and Fatkhullin 2021, arXiv 2106.05203): error feedback by compressed differences.
//!
//! Every node compresses the difference between its gradient and what the server knows of it. Where gradients settle, the server
//! comes to know them: compression biases nothing in the end, however much nodes disagree.

use super::algorithm::{self, State};
use super::memory::{Memory, Visibility};
use super::uplink::{Sent, Uplink};
use super::vector::{add, scaled};
use super::{Algorithm, Nodes, Oracle, Transport};
use crate::{Error, Result};
use dp_accountant::Event;

/// EF21, for contractive compressors; [`Contractive`](super::compress::Contractive) makes one of any other.
///
/// ```text
/// server:        x -= step g
/// every node i:  c_i = C(grad f_i(x) - g_i);  g_i += c_i;  send c_i
/// server:        g += mean c_i
/// ```
///
/// A round is an exchange at x and then a step, so the last step uses the last message; the first exchange is the start, which
/// makes the first g. With clipping in the compressor's place it is [`Clip21`](super::Clip21): started compressed the same
/// points, started at 0 a round later.
#[derive(Debug)]
pub struct Ef21 {
    step: f64,
    start: FirstMemory,
    uplink: Uplink,
    memories: Vec<Memory>,
    /// What the server knows of the mean gradient: g.
    estimate: Vec<f64>,
    point: Vec<f64>,
}

/// What the server knows of a node's gradient before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstMemory {
    /// Nothing: `g_i = 0`. The first round sends nothing and moves nothing.
    Zero,
    /// `g_i = C(grad f_i(x))`.
    #[default]
    Compressed,
    /// `g_i = grad f_i(x)`, sent whole.
    Full,
}

impl Ef21 {
    /// At `point`, with `nodes` nodes in this process.
    ///
    /// # Errors
    /// When the step size is not finite, or negative, the compressor is no contraction before it is scaled, or whole gradients
    /// would be sent where the uplink adds noise to what nodes send.
    pub fn new(point: Vec<f64>, nodes: usize, step: f64, start: FirstMemory, uplink: Uplink) -> Result<Self> {
        algorithm::contraction(uplink.compress(), point.len())?;
        if start == FirstMemory::Full && uplink.noise().is_some() {
            return Err(Error::value(
                "start of EF21",
                "full",
                "zero or compressed under noise: a whole gradient has none",
            ));
        }
        let (memories, estimate) = (vec![Memory::new(point.len()); nodes], vec![0.0; point.len()]);
        Ok(Self { step: super::step::step_size(step)?, start, uplink, memories, estimate, point })
    }

    /// What the server knows of each hosted node's gradient.
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }

    /// `theta = 1 - sqrt(1 - 1/delta)` for a compressor in B3(delta): by how much memory approaches a gradient that stays.
    ///
    /// # Errors
    /// When delta is not finite, or below 1.
    pub fn theta(delta: f64) -> Result<f64> {
        if !(delta >= 1.0 && delta.is_finite()) {
            return Err(Error::value("delta of a compressor", delta, "finite, at least 1"));
        }
        // alpha / (1 + sqrt(1 - alpha)) is the same without a difference of nearly equal numbers.
        let alpha = 1.0 / delta;
        Ok(alpha / (1.0 + (1.0 - alpha).sqrt()))
    }

    /// `beta = (1 - 1/delta) / (1 - sqrt(1 - 1/delta))`: by how much a gradient that moves is lost.
    ///
    /// # Errors
    /// As [`Ef21::theta`].
    pub fn beta(delta: f64) -> Result<f64> {
        Ok((1.0 - 1.0 / delta) / Self::theta(delta)?)
    }

    /// The step size `1 / (L + L~ sqrt(beta/theta))` for nonconvex objectives: `smoothness` L of their mean, and `of_nodes`
    /// L~, the root of the mean square of the nodes' own.
    ///
    /// # Errors
    /// As [`Ef21::theta`], and when L or L~ is not finite and positive.
    pub fn step_nonconvex(delta: f64, smoothness: f64, of_nodes: f64) -> Result<f64> {
        Self::step_with(1.0, delta, smoothness, of_nodes)
    }

    /// The step size `min(1 / (L + L~ sqrt(2 beta/theta)), theta / (2 mu))` where the mean f of the objectives has
    /// `|grad f(x)|^2 >= 2 mu (f(x) - f*)`.
    ///
    /// # Errors
    /// As [`Ef21::step_nonconvex`], and when mu is not finite and positive.
    pub fn step_pl(delta: f64, smoothness: f64, of_nodes: f64, mu: f64) -> Result<f64> {
        let settled = Self::theta(delta)? / (2.0 * algorithm::constant("mu", mu)?);
        Ok(Self::step_with(2.0, delta, smoothness, of_nodes)?.min(settled))
    }

    fn step_with(factor: f64, delta: f64, smoothness: f64, of_nodes: f64) -> Result<f64> {
        let smoothness = algorithm::constant("smoothness", smoothness)?;
        let of_nodes = algorithm::constant("smoothness of the nodes", of_nodes)?;
        Ok(1.0 / (smoothness + of_nodes * (factor * Self::beta(delta)? / Self::theta(delta)?).sqrt()))
    }

    /// Everybody's C(grad f_i(x) - g_i).
    fn differences(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<(Vec<f64>, Event)> {
        let (point, uplink) = (&self.point, &self.uplink);
        let send = |node: usize, memory: &mut Memory, oracle: &mut dyn Oracle| -> Result<Option<Sent>> {
            memory.send(node, &uplink.answer(oracle, point)?, 1.0, uplink, Visibility::Hidden).map(Some)
        };
        let sent = nodes.each(&mut self.memories, send)?;
        self.uplink.mean(&sent, self.point.len(), transport)
    }

    /// Everybody's whole gradient: one round of the uplink, past its compressor.
    fn whole(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Vec<f64>> {
        let (width, point) = (self.uplink.width(), &self.point);
        let gradients = nodes.each(&mut self.memories, |_, memory, oracle| {
            let arriving: Vec<f64> =
                super::oracle::finite_gradient(oracle, point)?.into_iter().map(|g| width.rounded(g)).collect();
            *memory = Memory::of(arriving.clone());
            Ok(arriving)
        })?;
        let sum = transport.all_reduce_sum(&gradients, width)?;
        self.uplink.resume(1);
        Ok(scaled(1.0 / transport.nodes() as f64, &sum))
    }
}

impl Algorithm for Ef21 {
    fn name(&self) -> &'static str {
        "ef21"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (learnt, event) = match self.start {
            FirstMemory::Zero if self.uplink.round() == 0 => {
                self.uplink.resume(1);
                return Ok(Event::nothing());
            }
            FirstMemory::Full if self.uplink.round() == 0 => (self.whole(nodes, transport)?, Event::nothing()),
            _ => self.differences(nodes, transport)?,
        };
        add(&mut self.estimate, 1.0, &learnt);
        add(&mut self.point, -self.step, &self.estimate);
        Ok(event)
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
