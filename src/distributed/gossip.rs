//! One exchange with one's peers: everybody takes a weighted mean of what they say.

use super::wire::{Message, Width};
use super::{Mixing, Transport};
use crate::{Error, Result};
use rayon::prelude::*;

/// Mixing with a matrix, numbers of a width on the wire.
#[derive(Debug, Clone)]
pub struct Gossip {
    mixing: Mixing,
    width: Width,
}

impl Gossip {
    /// With these weights and numbers of `width`.
    pub fn new(mixing: Mixing, width: Width) -> Self {
        Self { mixing, width }
    }

    /// The weights.
    pub fn mixing(&self) -> &Mixing {
        &self.mixing
    }

    /// Numbers as peers read them.
    pub fn rounded(&self, xs: &[f64]) -> Vec<f64> {
        xs.iter().map(|x| self.width.rounded(*x)).collect()
    }

    /// `sum over j of w_ij v_j` for every hosted node i and each of its M vectors, all of one length. They go to every peer in one message.
    ///
    /// A node's own vector is rounded to the width like those that it reads, so all nodes mix the same numbers, and sums are taken in
    /// the order of nodes: the average of all nodes stays what it is, and the bits do not depend on who hosts whom.
    ///
    /// # Errors
    /// When the run has other nodes than the matrix, vectors differ in length, or as the transport.
    pub fn mix<const M: usize>(
        &self,
        vectors: &[[Vec<f64>; M]],
        transport: &mut dyn Transport,
    ) -> Result<Vec<[Vec<f64>; M]>> {
        let (nodes, hosted) = (transport.nodes(), transport.hosted());
        if nodes != self.mixing.nodes() || vectors.len() != hosted.len() {
            let found = format!("{}, with vectors of {} here", self.mixing.nodes(), vectors.len());
            return Err(Error::value("nodes that mix", found, format!("{nodes}, with {} here", hosted.len())));
        }
        let dim = vectors.iter().flatten().next().map_or(0, Vec::len);
        if let Some(other) = vectors.iter().flatten().find(|v| v.len() != dim) {
            return Err(Error::value("length of a vector", other.len(), format!("{dim}, as of another")));
        }
        let message = |vectors: &[Vec<f64>; M]| {
            let mut bytes = Vec::new();
            vectors.iter().for_each(|vector| self.width.write(vector, &mut bytes));
            Message::from(bytes)
        };
        let said: Vec<Message> = vectors.iter().map(message).collect();
        let heard = transport.exchange(self.mixing.peers(), said.clone())?;
        let all = hosted.into_par_iter().zip(said.par_iter().zip(&heard));
        all.map(|(node, (own, heard))| self.mixed(node, own, heard, dim)).collect()
    }

    fn mixed<const M: usize>(
        &self,
        node: usize,
        own: &Message,
        heard: &[Message],
        dim: usize,
    ) -> Result<[Vec<f64>; M]> {
        let mut sum = vec![0.0; M * dim];
        let mut heard = heard.iter();
        for (from, weight) in self.mixing.row(node) {
            let message = if *from == node { Some(own) } else { heard.next() };
            let message = message.ok_or_else(|| Error::value("messages of peers", "too few", "one from each"))?;
            super::vector::add(&mut sum, *weight, &self.width.read(message, M * dim)?);
        }
        Ok(std::array::from_fn(|place| sum[place * dim..(place + 1) * dim].to_vec()))
    }
}
