//! Clip21-SGD2M (Islamov, Horvath, Lucchi, Richtarik and Gorbunov 2025, arXiv 2502.11682): Clip21 for sampled
//! gradients and noise, with momentum at the nodes and at the server.
//!
//! What nodes clip is the difference to a *smoothed* gradient, so the noise of sampling is averaged before the clip
//! instead of being cut to its median; a small server momentum keeps the random walk of the noise small.

use super::algorithm::State;
use super::memory::{Memory, Visibility};
use super::step::{share, step_size};
use super::uplink::Uplink;
use super::vector::add;
use super::{Algorithm, Nodes, Transport};
use crate::Result;
use dp_accountant::Event;

/// Clip21-SGD2M, with client momentum beta and server momentum bhat.
///
/// ```text
/// everybody:     x -= step G
/// every node i:  v_i = (1 - beta) v_i + beta grad f_i(x);  c_i = C(v_i - g_i);  g_i += bhat c_i;
///                send c_i, with noise if there is some
/// server:        G += bhat mean
/// ```
///
/// All start at 0. The point moves first, with the G of the round before, so the first round moves nothing. Memories
/// are hidden: g_i adds c_i without its noise, and `G = mean g_i + bhat (all noise so far) / n`. Momentum and memory
/// carry a record on into rounds in which it is not sampled, for about `1 / beta` of them: sampling records amplifies
/// nothing.
#[derive(Debug)]
pub struct Sgd2m {
    step: f64,
    client: f64,
    server: f64,
    uplink: Uplink,
    workers: Vec<Worker>,
    /// G.
    estimate: Vec<f64>,
    point: Vec<f64>,
}

/// What a node remembers.
#[derive(Debug, Clone)]
struct Worker {
    /// v_i.
    momentum: Vec<f64>,
    /// g_i.
    memory: Memory,
}

impl Sgd2m {
    /// At `point`, with `nodes` nodes in this process, and beta and bhat: the share of what is new in a node's
    /// momentum, and in what the server knows.
    ///
    /// # Errors
    /// When the step size is negative or not finite, or a momentum is not above 0 and at most 1.
    pub fn new(point: Vec<f64>, nodes: usize, step: f64, (client, server): (f64, f64), uplink: Uplink) -> Result<Self> {
        let (step, client, server) =
            (step_size(step)?, share("client momentum", client)?, share("server momentum", server)?);
        let dim = point.len();
        let workers = vec![Worker { momentum: vec![0.0; dim], memory: Memory::new(dim) }; nodes];
        Ok(Self { step, client, server, uplink, workers, estimate: vec![0.0; dim], point })
    }

    /// g_i of each hosted node. They must not leave the nodes.
    pub fn memories(&self) -> impl Iterator<Item = &Memory> {
        self.workers.iter().map(|worker| &worker.memory)
    }

    /// G, the same in every process: it follows from what has been sent.
    pub fn estimate(&self) -> &[f64] {
        &self.estimate
    }
}

impl Algorithm for Sgd2m {
    fn name(&self) -> &'static str {
        "clip21-sgd2m"
    }

    fn round(&mut self, nodes: &mut Nodes<'_>, transport: &mut dyn Transport) -> Result<Event> {
        add(&mut self.point, -self.step, &self.estimate);
        let (point, uplink, client, server) = (&self.point, &self.uplink, self.client, self.server);
        let sent = nodes.each(&mut self.workers, |node, worker, oracle| {
            let gradient = uplink.answer(oracle, point)?;
            // Under noise, an answer that is not finite must not stay in the momentum for ever.
            if gradient.iter().all(|g| g.is_finite()) {
                worker.momentum.iter_mut().zip(&gradient).for_each(|(v, g)| *v = (1.0 - client) * *v + client * g);
            }
            worker.memory.send(node, &worker.momentum, server, uplink, Visibility::Hidden).map(Some)
        })?;
        let (mean, event) = self.uplink.mean(&sent, self.point.len(), transport)?;
        add(&mut self.estimate, self.server, &mean);
        Ok(event)
    }

    fn points(&self) -> Vec<&[f64]> {
        vec![&self.point]
    }

    fn state(&self) -> State {
        State::of(self.name(), self.uplink.round())
            .with("momentum", self.workers.iter().map(|worker| worker.momentum.as_slice()))
            .with("memory", self.memories().map(Memory::known))
            .with("estimate", [self.estimate.as_slice()])
            .with("point", [self.point.as_slice()])
    }

    fn resume(&mut self, state: State) -> Result<()> {
        let mut state = state.only_of(self.name())?;
        let (nodes, dim) = (self.workers.len(), self.point.len());
        let (momenta, memories) = (state.take("momentum", nodes, dim)?, state.take("memory", nodes, dim)?);
        let (estimate, point) = (state.one("estimate", dim)?, state.one("point", dim)?);
        let memories = memories.into_iter().map(Memory::of);
        self.workers =
            momenta.into_iter().zip(memories).map(|(momentum, memory)| Worker { momentum, memory }).collect();
        (self.estimate, self.point) = (estimate, point);
        self.uplink.resume(state.rounds);
        Ok(())
    }
}
