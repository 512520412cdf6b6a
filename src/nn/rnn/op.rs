//! Recurrent layers through the CPU kernels.

use super::Recurrent;
use crate::grad::{Cotangent, Inputs, Tape};
use crate::kernel::recurrent::{Cotangents, Recurrence};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor, Var, bail};
use std::sync::OnceLock;

pub(super) fn forward(layer: &Recurrent, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
    let op = RecurrentOp { layer: layer.clone(), tape: tape.clone(), kept: OnceLock::new() };
    let (xs, dtype) = (xs.contiguous()?, layer.w_ih.dtype());
    if !tape.is_recording() {
        return xs.apply_op2_no_bwd(&Tensor::zeros(0, dtype, &Device::Cpu)?, &op);
    }
    // Autograd must come by even if nothing before this layer is trained. An empty variable calls it, whichever of the
    // parameters are variables themselves.
    let trained = layer.parameters().any(Tensor::is_variable);
    let call =
        if trained { Var::zeros(0, dtype, &Device::Cpu)?.into_inner() } else { Tensor::zeros(0, dtype, &Device::Cpu)? };
    xs.apply_op2(&call, op)
}

/// The layer as an operation over (inputs, an empty tensor); the parameters ride along, because autograd is to know nothing
/// of them.
struct RecurrentOp {
    layer: Recurrent,
    tape: Tape,
    /// What the forward pass kept for the backward pass, block by block.
    kept: OnceLock<Vec<CpuStorage>>,
}

impl RecurrentOp {
    fn with_kernel<T: Real, R>(&self, time: usize, f: impl FnOnce(Recurrence<'_, T>) -> Result<R>) -> Result<R> {
        let Recurrent { cell, w_ih, w_hh, b_ih, b_hh } = &self.layer;
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
}

fn hidden_states<T: Real>(op: &RecurrentOp, xs: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let (batch, time, _) = layout.shape().dims3()?;
    let keep = op.tape.is_recording();
    let forward = op.with_kernel::<T, _>(time, |kernel| Ok(kernel.forward(slice(xs, layout)?, batch, keep)))?;
    if keep {
        op.kept.get_or_init(|| forward.kept.into_iter().map(T::to_cpu_storage_owned).collect());
    }
    Ok(T::to_cpu_storage_owned(forward.hidden))
}

/// The cotangents of the pre-activations from inputs and from previous hidden states, and that of the inputs if it is needed.
fn cotangents<T: Real>(op: &RecurrentOp, xs: &Tensor, ys: &Tensor) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let (batch, time, _) = xs.dims3()?;
    let Some(kept) = op.kept.get() else { bail!("{}: a backward pass before the forward pass", op.layer.cell.name()) };
    let kept = kept.iter().map(|block| block.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
    let (Cotangents { inputs, hidden }, d_xs) = op.with_kernel::<T, _>(time, |kernel| {
        let cotangents = read(ys, |ys| Ok(kernel.backward(&kept, ys)))?;
        let d_xs = xs.track_op().then(|| kernel.input_cotangents(&cotangents.inputs));
        Ok((cotangents, d_xs))
    })?;
    let shape = (batch, time, op.layer.w_ih.dim(0)?);
    let inputs = Tensor::from_vec(inputs, shape, xs.device())?;
    let hidden = match hidden {
        Some(hidden) => Tensor::from_vec(hidden, shape, xs.device())?,
        None => inputs.clone(),
    };
    Ok((inputs, hidden, d_xs.map(|d_xs| Tensor::from_vec(d_xs, xs.shape(), xs.device())).transpose()?))
}

impl CustomOp2 for RecurrentOp {
    fn name(&self) -> &'static str {
        "dpsgd-recurrent"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, xl: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, time, _) = xl.shape().dims3()?;
        let shape = Shape::from((batch, time, self.layer.w_hh.dim(1)?));
        Ok((dispatch!(self.layer.w_ih.dtype(), hidden_states(self, xs, xl))?, shape))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        _: &Tensor,
        ys: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_inputs, of_hidden, of_xs) =
            dispatch!(self.layer.w_ih.dtype(), cotangents(self, xs, &cotangent.contiguous()?))?;
        let time = xs.dim(1)?;
        // The hidden state before the first step is zero.
        let before = ys.detach().narrow(1, 0, time - 1)?.pad_with_zeros(1, 1, 0)?;
        let inputs = [Inputs::Rows(xs.detach()), Inputs::Rows(before)];
        self.layer.record(time, inputs, [of_inputs, of_hidden].map(Cotangent::Given), &self.tape)?;
        Ok((of_xs, None))
    }
}
