//! One node in each process, over MPI.

use super::super::wire::{Message, Width};
use super::{Traffic, Transport, mutual, one_each, reduced, share};
use crate::{Error, Result};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::request::{WaitGuard, scope};
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::{Destination, Equivalence, Source};
use std::ops::Range;
use std::time::Instant;

/// The transport of a process that was started by `mpirun`: rank r is node r.
///
/// MPI ends when the last of it is dropped, in all processes together. A process that cannot go on calls [`Mpi::abort`], as the others
/// would wait for it for ever.
pub struct Mpi {
    world: SimpleCommunicator,
    traffic: Traffic,
    /// Kept for its end.
    _universe: Universe,
}

// SAFETY: the communicator is a handle that MPI has given to the process, not to a thread. MPI was asked for calls from any thread, one at
// a time (MPI_THREAD_SERIALIZED), or `start` has failed; and there is one `Mpi` in a process, which its methods borrow mutably.
unsafe impl Send for Mpi {}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mpi").field("rank", &self.rank()).field("nodes", &self.nodes()).finish_non_exhaustive()
    }
}

impl Drop for Mpi {
    /// A process that panics would wait for the others to end, and they for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.abort(101);
        }
    }
}

/// Bytes that are moved at a time: a count in MPI is an int, and buffers of the network are small.
const CHUNK: usize = 1 << 23;

impl Mpi {
    /// Joins the processes that `mpirun` has started with this one; one node, without `mpirun`.
    ///
    /// # Errors
    /// When MPI cannot be started, was started before in this process, or cannot be called from threads.
    pub fn start() -> Result<Self> {
        let refused = |reason: &str| Error::Refused { reason: format!("MPI cannot be used: {reason}") };
        let started = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) = started.ok_or_else(|| refused("it was started before in this process"))?;
        if threading < Threading::Serialized {
            return Err(refused("its library does not allow calls from several threads in turn"));
        }
        Ok(Self { world: universe.world(), traffic: Traffic::default(), _universe: universe })
    }

    /// Ends all processes of the run with this exit code.
    pub fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }

    fn rank(&self) -> usize {
        self.world.rank().unsigned_abs() as usize
    }

    /// Sends `outgoing` messages to ranks and receives one of the given length from each of `incoming`, all at once.
    fn swap<T: Equivalence + Clone + Default>(
        &mut self,
        outgoing: &[(usize, &[T])],
        incoming: &[(usize, usize)],
    ) -> Vec<Vec<T>> {
        let (since, chunk) = (Instant::now(), CHUNK / size_of::<T>());
        let mut received: Vec<Vec<T>> = incoming.iter().map(|(_, length)| vec![T::default(); *length]).collect();
        scope(|scope| {
            let mut requests = Vec::new();
            for ((rank, _), buffer) in incoming.iter().zip(&mut received) {
                let source = self.world.process_at_rank(*rank as i32);
                for chunk in buffer.chunks_mut(chunk) {
                    requests.push(WaitGuard::from(source.immediate_receive_into(scope, chunk)));
                }
            }
            let mut sends = Vec::new();
            for (rank, message) in outgoing {
                let destination = self.world.process_at_rank(*rank as i32);
                for chunk in message.chunks(chunk) {
                    sends.push(WaitGuard::from(destination.immediate_send(scope, chunk)));
                }
            }
        });
        self.traffic.sent += outgoing.iter().map(|(_, message)| size_of_val(*message) as u64).sum::<u64>();
        self.traffic.received += received.iter().map(|message| size_of_val(message.as_slice()) as u64).sum::<u64>();
        self.traffic.waiting += since.elapsed();
        received
    }

    /// The sum of every node's numbers, in the order of nodes, as `own` has them on the wire. Numbers move as they lie in memory: nothing
    /// is written into bytes and read out of them.
    fn reduce<T: Equivalence + Copy + Default>(
        &mut self,
        own: &[T],
        (read, write): (impl Fn(T) -> f64, impl Fn(f64) -> T),
    ) -> Vec<f64> {
        let (nodes, rank, length) = (self.nodes(), self.rank(), own.len());
        let mine = share(rank, nodes, length);
        let others: Vec<usize> = self.others().collect();
        // Everybody's parts of this node's share.
        let outgoing: Vec<(usize, &[T])> = others.iter().map(|to| (*to, &own[share(*to, nodes, length)])).collect();
        let incoming: Vec<(usize, usize)> = others.iter().map(|from| (*from, mine.len())).collect();
        let parts = self.swap(&outgoing, &incoming);
        let mut parts = parts.iter().map(Vec::as_slice);
        let mut sum = vec![0.0; mine.len()];
        for node in 0..nodes {
            let part = if node == rank { &own[mine.clone()] } else { parts.next().unwrap_or_default() };
            sum.iter_mut().zip(part).for_each(|(sum, term)| *sum += read(*term));
        }
        // The sums of all shares.
        let summed: Vec<T> = sum.into_iter().map(&write).collect();
        let outgoing: Vec<(usize, &[T])> = others.iter().map(|to| (*to, summed.as_slice())).collect();
        let incoming: Vec<(usize, usize)> =
            others.iter().map(|from| (*from, share(*from, nodes, length).len())).collect();
        let shares = self.swap(&outgoing, &incoming);
        let mut shares = shares.iter().map(Vec::as_slice);
        let mut all = Vec::with_capacity(length);
        for node in 0..nodes {
            let share = if node == rank { &summed } else { shares.next().unwrap_or_default() };
            all.extend(share.iter().map(|number| read(*number)));
        }
        all
    }

    /// As [`Mpi::swap`], with messages whose lengths their receivers do not know. Lengths are no part of what is counted.
    fn swap_of_any_length(&mut self, outgoing: &[(usize, &[u8])], incoming: &[usize]) -> Vec<Vec<u8>> {
        let counted = self.traffic;
        let lengths: Vec<(usize, [u8; 8])> =
            outgoing.iter().map(|(rank, message)| (*rank, (message.len() as u64).to_le_bytes())).collect();
        let lengths: Vec<(usize, &[u8])> = lengths.iter().map(|(rank, length)| (*rank, length.as_slice())).collect();
        let eight: Vec<(usize, usize)> = incoming.iter().map(|rank| (*rank, 8)).collect();
        let lengths = self.swap(&lengths, &eight);
        (self.traffic.sent, self.traffic.received) = (counted.sent, counted.received);
        let length = |bytes: &Vec<u8>| bytes.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let incoming: Vec<(usize, usize)> =
            incoming.iter().zip(&lengths).map(|(rank, bytes)| (*rank, length(bytes))).collect();
        self.swap(outgoing, &incoming)
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let rank = self.rank();
        (0..self.nodes()).filter(move |other| *other != rank)
    }
}

