//! Recurrent layers: all time steps of a batch, forward and backward.
//!
//! Examples are cut into blocks, and each block runs through all of time on one thread: no barriers between steps, and
//! the states of a block stay in cache.

mod cell;

pub(crate) use cell::Cell;

use super::matmul::{View, matmul, matmul_parallel};
use super::memory::cleared;
use super::{Real, once};
use crate::kernel::team::Shared;
use crate::profile::{self, Part};
use cell::set1;
use rayon::prelude::*;

/// A recurrent layer that starts from zeros.
#[derive(Clone, Copy)]
pub(crate) struct Recurrence<'a, T> {
    pub(crate) cell: Cell,
    /// Time steps; at least one.
    pub(crate) time: usize,
    /// Inputs of one step; at least one.
    pub(crate) d: usize,
    /// Hidden units; at least one.
    pub(crate) hidden: usize,
    /// `(gates hidden, d)`.
    pub(crate) w_ih: &'a [T],
    /// `(gates hidden, hidden)`.
    pub(crate) w_hh: &'a [T],
    /// `(gates hidden)`.
    pub(crate) b_ih: Option<&'a [T]>,
    /// `(gates hidden)`.
    pub(crate) b_hh: Option<&'a [T]>,
}

/// What a forward pass gives.
pub(crate) struct Forward<T> {
    /// The hidden states `(batch, time, hidden)`.
    pub(crate) hidden: Vec<T>,
    /// For each block of examples what the backward pass reads, `(time, examples, kept hidden)`.
    pub(crate) kept: Vec<Vec<T>>,
}

/// Cotangents of the pre-activations, `(batch, time, gates hidden)`.
pub(crate) struct Cotangents<T> {
    /// Of the part that comes from the inputs.
    pub(crate) inputs: Vec<T>,
    /// Of the part that comes from the previous hidden states, where they are not the same.
    pub(crate) hidden: Option<Vec<T>>,
}

/// Buffers of a thread, used again from block to block.
#[derive(Default)]
struct Scratch<T> {
    /// `W_ih x + b_ih` of a block, `(examples, time, gates hidden)`.
    projected: Vec<T>,
    /// `W_hh h + b_hh` of a step, `(examples, gates hidden)`.
    recurrent: Vec<T>,
    /// `(examples, hidden)`: the cell's state, or its cotangent.
    state: Vec<T>,
    /// `(examples, hidden)`: the cotangent of the hidden state.
    d_h: Vec<T>,
}

/// How many examples a thread takes through time together: enough for a matrix product, and several blocks in most batches.
/// Products take six rows at a time.
fn examples_per_block(batch: usize) -> usize {
    batch.div_ceil(8).next_multiple_of(6).clamp(12, 60)
}

impl<'a, T: Real> Recurrence<'a, T> {
    /// Pre-activations of one step of one example.
    fn width(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    fn w_ih(&self) -> View<'a, T> {
        View::row_major(self.w_ih, self.width(), self.d)
    }

