//! Recurrent layers in plain tensor operations, unrolled over time.

use super::Recurrent;
use crate::grad::{Inputs, Tape};
use crate::kernel::recurrent::Cell;
use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

pub(super) fn forward(layer: &Recurrent, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
    let ((batch, time, d), (width, hidden)) = (xs.dims3()?, layer.w_hh.dims2()?);
    let constant = |parameter: &Tensor| if tape.is_recording() { parameter.detach() } else { parameter.clone() };
    let (w_ih, w_hh) = (constant(&layer.w_ih), constant(&layer.w_hh));
    let (b_ih, b_hh) = (layer.b_ih.as_ref().map(constant), layer.b_hh.as_ref().map(constant));

    let xs = xs.contiguous()?;
    let projected = xs.reshape((batch * time, d))?.matmul(&w_ih.t()?)?;
    let mut projected = plus(projected, b_ih.as_ref())?.reshape((batch, time, width))?;
    // One tap where both parts of the pre-activations have the same cotangent, else a second one, on a zero that is added to
    // the part from the hidden states.
    let (mut taps, mut second) = (None, None);
    if tape.is_recording() {
        let (tapped, of_inputs) = tape.tap(&projected)?;
        let of_hidden = if layer.cell.parts_differ() {
            let (zero, of_hidden) = tape.tap(&projected.zeros_like()?)?;
            second = Some(zero);
            of_hidden
        } else {
            of_inputs.clone()
        };
        projected = tapped;
        taps = Some([of_inputs, of_hidden]);
    }

    let mut h = Tensor::zeros((batch, hidden), xs.dtype(), xs.device())?;
    let mut c = h.clone();
    let (mut before, mut states) = (Vec::with_capacity(time), Vec::with_capacity(time));
    for t in 0..time {
        let step = |all: &Tensor| all.narrow(1, t, 1)?.squeeze(1);
        let mut r = plus(h.matmul(&w_hh.t()?)?, b_hh.as_ref())?;
        if let Some(zero) = &second {
            r = (r + step(zero)?)?;
        }
        before.push(h.detach());
        (h, c) = cell(layer.cell, &step(&projected)?, &r, &h, c)?;
        states.push(h.clone());
    }
    if let Some(taps) = taps {
        let before = Tensor::stack(&before, 1)?.reshape((batch, 1, time, hidden))?;
        let inputs = [xs.detach().reshape((batch, 1, time, d))?, before];
        layer.record(time, inputs.map(Inputs::Portable), taps, tape)?;
    }
    Tensor::stack(&states, 1)
}

fn plus(xs: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    bias.map_or(Ok(xs.clone()), |bias| xs.broadcast_add(bias))
}

/// Hidden and cell state after a step, from the two parts of the pre-activations and the states before it.
fn cell(cell: Cell, x: &Tensor, r: &Tensor, h: &Tensor, c: Tensor) -> Result<(Tensor, Tensor)> {
    match cell {
        Cell::Lstm => {
            let gates = (x + r)?.chunk(4, 1)?;
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| &gates[gate]);
            let c = ((sigmoid(f)? * c)? + (sigmoid(i)? * g.tanh()?)?)?;
            Ok(((sigmoid(o)? * c.tanh()?)?, c))
        }
        Cell::Gru => {
            let (x, r) = (x.chunk(3, 1)?, r.chunk(3, 1)?);
            let reset = sigmoid(&(&x[0] + &r[0])?)?;
            let z = sigmoid(&(&x[1] + &r[1])?)?;
            let n = (&x[2] + (reset * &r[2])?)?.tanh()?;
            let h = ((z.affine(-1.0, 1.0)? * n)? + (&z * h)?)?;
            Ok((h, c))
        }
        Cell::Tanh => Ok(((x + r)?.tanh()?, c)),
        Cell::Relu => Ok(((x + r)?.relu()?, c)),
    }
}