impl Transport for Mpi {
    fn nodes(&self) -> usize {
        self.world.size().unsigned_abs() as usize
    }

    fn hosted(&self) -> Range<usize> {
        self.rank()..self.rank() + 1
    }

    fn all_reduce_sum(&mut self, vectors: &[Vec<f64>], width: Width) -> Result<Vec<f64>> {
        let own = &one_each(self, vectors)?[0];
        let counted = self.traffic;
        let all = match width {
            Width::F32 => {
                let written: Vec<f32> = own.iter().map(|number| *number as f32).collect();
                self.reduce(&written, (f64::from, |sum| sum as f32))
            }
            Width::F64 => self.reduce(own, (|number| number, |sum| sum)),
        };
        let (sent, received) = reduced(self.rank(), self.nodes(), own.len(), width);
        debug_assert_eq!(
            (self.traffic.sent, self.traffic.received),
            (counted.sent + sent, counted.received + received)
        );
        Ok(all)
    }

    fn collect(&mut self, messages: Vec<Message>) -> Result<Option<Vec<Message>>> {
        let own = Message::clone(&one_each(self, &messages)?[0]);
        if self.rank() != 0 {
            self.swap_of_any_length(&[(0, &own)], &[]);
            return Ok(None);
        }
        let others: Vec<usize> = self.others().collect();
        let received = self.swap_of_any_length(&[], &others);
        Ok(Some(std::iter::once(own).chain(received.into_iter().map(Message::from)).collect()))
    }

    fn broadcast(&mut self, message: Option<Message>) -> Result<Message> {
        match (self.rank(), message) {
            (0, Some(message)) => {
                let others: Vec<(usize, &[u8])> = self.others().map(|other| (other, &*message)).collect();
                self.swap_of_any_length(&others, &[]);
                Ok(message)
            }
            (0, None) => Err(Error::value("broadcast", "no message", "one from node 0")),
            (_, None) => {
                let received = self.swap_of_any_length(&[], &[0]).pop();
                Ok(received.unwrap_or_default().into())
            }
            (rank, Some(_)) => Err(Error::value("broadcast", format!("a message of node {rank}"), "one from node 0")),
        }
    }

    fn exchange(&mut self, peers: &[Vec<usize>], messages: Vec<Message>) -> Result<Vec<Vec<Message>>> {
        let own = Message::clone(&one_each(self, &messages)?[0]);
        mutual(self.nodes(), peers)?;
        let peers = &peers[self.rank()];
        let outgoing: Vec<(usize, &[u8])> = peers.iter().map(|peer| (*peer, &*own)).collect();
        let received = self.swap_of_any_length(&outgoing, peers);
        Ok(vec![received.into_iter().map(Message::from).collect()])
    }

    fn traffic(&self) -> &[Traffic] {
        std::slice::from_ref(&self.traffic)
    }

    fn abandon(&self, code: i32) {
        self.abort(code)
    }
}
