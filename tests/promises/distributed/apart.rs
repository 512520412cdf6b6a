//! A process for every node, as threads that share nothing: what another transport than `Local` looks like to an algorithm.

use dpsgd::Result;
use dpsgd::distributed::transport::Traffic;
use dpsgd::distributed::wire::Message;
use dpsgd::distributed::{Transport, Width};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};

/// One node's side. Every operation hands a message to everybody; bytes are not counted.
pub(crate) struct Apart {
    node: usize,
    to: Vec<Sender<Message>>,
    from: Vec<Receiver<Message>>,
    traffic: [Traffic; 1],
}

impl Apart {
    /// All sides of so many nodes.
    pub(crate) fn all(nodes: usize) -> Vec<Self> {
        let mut sides: Vec<Self> = (0..nodes)
            .map(|node| Self { node, to: Vec::new(), from: Vec::new(), traffic: [Traffic::default()] })
            .collect();
        for from in 0..nodes {
            for side in 0..nodes {
                let (sender, receiver) = channel();
                sides[from].to.push(sender);
                sides[side].from.push(receiver);
            }
        }
        sides
    }

    /// What everybody says, in the order of nodes. A node that is gone ends the run of those who listen to it.
    fn everybody(&self, message: &Message) -> Vec<Message> {
        self.to.iter().for_each(|to| drop(to.send(Message::clone(message))));
        self.from.iter().map(|from| from.recv().unwrap()).collect()
    }
}

impl Transport for Apart {
    fn nodes(&self) -> usize {
        self.to.len()
    }

    fn hosted(&self) -> Range<usize> {
        self.node..self.node + 1
    }

    fn all_reduce_sum(&mut self, vectors: &[Vec<f64>], width: Width) -> Result<Vec<f64>> {
        let [vector] = vectors else { panic!("{} vectors of one node", vectors.len()) };
        let mut sum = vec![0.0; vector.len()];
        for message in self.everybody(&width.message(vector)) {
            sum.iter_mut().zip(width.read(&message, vector.len())?).for_each(|(sum, term)| *sum += term);
        }
        Ok(sum.into_iter().map(|sum| width.rounded(sum)).collect())
    }

    fn collect(&mut self, messages: Vec<Message>) -> Result<Option<Vec<Message>>> {
        let all = self.everybody(&messages[0]);
        Ok((self.node == 0).then_some(all))
    }

    fn broadcast(&mut self, message: Option<Message>) -> Result<Message> {
        assert_eq!(message.is_some(), self.node == 0, "node 0 broadcasts, and nobody else");
        Ok(self.everybody(&message.unwrap_or_else(|| Message::from([]))).remove(0))
    }

    fn exchange(&mut self, peers: &[Vec<usize>], messages: Vec<Message>) -> Result<Vec<Vec<Message>>> {
        let all = self.everybody(&messages[0]);
        Ok(vec![peers[self.node].iter().map(|peer| Message::clone(&all[*peer])).collect()])
    }

    fn traffic(&self) -> &[Traffic] {
        &self.traffic
    }
}
