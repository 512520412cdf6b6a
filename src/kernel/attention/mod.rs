//! Scaled dot-product attention, `softmax(Q K^T / sqrt(dim)) V` (Vaswani et al. 2017, equation 1), forwards and backwards.
//!
//! Queries, keys and values are `(batch, length, heads dim)`, and a head is read where it lies, by strides. A head of an
//! example is the work of one thread, which takes a block of queries at a time: logits never exist for more than a block,
//! and the number of threads changes no bit. Nothing is kept for the backward pass: computing the probabilities again
//! costs one product in seven, and keeping them would cost memory that grows with the square of the length.

use super::matmul::{View, matmul};
use super::memory::cleared;
use super::{Real, once};
use crate::kernel::team::Shared;
use crate::profile::{self, Part};
use rayon::prelude::*;
use std::ops::Range;

/// Queries a thread takes at a time.
const ROWS: usize = 64;

/// Sums and maxima of rows are taken in so many lanes, on every processor.
const LANES: usize = 16;

/// The sizes of an attention; all but `queries` are at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    /// Elements of a query, a key or a value of one head.
    pub(crate) dim: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// Whether query i sees the keys 0 to i alone.
    pub(crate) causal: bool,
}

/// What attends to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operands<'a, T> {
    /// `(batch, queries, heads dim)`.
    pub(crate) q: &'a [T],
    /// `(batch, keys, heads dim)`.
    pub(crate) k: &'a [T],
    /// `(batch, keys, heads dim)`.
    pub(crate) v: &'a [T],
    /// `(batch, keys)`, not zero where a key is not looked at.
    pub(crate) padding: Option<&'a [u8]>,
}

/// A head of an example.
#[derive(Debug, Clone, Copy)]
struct Place {
    example: usize,
    head: usize,
}

/// Buffers of a thread, used again from head to head.
#[derive(Default)]
struct Scratch<T> {
    /// `(rows, keys)`.
    probabilities: Vec<T>,
    /// `(rows, keys)`: cotangents of the probabilities, then of the products of queries and keys.
    cotangents: Vec<T>,
    /// `(rows, dim)`.
    out: Vec<T>,
    /// `(keys, dim)`.
    of_keys: Vec<T>,
    /// `(keys, dim)`.
    of_values: Vec<T>,
}

impl Attention {
    /// The outputs `(batch, queries, heads dim)`. A query that sees no key has zeros.
    pub(crate) fn forward<T: Real>(&self, operands: Operands<'_, T>) -> Vec<T> {
        let _time = profile::time(Part::Attention);
        let mut ys = cleared(operands.q.len());
        let examples = ys.par_chunks_mut(self.size(self.queries)).enumerate();
        examples.each_with(Scratch::default, |scratch, (example, ys)| {
            for (head, mut ys) in self.heads_of(ys).into_iter().enumerate() {
                let place = Place { example, head };
                for block in self.blocks() {
                    let seen = self.seen_by(block.end);
                    self.probabilities(&operands, place, &block, &mut scratch.probabilities);
                    let p = View::row_major(&scratch.probabilities, block.len(), seen);
                    scratch.out.resize(block.len() * self.dim, T::default());
                    matmul(&mut scratch.out, p, self.rows(operands.v, self.keys, place, 0..seen), false);
                    self.hand_out(&scratch.out, &mut ys[block]);
                }
            }
        });
        ys
    }

    /// The cotangents of queries, keys and values, given those of the outputs.
    pub(crate) fn backward<T: Real>(&self, operands: Operands<'_, T>, cotangents: &[T]) -> [Vec<T>; 3] {
        let _time = profile::time(Part::Attention);
        let [mut dq, mut dk, mut dv] = [operands.q, operands.k, operands.v].map(|operand| cleared(operand.len()));
        let (queries, keys) = (self.size(self.queries), self.size(self.keys));
        let examples = dq.par_chunks_mut(queries).zip(dk.par_chunks_mut(keys)).zip(dv.par_chunks_mut(keys));
        examples.enumerate().each_with(Scratch::default, |scratch, (example, ((dq, dk), dv))| {
            let [dq, dk, dv] = [dq, dk, dv].map(|all| self.heads_of(all).into_iter());
            for (head, ((mut dq, mut dk), mut dv)) in dq.zip(dk).zip(dv).enumerate() {
                self.backward_head(&operands, cotangents, Place { example, head }, &mut dq, scratch);
                self.hand_out(&scratch.of_keys, &mut dk);
                self.hand_out(&scratch.of_values, &mut dv);
            }
        });
        [dq, dk, dv]
    }

    /// Sets `dq`, the rows of a head, and leaves the cotangents of its keys and values in the scratch.
    fn backward_head<T: Real>(
        &self,
        operands: &Operands<'_, T>,
        cotangents: &[T],
        place: Place,
        dq: &mut [&mut [T]],
        scratch: &mut Scratch<T>,
    ) {
        let Scratch { probabilities, cotangents: ds, out, of_keys, of_values } = scratch;
        for sum in [&mut *of_keys, of_values] {
            sum.clear();
            sum.resize(self.keys * self.dim, T::default());
        }
        for block in self.blocks() {
            let seen = self.seen_by(block.end);
            let (q, dy) = (
                self.rows(operands.q, self.queries, place, block.clone()),
                self.rows(cotangents, self.queries, place, block.clone()),
            );
            let k = self.rows(operands.k, self.keys, place, 0..seen);
            let v = self.rows(operands.v, self.keys, place, 0..seen);
            self.probabilities(operands, place, &block, probabilities);
            matmul(&mut of_values[..seen * self.dim], View::row_major(probabilities, block.len(), seen).t(), dy, true);
            ds.resize(block.len() * seen, T::default());
            matmul(ds, dy, v.t(), false);
            self.of_products(probabilities, ds, seen);
            let ds = View::row_major(ds, block.len(), seen);
            matmul(&mut of_keys[..seen * self.dim], ds.t(), q, true);
            out.resize(block.len() * self.dim, T::default());
            matmul(out, ds, k, false);
            self.hand_out(out, &mut dq[block]);
        }
    }

