//! Attention of projected queries, keys and values through the CPU kernels.

use super::MultiHeadAttention;
use crate::grad::Tape;
use crate::kernel::attention::{Attention, Operands};
use crate::kernel::{Real, dispatch, read, slice};
use crate::nn::pull::{Pull, Pulled, back, total};
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

fn outputs<T: Real>(op: &AttentionOp, q: &[T], k: &[T], v: &[T]) -> Vec<T> {
    op.attention.forward(Operands { q, k, v, padding: op.padding.as_deref() })
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

/// Self-attention: queries, keys and values are projections of the same inputs.
impl Pull for MultiHeadAttention {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        fn attended<T: Real>(op: &AttentionOp, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
            let ys = read(q, |q: &[T]| read(k, |k| read(v, |v| Ok(outputs(op, q, k, v)))))?;
            Tensor::from_vec(ys, q.shape(), q.device())
        }
        let op = AttentionOp { attention: self.check(xs, xs, xs, None)?, padding: None };
        let (q, k) = (self.q_proj.pull(xs, wanted, tape)?, self.k_proj.pull(xs, wanted, tape)?);
        let v = self.v_proj.pull(xs, wanted, tape)?;
        let (dtype, operands) = (xs.dtype(), [&q.ys, &k.ys, &v.ys]);
        let trained = [&q, &k, &v].iter().any(|projection| projection.pullback.is_some());
        let Pulled { ys, pullback } = self.out_proj.pull(&dispatch!(dtype, attended(&op, operands))?, trained, tape)?;
        let Some(out) = pullback else { return Ok(Pulled { ys, pullback: None }) };
        Ok(Pulled::new(ys, xs, true, move |cotangent| {
            let Some(cotangent) = out.apply(cotangent)? else { return Ok(None) };
            let [dq, dk, dv] = dispatch!(dtype, cotangents(&op, [&q.ys, &k.ys, &v.ys], &cotangent))?;
            total([back(q.pullback, dq)?, back(k.pullback, dk)?, back(v.pullback, dv)?])
        }))
    }
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
        type Operand<'a> = (&'a CpuStorage, &'a Layout);
        fn run<T: Real>(op: &AttentionOp, q: Operand<'_>, k: Operand<'_>, v: Operand<'_>) -> Result<CpuStorage> {
            let (q, k, v) = (slice::<T>(q.0, q.1)?, slice(k.0, k.1)?, slice(v.0, v.1)?);
            Ok(T::to_cpu_storage_owned(outputs(op, q, k, v)))
        }
        Ok((dispatch!(q.dtype(), run(self, (q, ql), (k, kl), (v, vl)))?, ql.shape().clone()))
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