    fn w_hh(&self) -> View<'a, T> {
        View::row_major(self.w_hh, self.width(), self.hidden)
    }

    /// The transpose of `w_hh` as it lies in memory: a product with it needs no copy, and there is one in every step of time.
    fn transposed_w_hh(&self) -> Vec<T> {
        /// Rows read side by side, a cache line of each written at a time.
        const SIDE: usize = 16;
        let (h, width) = (self.hidden, self.width());
        let mut transposed = vec![T::zero(); h * width];
        for (block, rows) in self.w_hh.chunks(SIDE * h).enumerate() {
            for (unit, to) in transposed.chunks_exact_mut(width).enumerate() {
                let from = rows[unit..].iter().step_by(h);
                to[block * SIDE..].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        transposed
    }

    /// Runs over inputs `(batch, time, d)`; `keep` says whether a backward pass will follow.
    pub(crate) fn forward(&self, xs: &[T], batch: usize, keep: bool) -> Forward<T> {
        let _time = profile::time(Part::Cells);
        let mut hidden = cleared(batch * self.time * self.hidden);
        let block = examples_per_block(batch) * self.time;
        let w_hh = self.transposed_w_hh();
        let blocks = hidden.par_chunks_mut(block * self.hidden).zip(xs.par_chunks(block * self.d));
        let kept = blocks.gather_with(Scratch::default, |scratch, (hidden, xs)| {
            let kept = self.forward_block(&w_hh, xs, hidden, scratch);
            if keep { kept } else { Vec::new() }
        });
        Forward { hidden, kept }
    }

    fn forward_block(&self, w_hh: &[T], xs: &[T], hidden: &mut [T], scratch: &mut Scratch<T>) -> Vec<T> {
        let (time, h, width, kept_size) = (self.time, self.hidden, self.width(), self.cell.kept() * self.hidden);
        let n = hidden.len() / (time * h);
        let Scratch { projected, recurrent, state, .. } = scratch;
        projected.resize(n * time * width, T::default());
        fill_rows(projected, self.b_ih, width);
        matmul(projected, View::row_major(xs, n * time, self.d), self.w_ih().t(), true);
        recurrent.resize(n * width, T::default());
        zeros(state, n * h);
        let mut kept = vec![T::default(); time * n * kept_size];
        for (t, kept) in kept.chunks_exact_mut(n * kept_size).enumerate() {
            fill_rows(recurrent, self.b_hh, width);
            if t > 0 {
                let before = View::strided(&hidden[(t - 1) * h..], n, h, time * h, 1);
                matmul(recurrent, before, View::row_major(w_hh, h, width), true);
            }
            let (cell, projected, recurrent) = (self.cell, &projected[..], &recurrent[..]);
            let (state, hidden) = (&mut state[..], &mut hidden[..]);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                move || {
                    let states = once(state).chunks_exact_mut(h).zip(once(kept).chunks_exact_mut(kept_size));
                    for (example, (r, (state, kept))) in recurrent.chunks_exact(width).zip(states).enumerate() {
                        let row = example * time + t;
                        let (x, out) = (&projected[row * width..][..width], &mut hidden[row * h..][..h]);
                        cell.forward(x, r, state, out, kept);
                    }
                },
            );
        }
        kept
    }

    /// Back through time from the cotangents of the hidden states `(batch, time, hidden)`, with what the forward pass kept.
    pub(crate) fn backward(&self, kept: &[&[T]], cotangents: &[T]) -> Cotangents<T> {
        let _time = profile::time(Part::Cells);
        let width = self.width();
        let rows = cotangents.len() / self.hidden;
        let block = examples_per_block(rows / self.time) * self.time;
        let mut inputs = cleared(rows * width);
        let mut hidden = self.cell.parts_differ().then(|| cleared(rows * width));
        let hidden_blocks: Vec<&mut [T]> = match &mut hidden {
            Some(hidden) => hidden.chunks_mut(block * width).collect(),
            None => kept.iter().map(|_| Default::default()).collect(),
        };
        inputs
            .par_chunks_mut(block * width)
            .zip(hidden_blocks)
            .zip(cotangents.par_chunks(block * self.hidden))
            .zip(kept)
            .each_with(Scratch::default, |scratch, (((inputs, hidden), cotangents), kept)| {
                self.backward_block(kept, cotangents, inputs, hidden, scratch);
            });
        Cotangents { inputs, hidden }
    }

    /// `of_hidden` is empty where the cotangents of both parts are the same.
    fn backward_block(
        &self,
        kept: &[T],
        cotangents: &[T],
        of_inputs: &mut [T],
        of_hidden: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let (time, h, width, kept_size) = (self.time, self.hidden, self.width(), self.cell.kept() * self.hidden);
        let n = cotangents.len() / (time * h);
        let Scratch { state, d_h, .. } = scratch;
        zeros(state, n * h);
        zeros(d_h, n * h);
        for (t, of_step) in kept.chunks_exact(n * kept_size).enumerate().rev() {
            let step_before = t.checked_sub(1).map(|t| &kept[t * n * kept_size..]).unwrap_or_default();
            {
                let (cell, d_h, state) = (self.cell, &mut d_h[..], &mut state[..]);
                let (of_inputs, of_hidden) = (&mut *of_inputs, &mut *of_hidden);
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    move || {
                        let states = once(d_h).chunks_exact_mut(h).zip(state.chunks_exact_mut(h));
                        for (example, ((d_h, state), kept)) in states.zip(of_step.chunks_exact(kept_size)).enumerate() {
                            let before = step_before.get(example * kept_size..).unwrap_or_default();
                            let row = example * time + t;
                            set1(d_h, &cotangents[row * h..], |d_h, cotangent| d_h + cotangent);
                            let place = row * width..(row + 1) * width;
                            let g_r = of_hidden.get_mut(place.clone()).unwrap_or_default();
                            cell.backward((kept, before), d_h, state, &mut of_inputs[place], g_r);
                        }
                    },
                );
            }
            if t > 0 {
                let g = if of_hidden.is_empty() { &*of_inputs } else { &*of_hidden };
                matmul(d_h, View::strided(&g[t * width..], n, width, time * width, 1), self.w_hh(), true);
            }
        }
    }

    /// The cotangents of the inputs `(batch, time, d)` from those of the pre-activations.
    pub(crate) fn input_cotangents(&self, pre_activations: &[T]) -> Vec<T> {
        let rows = pre_activations.len() / self.width();
        let mut xs = vec![T::default(); rows * self.d];
        matmul_parallel(&mut xs, View::row_major(pre_activations, rows, self.width()), self.w_ih(), false);
        xs
    }
}

fn zeros<T: Real>(buffer: &mut Vec<T>, size: usize) {
    buffer.clear();
    buffer.resize(size, T::default());
}

/// Sets every row to the bias, or to zero.
fn fill_rows<T: Real>(rows: &mut [T], bias: Option<&[T]>, width: usize) {
    match bias {
        Some(bias) => rows.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(bias)),
        None => rows.fill(T::default()),
    }
}

#[cfg(test)]
mod tests;