    /// The probabilities `(rows, seen keys)` of a block of queries; zeros where a query does not look.
    fn probabilities<T: Real>(
        &self,
        operands: &Operands<'_, T>,
        place: Place,
        block: &Range<usize>,
        probabilities: &mut Vec<T>,
    ) {
        let (seen, scale) = (self.seen_by(block.end), self.scale());
        probabilities.resize(block.len() * seen, T::default());
        let q = self.rows(operands.q, self.queries, place, block.clone());
        let k = self.rows(operands.k, self.keys, place, 0..seen);
        matmul(probabilities, q, k.t(), false);
        let padding = operands.padding.map(|padding| &padding[place.example * self.keys..][..self.keys]);
        let first = padding.map_or(0, |padding| padding.iter().take_while(|padding| **padding != 0).count());
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                for (row, logits) in once(probabilities).chunks_exact_mut(seen).enumerate() {
                    let (logits, hidden) = logits.split_at_mut(self.seen_by(block.start + row + 1));
                    hidden.fill(T::default());
                    if first >= logits.len() {
                        logits.fill(T::default());
                        continue;
                    }
                    if let Some(padding) = padding {
                        for (logit, padding) in logits.iter_mut().zip(padding) {
                            *logit = if *padding == 0 { *logit } else { T::neg_infinity() };
                        }
                    }
                    softmax(logits, scale);
                }
            },
        );
    }

    /// Turns cotangents of probabilities `(rows, seen keys)` into those of the products of queries and keys:
    /// `p (g - sum of p g) / sqrt(dim)`.
    fn of_products<T: Real>(&self, probabilities: &[T], cotangents: &mut [T], seen: usize) {
        let scale: T = self.scale();
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                let rows = once(cotangents).chunks_exact_mut(seen).zip(probabilities.chunks_exact(seen));
                for (cotangents, probabilities) in rows {
                    let mean = inner_product(probabilities, cotangents);
                    for (g, p) in cotangents.iter_mut().zip(probabilities) {
                        *g = *p * (*g - mean) * scale;
                    }
                }
            },
        );
    }

    /// How many keys, from the first, some query before `end` may look at.
    fn seen_by(&self, end: usize) -> usize {
        if self.causal { end.min(self.keys) } else { self.keys }
    }

    fn scale<T: Real>(&self) -> T {
        T::from_f64(1.0 / (self.dim as f64).sqrt())
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let queries = self.queries;
        (0..queries).step_by(ROWS).map(move |start| start..queries.min(start + ROWS))
    }

    /// Elements of an example of so many positions; one where there are none, as pieces of nothing must have a size.
    fn size(&self, length: usize) -> usize {
        (length * self.heads * self.dim).max(1)
    }

    /// Rows of a head, out of `(batch, length, heads dim)`.
    fn rows<'a, T>(&self, all: &'a [T], length: usize, place: Place, rows: Range<usize>) -> View<'a, T> {
        let width = self.heads * self.dim;
        let start = (place.example * length + rows.start) * width + place.head * self.dim;
        View::strided(&all[start..], rows.len(), self.dim, width, 1)
    }

    /// For every head its part of every position of an example `(length, heads dim)`.
    fn heads_of<'a, T>(&self, example: &'a mut [T]) -> Vec<Vec<&'a mut [T]>> {
        let width = self.heads * self.dim;
        let length = example.len() / width;
        let mut heads: Vec<Vec<_>> = (0..self.heads).map(|_| Vec::with_capacity(length)).collect();
        for position in example.chunks_exact_mut(width) {
            heads.iter_mut().zip(position.chunks_exact_mut(self.dim)).for_each(|(head, part)| head.push(part));
        }
        heads
    }

    fn hand_out<T: Copy>(&self, values: &[T], rows: &mut [&mut [T]]) {
        rows.iter_mut().zip(values.chunks_exact(self.dim)).for_each(|(row, values)| row.copy_from_slice(values));
    }
}

/// `exp(scale (x - max))` over the sum of all, in place. A row that holds a NaN becomes NaN.
#[inline(always)]
fn softmax<T: Real>(row: &mut [T], scale: T) {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::neg_infinity(); LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(T::neg_infinity(), |max, x| larger(max, *x));
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    let max = lanes.into_iter().fold(rest, larger);
    let mut lanes = [T::default(); LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = ((*x - max) * scale).exp_of_at_most_0();
            *lane += *x;
        }
    }
    let mut sum: T = lanes.into_iter().sum();
    for x in chunks.into_remainder() {
        *x = ((*x - max) * scale).exp_of_at_most_0();
        sum += *x;
    }
    let inverse = T::one() / sum;
    row.iter_mut().for_each(|x| *x *= inverse);
}

#[inline(always)]
fn inner_product<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::default(); LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: T = a.remainder().iter().zip(b.remainder()).map(|(a, b)| *a * *b).sum();
    for (a, b) in a.zip(b) {
        lanes.iter_mut().zip(a).zip(b).for_each(|((lane, a), b)| *lane += *a * *b);
    }
    lanes.into_iter().sum::<T>() + rest
}

#[cfg(test)]
mod tests;
