//! All nodes in one process: the default, and the reference for every other member.

use super::super::wire::{Message, Width};
use super::{Traffic, Transport, reduced};
use crate::{Error, Result};
use rayon::prelude::*;
use std::ops::Range;

/// The transport of a process that hosts all nodes. Nothing leaves it; bytes are counted as if every node were alone.
#[derive(Debug)]
pub struct Local {
    traffic: Vec<Traffic>,
}

impl Local {
    /// For so many nodes.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(nodes: usize) -> Result<Self> {
        if nodes == 0 {
            return Err(Error::value("nodes", 0, "at least 1"));
        }
        Ok(Self { traffic: vec![Traffic::default(); nodes] })
    }

    fn moved(&mut self, node: usize, sent: u64, received: u64) {
        self.traffic[node].sent += sent;
        self.traffic[node].received += received;
    }
}

impl Transport for Local {
    fn nodes(&self) -> usize {
        self.traffic.len()
    }

    fn hosted(&self) -> Range<usize> {
        0..self.nodes()
    }

    fn all_reduce_sum(&mut self, vectors: &[Vec<f64>], width: Width) -> Result<Vec<f64>> {
        let length = super::one_each(self, vectors)?.first().map_or(0, Vec::len);
        super::same_lengths(vectors)?;
        let mut sum = vec![0.0; length];
        sum.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
            for vector in vectors {
                let terms = &vector[chunk * CHUNK..][..sum.len()];
                sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += width.rounded(*term));
            }
            sum.iter_mut().for_each(|sum| *sum = width.rounded(*sum));
        });
        for node in 0..self.nodes() {
            let (sent, received) = reduced(node, self.nodes(), length, width);
            self.moved(node, sent, received);
        }
        Ok(sum)
    }

    fn collect(&mut self, messages: Vec<Message>) -> Result<Option<Vec<Message>>> {
        super::one_each(self, &messages)?;
        for (node, message) in messages.iter().enumerate().skip(1) {
            self.moved(node, message.len() as u64, 0);
            self.moved(0, 0, message.len() as u64);
        }
        Ok(Some(messages))
    }

    fn broadcast(&mut self, message: Option<Message>) -> Result<Message> {
        let message = message.ok_or_else(|| Error::value("broadcast", "no message", "one from node 0"))?;
        for node in 1..self.nodes() {
            self.moved(0, message.len() as u64, 0);
            self.moved(node, 0, message.len() as u64);
        }
        Ok(message)
    }

    fn exchange(&mut self, peers: &[Vec<usize>], messages: Vec<Message>) -> Result<Vec<Vec<Message>>> {
        super::one_each(self, &messages)?;
        super::mutual(self.nodes(), peers)?;
        for (node, peers) in peers.iter().enumerate() {
            let received: usize = peers.iter().map(|peer| messages[*peer].len()).sum();
            self.moved(node, (peers.len() * messages[node].len()) as u64, received as u64);
        }
        Ok(peers.iter().map(|peers| peers.iter().map(|peer| Message::clone(&messages[*peer])).collect()).collect())
    }

    fn traffic(&self) -> &[Traffic] {
        &self.traffic
    }
}

/// Elements that one thread adds up at a time.
const CHUNK: usize = 4096;
