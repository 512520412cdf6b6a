//! Recurrent layers through the CPU kernels.

use super::Recurrent;
use crate::grad::{Cotangent, Inputs, Tape};
use crate::kernel::recurrent::{Cotangents, Recurrence};
use crate::kernel::{Real, dispatch, read};
use crate::nn::pull::{Pull, Pulled};
use candle_core::{CpuStorage, Result, Tensor};

impl Pull for Recurrent {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        self.check(xs)?;
        let (needed, dtype) = (wanted || tape.trains(self.parameters()), self.w_ih.dtype());
        let (ys, kept) = dispatch!(dtype, hidden_states(self, xs, needed))?;
        let (layer, tape, inputs, states) = (self.clone(), tape.clone(), xs.clone(), ys.clone());
        Ok(Pulled::new(ys, xs, needed, move |cotangent| {
            let (of_inputs, of_hidden, of_xs) =
                dispatch!(dtype, cotangents(&layer, &kept, &inputs, &cotangent, wanted))?;
            let time = inputs.dim(1)?;
            // The hidden state before the first step is zero.
            let before = states.narrow(1, 0, time - 1)?.pad_with_zeros(1, 1, 0)?;
            let inputs = [Inputs::Rows(inputs), Inputs::Rows(before)];
            layer.record(time, inputs, [of_inputs, of_hidden].map(Cotangent::Given), &tape)?;
            Ok(of_xs)
        }))
    }
}

fn with_kernel<T: Real, R>(
    layer: &Recurrent,
    time: usize,
    f: impl FnOnce(Recurrence<'_, T>) -> Result<R>,
) -> Result<R> {
    let Recurrent { cell, w_ih, w_hh, b_ih, b_hh } = layer;
    let values = |bias: &Option<Tensor>| bias.as_ref().map(|bias| bias.to_vec1::<T>()).transpose();
    let (b_ih, b_hh) = (values(b_ih)?, values(b_hh)?);
    let (d, hidden) = (w_ih.dim(1)?, w_hh.dim(1)?);
    read(&w_ih.contiguous()?, |w_ih| {
        read(&w_hh.contiguous()?, |w_hh| {
            let (b_ih, b_hh) = (b_ih.as_deref(), b_hh.as_deref());
            f(Recurrence { cell: *cell, time, d, hidden, w_ih, w_hh, b_ih, b_hh })
        })
    })
}

/// The hidden states, and what is `kept` for the backward pass, block by block, if there will be one.
fn hidden_states<T: Real>(layer: &Recurrent, xs: &Tensor, keep: bool) -> Result<(Tensor, Vec<CpuStorage>)> {
    let (batch, time, _) = xs.dims3()?;
    let forward = with_kernel::<T, _>(layer, time, |kernel| read(xs, |xs: &[T]| Ok(kernel.forward(xs, batch, keep))))?;
    let kept = if keep { forward.kept.into_iter().map(T::to_cpu_storage_owned).collect() } else { Vec::new() };
    Ok((Tensor::from_vec(forward.hidden, (batch, time, layer.w_hh.dim(1)?), xs.device())?, kept))
}

/// The cotangents of the pre-activations from inputs and from previous hidden states, and that of the inputs if it is wanted.
fn cotangents<T: Real>(
    layer: &Recurrent,
    kept: &[CpuStorage],
    xs: &Tensor,
    ys: &Tensor,
    wanted: bool,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let (batch, time, _) = xs.dims3()?;
    let kept = kept.iter().map(|block| block.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
    let (Cotangents { inputs, hidden }, d_xs) = with_kernel::<T, _>(layer, time, |kernel| {
        let cotangents = read(ys, |ys| Ok(kernel.backward(&kept, ys)))?;
        let d_xs = wanted.then(|| kernel.input_cotangents(&cotangents.inputs));
        Ok((cotangents, d_xs))
    })?;
    let shape = (batch, time, layer.w_ih.dim(0)?);
    let inputs = Tensor::from_vec(inputs, shape, xs.device())?;
    let hidden = match hidden {
        Some(hidden) => Tensor::from_vec(hidden, shape, xs.device())?,
        None => inputs.clone(),
    };
    Ok((inputs, hidden, d_xs.map(|d_xs| Tensor::from_vec(d_xs, xs.shape(), xs.device())).transpose()?))
}
