//! Which records take part in a step.
//!
//! A sampler draws batches and says what its sampling does to the cost of whatever is done with them: only the sampler
//! knows its rate, so only it may claim amplification.

mod poisson;

pub use poisson::Poisson;

use dp_accountant::Event;

/// Draws batches, step after step.
pub trait Sampling {
    /// The next batch. An empty batch is a normal one: its step is pure noise.
    fn next_batch(&mut self) -> Batch;

    /// What `event` on a batch of this sampler costs the whole data set.
    fn amplify(&self, event: Event) -> Event;
}

/// The records of one logical step. It can be read once: a batch moves into the sum it is drawn for.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    step: u32,
    rows: Vec<usize>,
}

impl Batch {
    /// The step the batch belongs to, from zero.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// How many records were drawn. Not private: it must not leave the process.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no record was drawn.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The batch in pieces of at most `physical` records; a piece is what is in memory at one time and nothing else.
    pub fn micro_batches(&self, physical: std::num::NonZeroUsize) -> impl Iterator<Item = &[usize]> {
        self.rows.chunks(physical.get())
    }
}
