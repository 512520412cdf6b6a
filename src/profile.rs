//! Where the time of training goes: for those who make it faster.
//!
//! Between [`start`] and [`stop`] every kernel of the process adds the time its threads spend in it to its [`Part`]. Nothing is
//! counted twice: what a kernel spends in another belongs to the other. Otherwise a kernel asks one flag and goes on.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Matrix products in f32.
    Products,
    /// Matrix products in f64.
    WideProducts,
    /// Images, patches and weights copied into the order in which convolutions read and write them.
    Patches,
    /// Element-wise functions.
    Activations,
    /// Pooling.
    Pooling,
    /// Layer, group, instance and RMS normalisation.
    Normalisation,
    /// Recurrent cells, apart from their products.
    Cells,
    /// Attention, apart from its products.
    Attention,
    /// Tables: rows looked up, and their gradients.
    Lookups,
    /// Softmax cross-entropy.
    CrossEntropy,
    /// Norms of examples.
    Norms,
    /// Weighted sums of examples, apart from their products.
    Sums,
    /// Noise, and the rounding of what is released.
    Release,
    /// The optimiser's updates.
    Updates,
    /// Everything else between forward and optimiser: the graph, its additions, allocation.
    Graph,
}

impl Part {
    /// Every part and what it is called.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Products, "matrix products in f32"),
        (Self::WideProducts, "matrix products in f64"),
        (Self::Patches, "copies of images and weights"),
        (Self::Activations, "activations"),
        (Self::Pooling, "pooling"),
        (Self::Normalisation, "normalisation"),
        (Self::Cells, "recurrent cells"),
        (Self::Attention, "attention"),
        (Self::Lookups, "lookups in tables"),
        (Self::CrossEntropy, "cross-entropy"),
        (Self::Norms, "norms of examples"),
        (Self::Sums, "weighted sums"),
        (Self::Release, "noise and release"),
        (Self::Updates, "updates"),
        (Self::Graph, "graph, additions, allocation"),
    ];
}

/// What was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    times: [Duration; Part::ALL.len()],
    operations: [u64; 2],
}

impl Profile {
    /// The time of all threads together in a part.
    pub fn time(&self, part: Part) -> Duration {
        self.times[part as usize]
    }

    /// The time of all threads in all parts.
    pub fn total(&self) -> Duration {
        self.times.iter().sum()
    }

    /// Additions and multiplications of matrix products in f32 and in f64.
    pub fn operations(&self) -> [u64; 2] {
        self.operations
    }
}

static ON: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; Part::ALL.len()] = [const { AtomicU64::new(0) }; Part::ALL.len()];
static OPERATIONS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

thread_local! {
    /// What this thread is at, and since when.
    static NOW: Cell<(Option<Part>, Option<Instant>)> = const { Cell::new((None, None)) };
}

/// Begins to count, from zero.
pub fn start() {
    NANOSECONDS.iter().chain(&OPERATIONS).for_each(|count| count.store(0, Relaxed));
    ON.store(true, Relaxed);
}

/// What was counted since [`start`]; nothing is counted from here on.
pub fn stop() -> Profile {
    ON.store(false, Relaxed);
    Profile {
        times: std::array::from_fn(|i| Duration::from_nanos(NANOSECONDS[i].load(Relaxed))),
        operations: std::array::from_fn(|i| OPERATIONS[i].load(Relaxed)),
    }
}

/// What is done while this lives is of one part, but for what other parts take of it.
#[must_use]
pub(crate) struct Timed(Option<Was>);

/// What the thread was at before.
struct Was(Option<Part>);

/// Counts the time until the end of the caller's scope to `part`.
#[inline]
pub(crate) fn time(part: Part) -> Timed {
    Timed(ON.load(Relaxed).then(|| Was(turn_to(Some(part)))))
}

/// The same for a matrix product of so many operations.
#[inline]
pub(crate) fn product(operations: usize, wide: bool) -> Timed {
    if ON.load(Relaxed) {
        OPERATIONS[usize::from(wide)].fetch_add(operations as u64, Relaxed);
    }
    time(if wide { Part::WideProducts } else { Part::Products })
}

impl Drop for Timed {
    #[inline]
    fn drop(&mut self) {
        if let Some(Was(part)) = self.0.take() {
            turn_to(part);
        }
    }
}

/// Counts the time of what this thread is at, and lets it begin with `part`; what it was at.
fn turn_to(part: Option<Part>) -> Option<Part> {
    let now = Instant::now();
    let (was, since) = NOW.replace((part, Some(now)));
    if let (Some(was), Some(since)) = (was, since) {
        NANOSECONDS[was as usize].fetch_add((now - since).as_nanos() as u64, Relaxed);
    }
    was
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_listed_where_it_is_counted() {
        for (i, (part, _)) in Part::ALL.iter().enumerate() {
            assert_eq!(*part as usize, i);
        }
    }
}
