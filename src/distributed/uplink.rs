//! The way from the nodes' vectors to their mean, which everybody gets.

use super::compress::{Compress, Normalised, Radius};
use super::oracle::{self, Oracle};
use super::transport::Transport;
use super::vector::{add, scaled};
use super::wire::{Message, Width};
use crate::Result;
use crate::clip::{ClipNorm, ClippedSum};
use crate::noise::{Gaussian, Mechanism};
use crate::seed::{Key, Role};
use dp_accountant::{Event, NoiseMultiplier};

/// A compressor on the wire: nodes send, and everybody gets the mean of what they said.
pub struct Uplink {
    compress: Box<dyn Compress>,
    width: Width,
    key: Key,
    noise: Option<NodeNoise>,
    round: u32,
}

/// Noise on what nodes send, against whoever should not learn whether a node took part, or with which data.
///
/// One message of norm at most t, the radius, is a Gaussian release of sensitivity t under add-remove and zero-out neighbours (a node
/// that is absent sends noise alone) and 2t under replacement, whatever the node's data are: one record of it counts as much as all.
/// Dividing by its records would be wrong (`docs/clip21.md`).
///
/// Whoever knows the key of the [`Uplink`] knows the noise: whose key it must be, [`Trust`] says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeNoise {
    /// The radius t.
    pub radius: ClipNorm,
    /// Standard deviation over t.
    pub noise_multiplier: NoiseMultiplier,
    /// Who adds it.
    pub trust: Trust,
}

/// Whom nodes trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Nobody: every node adds noise to its own message, from a key of its own. So every process must bring a secret
    /// key of its own: of the nodes of processes with one key, each could subtract the noise of all others.
    Local,
    /// Whoever adds up: noise is drawn once for the sum, and nobody else sees a single message. Every process draws it,
    /// so all need the same secret key, and all are trusted.
    Central,
}

/// What a node has sent.
#[derive(Debug, Clone)]
pub struct Sent {
    message: Message,
    vector: Vec<f64>,
    arriving: Vec<f64>,
}

impl Sent {
    /// C(x) without noise. It must not leave the node.
    pub fn vector(&self) -> &[f64] {
        &self.vector
    }

    /// What everybody who reads the message counts on: C(x), with the noise that the node has added.
    pub fn arriving(&self) -> &[f64] {
        &self.arriving
    }
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut uplink = f.debug_struct("Uplink");
        uplink.field("compress", &self.compress.name()).field("noise", &self.noise).field("round", &self.round);
        uplink.finish_non_exhaustive()
    }
}

impl Uplink {
    /// Messages made by `compress`, numbers of `width`, without noise. Node i draws its random choices of a round from the key of its own
    /// that follows from `key`.
    pub fn new(compress: Box<dyn Compress>, width: Width, key: Key) -> Self {
        Self { compress, width, key, noise: None, round: 0 }
    }

    /// Messages clipped to the radius of `noise`, and noise on them or on their sum. Noise follows from `key`: under
    /// [`Trust::Local`] it must be a secret of this process alone, under [`Trust::Central`] one of all processes.
    pub fn private(noise: NodeNoise, width: Width, key: Key) -> Self {
        Self { noise: Some(noise), ..Self::new(Box::new(Radius::new(noise.radius)), width, key) }
    }

    /// Messages `e / (alpha + |e|)`, none longer than 1, and noise on them or on their sum: the radius of the noise is 1.
    /// The key is as for [`Uplink::private`].
    pub fn private_normalised(
        normalised: Normalised,
        (noise_multiplier, trust): (NoiseMultiplier, Trust),
        width: Width,
        key: Key,
    ) -> Self {
        let noise = NodeNoise { radius: ClipNorm::ONE, noise_multiplier, trust };
        Self { noise: Some(noise), ..Self::new(Box::new(normalised), width, key) }
    }

    /// The noise, where there is some.
    pub fn noise(&self) -> Option<NodeNoise> {
        self.noise
    }

    /// The next answer of a node's oracle at `point`.
    ///
    /// Without noise, one that is not finite is an error. Under noise it is passed on to the compressor, which makes 0 of it: a
    /// run that ends would say something about the node's data.
    ///
    /// # Errors
    /// That of the oracle, and when the answer is not as long as the point.
    pub fn answer(&self, oracle: &mut dyn Oracle, point: &[f64]) -> Result<Vec<f64>> {
        if self.noise.is_some() { oracle::gradient(oracle, point) } else { oracle::finite_gradient(oracle, point) }
    }

