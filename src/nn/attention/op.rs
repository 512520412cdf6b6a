//! Attention of projected queries, keys and values through the CPU kernels.

use crate::grad::Tape;
use crate::kernel::attention::{Attention, Operands};
use crate::kernel::{Real, dispatch, read, slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

pub(super) fn attend(
    attention: Attention,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    padding: Option<&Tensor>,
    tape: &Tape,
) -> Result<Tensor> {
    let padding = padding.map(|padding| padding.flatten_all()?.to_vec1()).transpose()?;
    let op = AttentionOp { attention, padding };
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    if tape.is_recording() { q.apply_op3(&k, &v, op) } else { q.apply_op3_no_bwd(&k, &v, &op) }
}

struct AttentionOp {
    attention: Attention,
    /// `(batch, keys)`.
    padding: Option<Vec<u8>>,
}

fn outputs<T: Real>(op: &AttentionOp, operands: [(&CpuStorage, &Layout); 3]) -> Result<CpuStorage> {
    let [q, k, v] = operands.map(|(storage, layout)| slice::<T>(storage, layout));
    let operands = Operands { q: q?, k: k?, v: v?, padding: op.padding.as_deref() };
    Ok(T::to_cpu_storage_owned(op.attention.forward(operands)))
}

fn cotangents<T: Real>(op: &AttentionOp, operands: [&Tensor; 3], cotangent: &Tensor) -> Result<[Tensor; 3]> {
    let padding = op.padding.as_deref();
    let [dq, dk, dv] = read(operands[0], |q: &[T]| {
        read(operands[1], |k| {
            read(operands[2], |v| read(cotangent, |g| Ok(op.attention.backward(Operands { q, k, v, padding }, g))))
        })
    })?;
    let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
    Ok([tensor(dq, operands[0])?, tensor(dk, operands[1])?, tensor(dv, operands[2])?])
}

impl CustomOp3 for AttentionOp {
    fn name(&self) -> &'static str {
        "dpsgd-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((dispatch!(q.dtype(), outputs(self, [(q, ql), (k, kl), (v, vl)]))?, ql.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _ys: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dq, dk, dv] = dispatch!(q.dtype(), cotangents(self, [q, k, v], &cotangent.contiguous()?))?;
        Ok((q.track_op().then_some(dq), k.track_op().then_some(dk), v.track_op().then_some(dv)))
    }
}
