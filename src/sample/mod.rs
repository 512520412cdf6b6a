//! Which records take part in a step.
//!
//! A sampler draws batches and says what its sampling does to the cost of whatever is done with them: only the sampler
//! knows its rate, so only it may claim amplification.

mod cyclic;
mod disjoint;
mod placement;
mod poisson;

pub use cyclic::Cyclic;
pub use disjoint::Disjoint;
pub use poisson::Poisson;
pub(crate) use poisson::coin;

use dp_accountant::Event;
use rand_chacha::rand_core::RngCore;

/// Draws batches, step after step.
pub trait Sampling {
    /// The next batch. An empty batch is a normal one: its step is pure noise.
    fn next_batch(&mut self) -> Batch;

    /// What `event` on the last batch costs the whole data set; of a mechanism that goes on with its last release
    /// ([`Mechanism::continues`](crate::noise::Mechanism::continues)), on the batches since it did not.
    fn amplify(&self, event: Event) -> Event;
}

/// The records of one logical step, in a uniformly random order. It can be read once: a batch moves into the sum it is drawn
/// for.
///
/// The order is part of the guarantee. A sum of floating-point numbers depends on the order of its terms; in the order of the
/// data set, one record fewer would move all later ones to other places, where each of them may round otherwise. A random order
/// of n - 1 records is one of n in which the record is taken out and the last one put in its place (the inverse of a step of
/// Fisher and Yates' shuffle), so with and without the record all others keep their places but one.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    step: u32,
    rows: Vec<usize>,
}

impl Batch {
    /// `rows` in an order drawn from `rng`, every order with the same probability (Fisher and Yates).
    fn shuffled(step: u32, mut rows: Vec<usize>, rng: &mut impl RngCore) -> Self {
        for last in (1..rows.len()).rev() {
            rows.swap(last, below(last as u64 + 1, rng) as usize);
        }
        Self { step, rows }
    }

    /// The step the batch belongs to, from zero.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// The records for which `is_in` holds, in the order of the batch.
    pub(crate) fn part(&self, is_in: impl Fn(usize) -> bool) -> Self {
        Self { step: self.step, rows: self.rows.iter().copied().filter(|row| is_in(*row)).collect() }
    }

    /// How many records were drawn. Not private: it must not leave the process.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no record was drawn.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The batch in its order, in pieces of at most `physical` records; a piece is what is in memory at one time and nothing else.
    pub fn micro_batches(&self, physical: std::num::NonZeroUsize) -> impl Iterator<Item = &[usize]> {
        self.rows.chunks(physical.get())
    }
}

/// A number below `end`, each with the same probability: draws at or beyond the largest multiple of `end` are drawn again.
pub(crate) fn below(end: u64, rng: &mut impl RngCore) -> u64 {
    let rest = (u64::MAX % end + 1) % end;
    loop {
        let draw = rng.next_u64();
        if draw <= u64::MAX - rest {
            return draw % end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Key, Role};

    /// Whether all 24 orders of four records come equally often: chi-square with 23 degrees of freedom above 80 has a
    /// probability of 3e-8.
    fn is_uniform(mut draw: impl FnMut() -> Vec<usize>) -> bool {
        let (mut counts, n) = (std::collections::HashMap::new(), 24_000);
        for _ in 0..n {
            *counts.entry(draw()).or_insert(0.0) += 1.0;
        }
        let expected = f64::from(n) / 24.0;
        let missing = (24 - counts.len()) as f64 * expected;
        counts.values().map(|count: &f64| (count - expected).powi(2) / expected).sum::<f64>() + missing < 80.0
    }

    #[test]
    fn every_order_is_equally_likely_and_the_check_can_fail() {
        let mut rng = Key::from_seed(3).stream(Role::Order, 0);
        assert!(is_uniform(|| Batch::shuffled(0, vec![0, 1, 2, 3], &mut rng).rows));
        // A well-known mistake: every place is swapped with any other.
        assert!(!is_uniform(|| {
            let mut rows = vec![0, 1, 2, 3];
            (0..4).for_each(|i| rows.swap(i, below(4, &mut rng) as usize));
            rows
        }));
    }

    #[test]
    fn draws_that_would_be_biased_are_drawn_again() {
        struct From(Vec<u64>);
        impl RngCore for From {
            fn next_u32(&mut self) -> u32 {
                self.next_u64() as u32
            }
            fn next_u64(&mut self) -> u64 {
                self.0.remove(0)
            }
            fn fill_bytes(&mut self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }
        // 2^64 = 1 mod 3: the last draw of all is one too many.
        assert_eq!(below(3, &mut From(vec![u64::MAX, 5])), 2);
        assert_eq!(below(3, &mut From(vec![u64::MAX - 1])), (u64::MAX - 1) % 3);
        assert_eq!(below(4, &mut From(vec![u64::MAX])), 3);
    }

    #[test]
    fn without_a_record_all_others_keep_their_places_but_one() {
        // The coupling that the docs speak of, counted out: every order of three, with the record 3 put at every place whose
        // record goes to the end, makes every order of four once.
        let mut seen = std::collections::HashSet::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for place in 0..4 {
                let mut with = order.to_vec();
                with.push(3);
                with.swap(place, 3);
                assert_eq!(with.iter().zip(&order).filter(|(a, b)| a != b).count(), usize::from(place < 3));
                assert!(seen.insert(with));
            }
        }
        assert_eq!(seen.len(), 24);
    }
}
