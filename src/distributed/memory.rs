//! What the server knows of a node's vector, moved by compressed differences.
//!
//! The worker of EF21 (Richtarik, Sokolov and Fatkhullin 2021). With clipping in the compressor's place it is that of Clip21
//! (Khirirat, Gorbunov, Horvath, Islamov, Karray and Richtarik 2023).

use super::uplink::{Sent, Uplink};
use super::vector::{add, difference};
use crate::Result;

/// What a memory adds when messages carry noise.
///
/// A choice without a right answer: hidden noise is a random walk at the server, its error after K rounds is
/// `s sqrt(d K / n)`; public noise is pulled back by at most the radius t in a round and settles near `d s^2 / 2t`,
/// which is less only after `d (s/t)^2 / 4` rounds. Here s is the noise's standard deviation and d the dimension
/// (`docs/clip21.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// The message without its noise. The memory holds what must not leave the node, and a record's influence
    /// outlives its batch.
    Hidden,
    /// The message as it arrives, noise and all: the memory is a function of what has been sent. Only where nodes add
    /// their own noise.
    Public,
}

/// The part of a node's vector that has been sent, which node and server both have. It starts at 0: a start computed
/// from data would be a release of its own. A hidden memory ([`Visibility`]) never leaves the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    known: Vec<f64>,
}

impl Memory {
    /// Nothing is known yet of a vector of `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Self { known: vec![0.0; dim] }
    }

    /// Of a vector that the server knows already.
    pub fn of(known: Vec<f64>) -> Self {
        Self { known }
    }

    /// What is known.
    pub fn known(&self) -> &[f64] {
        &self.known
    }

    /// Sends `c = C(vector - known)` as `node`, and adds `rate c`, without or with the noise that the node has added to
    /// it. Where there is none, that is exactly what the server adds.
    ///
    /// # Errors
    /// When the compressor cannot read its own message.
    pub fn send(
        &mut self,
        node: usize,
        vector: &[f64],
        rate: f64,
        uplink: &Uplink,
        visibility: Visibility,
    ) -> Result<Sent> {
        let sent = uplink.sent(node, &difference(vector, &self.known))?;
        let added = match visibility {
            Visibility::Hidden => sent.vector(),
            Visibility::Public => sent.arriving(),
        };
        add(&mut self.known, rate, added);
        Ok(sent)
    }
}
