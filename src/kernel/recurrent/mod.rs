//! Recurrent layers: all time steps of a batch, forward and backward.
//!
//! Examples are cut into blocks, and each block runs through all of time on one thread: no barriers between steps, and
//! the states of a block stay in cache.

mod cell;

pub(crate) use cell::Cell;

use super::Real;
use super::matmul::{View, matmul, matmul_parallel};
use crate::profile::{self, Part};
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
        let (h, width) = (self.hidden, self.width());
        (0..h * width).map(|i| self.w_hh[i % width * h + i / width]).collect()
    }

    /// Runs over inputs `(batch, time, d)`; `keep` says whether a backward pass will follow.
    pub(crate) fn forward(&self, xs: &[T], batch: usize, keep: bool) -> Forward<T> {
        let _time = profile::time(Part::Cells);
        let mut hidden = vec![T::default(); batch * self.time * self.hidden];
        let block = examples_per_block(batch) * self.time;
        let w_hh = self.transposed_w_hh();
        let kept = hidden
            .par_chunks_mut(block * self.hidden)
            .zip(xs.par_chunks(block * self.d))
            .map_init(Scratch::default, |scratch, (hidden, xs)| {
                let kept = self.forward_block(&w_hh, xs, hidden, scratch);
                if keep { kept } else { Vec::new() }
            })
            .collect();
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
            let examples =
                recurrent.chunks_exact(width).zip(state.chunks_exact_mut(h)).zip(kept.chunks_exact_mut(kept_size));
            for (example, ((r, state), kept)) in examples.enumerate() {
                let row = example * time + t;
                let (x, out) = (&projected[row * width..][..width], &mut hidden[row * h..][..h]);
                self.cell.forward(x, r, state, out, kept);
            }
        }
        kept
    }

    /// Back through time from the cotangents of the hidden states `(batch, time, hidden)`, with what the forward pass kept.
    pub(crate) fn backward(&self, kept: &[&[T]], cotangents: &[T]) -> Cotangents<T> {
        let _time = profile::time(Part::Cells);
        let width = self.width();
        let rows = cotangents.len() / self.hidden;
        let block = examples_per_block(rows / self.time) * self.time;
        let mut inputs = vec![T::default(); rows * width];
        let mut hidden = self.cell.parts_differ().then(|| vec![T::default(); rows * width]);
        let hidden_blocks: Vec<&mut [T]> = match &mut hidden {
            Some(hidden) => hidden.chunks_mut(block * width).collect(),
            None => kept.iter().map(|_| Default::default()).collect(),
        };
        inputs
            .par_chunks_mut(block * width)
            .zip(hidden_blocks)
            .zip(cotangents.par_chunks(block * self.hidden))
            .zip(kept)
            .for_each_init(Scratch::default, |scratch, (((inputs, hidden), cotangents), kept)| {
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
        for (t, kept) in kept.chunks_exact(n * kept_size).enumerate().rev() {
            let examples = d_h.chunks_exact_mut(h).zip(state.chunks_exact_mut(h)).zip(kept.chunks_exact(kept_size));
            for (example, ((d_h, state), kept)) in examples.enumerate() {
                let row = example * time + t;
                d_h.iter_mut().zip(&cotangents[row * h..]).for_each(|(d_h, cotangent)| *d_h += *cotangent);
                let place = row * width..(row + 1) * width;
                let g_r = of_hidden.get_mut(place.clone()).unwrap_or_default();
                self.cell.backward(kept, d_h, state, &mut of_inputs[place], g_r);
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
mod tests {
    use super::*;

    const CELLS: [Cell; 4] = [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu];

    fn numbers(count: usize, step: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * step + 5) % 101) as f64 / 101.0 - 0.5).collect()
    }

    /// Hidden states, cotangents of both parts and of the inputs, for examples `from..to` of a batch.
    fn run(cell: Cell, from: usize, to: usize) -> [Vec<f64>; 4] {
        let (time, d, hidden, batch) = (4, 3, 5, to - from);
        let width = cell.gates() * hidden;
        let (w_ih, w_hh, bias) = (numbers(width * d, 37), numbers(width * hidden, 29), numbers(width, 23));
        let (b_ih, b_hh) = (Some(&bias[..]), None);
        let kernel = Recurrence { cell, time, d, hidden, w_ih: &w_ih, w_hh: &w_hh, b_ih, b_hh };
        let (xs, cotangents) = (numbers(to * time * d, 17), numbers(to * time * hidden, 13));
        let Forward { hidden: states, kept } = kernel.forward(&xs[from * time * d..], batch, true);
        let kept: Vec<&[f64]> = kept.iter().map(Vec::as_slice).collect();
        let of = kernel.backward(&kept, &cotangents[from * time * hidden..]);
        let of_xs = kernel.input_cotangents(&of.inputs);
        [states, of.hidden.unwrap_or_default(), of.inputs, of_xs]
    }

    #[test]
    fn an_example_in_a_batch_of_several_blocks_is_as_if_alone() {
        let batch = 67;
        assert!(batch > 2 * examples_per_block(batch) && !batch.is_multiple_of(examples_per_block(batch)));
        for cell in CELLS {
            let together = run(cell, 0, batch);
            for example in 0..batch {
                for (together, alone) in together.iter().zip(run(cell, example, example + 1)) {
                    let mine = &together[example * alone.len()..];
                    assert!(mine.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-13), "{cell:?} {example}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let with = |threads: usize, cell: Cell| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| run(cell, 0, 67))
        };
        for cell in CELLS {
            assert_eq!(with(1, cell), with(3, cell), "{cell:?}");
        }
    }

    #[test]
    fn nothing_is_kept_for_an_evaluation() {
        let (weights, xs) = ([0.5], numbers(20, 7));
        let (w_ih, w_hh) = (&weights[..], &weights[..]);
        let kernel = Recurrence { cell: Cell::Tanh, time: 2, d: 1, hidden: 1, w_ih, w_hh, b_ih: None, b_hh: None };
        let (kept, evaluated) = (kernel.forward(&xs, 10, true), kernel.forward(&xs, 10, false));
        assert_eq!(kept.hidden, evaluated.hidden);
        assert!(evaluated.kept.iter().all(Vec::is_empty) && kept.kept.iter().map(Vec::len).sum::<usize>() == 20);
    }

    #[test]
    fn saturated_gates_are_numbers() {
        // The largest inputs drive every exponential to zero or infinity.
        let weights = [1.0f32; 4];
        let (w_ih, w_hh) = (&weights[..], &weights[..]);
        let kernel = Recurrence { cell: Cell::Lstm, time: 2, d: 1, hidden: 1, w_ih, w_hh, b_ih: None, b_hh: None };
        let states = kernel.forward(&[1e30, 1e30, -1e30, -1e30], 2, true);
        assert!((states.hidden[0] - 1f32.tanh()).abs() < 1e-6 && (states.hidden[1] - 2f32.tanh()).abs() < 1e-6);
        assert_eq!(states.hidden[2..], [0.0, 0.0]);
        let kept: Vec<&[f32]> = states.kept.iter().map(Vec::as_slice).collect();
        assert!(kernel.backward(&kept, &[1.0; 4]).inputs.iter().all(|g| g.is_finite()));
    }
}
