//! alpha-NormEC (Shulgin, Khirirat and Richtarik 2025, arXiv 2502.13482): error feedback for smoothed normalisation.
//!
//! Clip21 with `e / (alpha + |e|)` in the place of the clip. No message is longer than 1 at any time, so there is no
//! threshold to choose, and no moment at which normalisation stops either: memories stay as far from the gradients as
//! they were at the start.

use super::algorithm::State;
use super::memory::{Memory, Visibility};
use super::step::step_size;
use super::uplink::Uplink;
use super::vector::{add, direction};
use super::{Algorithm, Nodes, Transport};
use crate::{Error, Result};
use dp_accountant::Event;

/// alpha-NormEC; alpha is that of the [`super::Normalised`] in the uplink.
///
/// ```text
/// every node i:  u_i = Norm(grad f_i(x) - g_i);  g_i += rate u_i;  send u_i, with noise if there is some
/// server:        v += rate mean;  x -= step v, or step v / |v|
/// ```
///
/// Memories start at 0 and are hidden: g_i adds u_i without its noise. Starting them near the gradients, as the
/// paper's rate asks, would be a release of its own. With R the largest distance of a gradient from its memory at the
/// start, normalised steps of at most `rate R / ((alpha + R) L_max)` and a rate of at most `max(alpha, R / 2)` the
/// distance never exceeds R, and the least slope after K rounds is below
/// `(f(x_0) - inf f) / (step K) + 2 R + L step / 2`: it stays.
#[derive(Debug)]
pub struct NormEc {
    step: f64,
    rate: f64,
    normalises: bool,
    uplink: Uplink,
    memories: Vec<Memory>,
    /// v.
    estimate: Vec<f64>,
    point: Vec<f64>,
}

impl NormEc {
    /// At `point`, with `nodes` nodes in this process, every memory at 0, and `rate`, how far a memory moves in a
    /// round.
    ///
    /// # Errors
    /// When the step size is negative or not finite, or the rate is not above 0 and finite.
    pub fn new(point: Vec<f64>, nodes: usize, step: f64, rate: f64, uplink: Uplink) -> Result<Self> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(Error::value("rate of the memories", rate, "a finite number above 0"));
        }
        let (memories, estimate) = (vec![Memory::new(point.len()); nodes], vec![0.0; point.len()]);
        Ok(Self { step: step_size(step)?, rate, normalises: false, uplink, memories, estimate, point })
    }

    /// With steps of one length: along `v / |v|`.
    #[must_use]
    pub fn normalised(self) -> Self {
        Self { normalises: true, ..self }
    }

    /// g_i of each hosted node. They must not leave the nodes.
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }
}

impl Algorithm for NormEc {
    fn name(&self) -> &'static str {
        "norm-ec"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        let (point, uplink, rate) = (&self.point, &self.uplink, self.rate);
        let sent = nodes.each(&mut self.memories, |node, memory, oracle| {
            let gradient = uplink.answer(oracle, point)?;
            memory.send(node, &gradient, rate, uplink, Visibility::Hidden).map(Some)
        })?;
        let (mean, event) = self.uplink.mean(&sent, self.point.len(), transport)?;
        add(&mut self.estimate, self.rate, &mean);
        if self.normalises {
            add(&mut self.point, -self.step, &direction(&self.estimate));
        } else {
            add(&mut self.point, -self.step, &self.estimate);
        }
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