    /// The compressor.
    pub fn compress(&self) -> &dyn Compress {
        self.compress.as_ref()
    }

    /// How numbers are written.
    pub fn width(&self) -> Width {
        self.width
    }

    /// What `node` sends in the place of `xs` in this round.
    ///
    /// # Errors
    /// When the compressor cannot read its own message, or noise cannot be scaled to it.
    pub fn sent(&self, node: usize, xs: &[f64]) -> Result<Sent> {
        let key = self.key.derived(&format!("node {node}"));
        let mut rng = key.stream(Role::Compression, self.round);
        let message: Message = self.compress.encode(xs, self.width, &mut rng).into();
        let vector = self.compress.decode(&message, xs.len(), self.width)?;
        let Some(noise) = self.noise.filter(|noise| noise.trust == Trust::Local) else {
            return Ok(Sent { message, arriving: vector.clone(), vector });
        };
        let (noisy, _) = noise.release(vector.clone(), 1, key, self.round)?;
        let message = self.width.message(&noisy);
        let arriving = self.width.read(&message, xs.len())?;
        Ok(Sent { message, vector, arriving })
    }

    /// The mean over all nodes of what they have sent in this round, rounded to the width, at everybody, and what it cost; a node that
    /// sent nothing counts as 0. The round ends.
    ///
    /// Where messages are whole vectors they are reduced; otherwise node 0 reads them and hands out the sum. Both add up in the order of
    /// nodes.
    ///
    /// # Errors
    /// As the transport, and when a message cannot be read.
    pub fn mean(
        &mut self,
        sent: &[Option<Sent>],
        dim: usize,
        transport: &mut dyn Transport,
    ) -> Result<(Vec<f64>, Event)> {
        let (round, nodes) = (self.round, transport.nodes());
        self.round = super::algorithm::next_round(round)?;
        let sum = self.sum(sent, dim, transport)?;
        match self.noise {
            Some(noise) if noise.trust == Trust::Central => noise.release(sum, nodes, self.key.clone(), round),
            Some(noise) => Ok((scaled(1.0 / nodes as f64, &sum), Event::gaussian(noise.noise_multiplier))),
            None => Ok((scaled(1.0 / nodes as f64, &sum), Event::nothing())),
        }
    }

    fn sum(&self, sent: &[Option<Sent>], dim: usize, transport: &mut dyn Transport) -> Result<Vec<f64>> {
        if self.compress.is_dense() {
            let arriving =
                |sent: &Option<Sent>| sent.as_ref().map_or_else(|| vec![0.0; dim], |sent| sent.arriving.clone());
            // A sum that gets its noise afterwards is not rounded before: neighbours would differ by more than the radius.
            let central = self.noise.is_some_and(|noise| noise.trust == Trust::Central);
            let width = if central { Width::F64 } else { self.width };
            return transport.all_reduce_sum(&sent.iter().map(arriving).collect::<Vec<_>>(), width);
        }
        let message =
            |sent: &Option<Sent>| sent.as_ref().map_or_else(|| Message::from([]), |sent| Message::clone(&sent.message));
        let collected = transport.collect(sent.iter().map(message).collect())?;
        let sum = collected.map(|messages| self.read(&messages, dim)).transpose()?;
        let handed = transport.broadcast(sum.map(|sum| self.width.message(&sum)))?;
        self.width.read(&handed, dim)
    }

    fn read(&self, messages: &[Message], dim: usize) -> Result<Vec<f64>> {
        let mut sum = vec![0.0; dim];
        for message in messages.iter().filter(|message| !message.is_empty()) {
            add(&mut sum, 1.0, &self.compress.decode(message, dim, self.width)?);
        }
        Ok(sum)
    }

    /// The round to come.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Puts the uplink back to where so many rounds had ended.
    pub fn resume(&mut self, rounds: u32) {
        self.round = rounds;
    }
}

impl NodeNoise {
    /// `(sum + N(0, (z t)^2)) / nodes`, through the doors that every release goes through, of vectors no longer than t each.
    fn release(self, sum: Vec<f64>, nodes: usize, key: Key, round: u32) -> Result<(Vec<f64>, Event)> {
        let sum = ClippedSum::of_nodes(sum, self.radius, nodes)?;
        let (release, event) = Gaussian::new(self.noise_multiplier, nodes as f64, key, round)?.release(sum)?;
        let mean: Vec<Vec<f64>> =
            release.into_gradient().iter().map(|part| part.to_vec1()).collect::<candle_core::Result<_>>()?;
        Ok((mean.concat(), event))
    }
}
