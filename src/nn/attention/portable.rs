//! Attention of projected queries, keys and values in plain tensor operations.

use crate::kernel::attention::Attention;
use candle_core::{D, Result, Tensor};

pub(super) fn attend(
    attention: Attention,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    padding: Option<&Tensor>,
) -> Result<Tensor> {
    let Attention { heads, dim, queries, keys, causal } = attention;
    let (batch, device) = (q.dim(0)?, q.device());
    // (batch, heads, length, dim)
    let split =
        |xs: &Tensor, length| xs.contiguous()?.reshape((batch, length, heads, dim))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q, queries)?, split(k, keys)?, split(v, keys)?);
    let logits = (q.matmul(&k.t()?)? / (dim as f64).sqrt())?;

    // 1 where a query looks at a key.
    let mut looks = Tensor::ones((batch, 1, queries, keys), logits.dtype(), device)?;
    if causal {
        let lower = (0..queries).flat_map(|row| (0..keys).map(move |key| u8::from(key <= row))).collect();
        let lower = Tensor::from_vec::<_, u8>(lower, (queries, keys), device)?.to_dtype(logits.dtype())?;
        looks = looks.broadcast_mul(&lower)?;
    }
    if let Some(padding) = padding {
        looks = looks.broadcast_mul(&padding.eq(0u8)?.to_dtype(logits.dtype())?.reshape((batch, 1, 1, keys))?)?;
    }
    let looks = looks.broadcast_as(logits.shape())?.contiguous()?;
    let looked_at = looks.ne(0.0)?;

    // A softmax over the keys that are looked at, and zeros in a row without any. What is subtracted does not change the
    // result, so no gradient goes through it.
    let least = Tensor::full(-1e30, logits.shape(), device)?.to_dtype(logits.dtype())?;
    let max = looked_at.where_cond(&logits.detach(), &least)?.max_keepdim(D::Minus1)?;
    let max = max.broadcast_as(logits.shape())?.contiguous()?;
    let powers = ((looked_at.where_cond(&logits, &max)? - &max)?.exp()? * &looks)?;
    let sums = powers.sum_keepdim(D::Minus1)?;
    let nothing = looks.max_keepdim(D::Minus1)?.affine(-1.0, 1.0)?;
    let probabilities = powers.broadcast_div(&(sums + nothing)?)?;
    probabilities.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((batch, queries, heads * dim))
}
