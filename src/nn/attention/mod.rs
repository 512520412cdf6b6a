//! Multi-head attention (Vaswani et al. 2017, section 3.2).

mod checkpoint;
mod op;
mod portable;

pub use checkpoint::split_in_proj;

use super::pull::{Pull, on_graph};
use super::{Layer, Linear};
use crate::grad::Tape;
use crate::kernel::attention::Attention;
use candle_core::{DType, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// How an attention works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionConfig {
    /// How many heads; the embedding is divided among them.
    pub heads: usize,
    /// Whether a query looks at no key of a later position: query i sees the keys 0 to i.
    pub causal: bool,
    /// Whether the four projections have biases.
    pub bias: bool,
}

impl Default for AttentionConfig {
    /// One head that looks everywhere, with biases.
    fn default() -> Self {
        Self { heads: 1, causal: false, bias: true }
    }
}

/// Multi-head attention with four projections `(embed, embed)` of queries, keys, values and outputs.
///
/// `forward` is self-attention, `(batch, length, embed)` to the same shape; [`attend`](Self::attend) takes queries, keys,
/// values and a padding mask. A query that sees no key, because all are padding, gives zeros (before the output projection)
/// and passes no gradient on, where PyTorch gives NaN.
///
/// Probabilities are computed again for the backward pass, so that memory grows with the length and not with its square.
#[derive(Debug, Clone)]
pub struct MultiHeadAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
    causal: bool,
}

/// An attention over `embed` numbers at each position, with linear layers `q_proj`, `k_proj`, `v_proj` and `out_proj` under
/// `vb`, which start as PyTorch's do. [`split_in_proj`] gives a checkpoint of PyTorch these names.
///
/// # Errors
/// When the heads do not divide `embed`, or `vb` has the names in other shapes.
pub fn multi_head_attention(embed: usize, config: AttentionConfig, vb: VarBuilder<'_>) -> Result<MultiHeadAttention> {
    check_heads(embed, config.heads)?;
    // PyTorch draws the three inner projections as one weight (3 embed, embed) of Glorot and Bengio (2010).
    let (inner, outer) = ((6.0 / (4.0 * embed as f64)).sqrt(), 1.0 / (embed as f64).sqrt());
    let projection = |name: &str, bound: f64| {
        let vb = vb.pp(name);
        let weight = vb.get_with_hints((embed, embed), "weight", Init::Uniform { lo: -bound, up: bound })?;
        let bias = config.bias.then(|| vb.get_with_hints(embed, "bias", Init::Const(0.0))).transpose()?;
        Linear::new(weight, bias)
    };
    let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|name| projection(name, inner));
    MultiHeadAttention::new([q?, k?, v?], projection("out_proj", outer)?, config.heads, config.causal)
}

fn check_heads(embed: usize, heads: usize) -> Result<()> {
    if embed == 0 || heads == 0 || !embed.is_multiple_of(heads) {
        bail!(
            "attention: {heads} heads for an embedding of {embed}, and it takes at least one head, each of an equal part"
        );
    }
    Ok(())
}

impl MultiHeadAttention {
    /// From the projections of queries, keys and values, and that of the outputs, each with a weight `(embed, embed)`.
    ///
    /// # Errors
    /// When the shapes do not fit, or the heads do not divide `embed`.
    pub fn new([q, k, v]: [Linear; 3], out: Linear, heads: usize, causal: bool) -> Result<Self> {
        let embed = q.weight().dim(0)?;
        check_heads(embed, heads)?;
        for (name, projection) in [("q_proj", &q), ("k_proj", &k), ("v_proj", &v), ("out_proj", &out)] {
            if projection.weight().dims() != [embed, embed] {
                let shape = projection.weight().dims();
                bail!("attention: {name} has a weight of shape {shape:?}, and it takes ({embed}, {embed})");
            }
        }
        Ok(Self { q_proj: q, k_proj: k, v_proj: v, out_proj: out, heads, causal })
    }

    /// How many heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Queries `(batch, queries, embed)` look at keys and values `(batch, keys, embed)`, and the outputs are
    /// `(batch, queries, embed)`. `padding` `(batch, keys)` of type u8 is 1 where a key is not looked at and 0 elsewhere, as
    /// PyTorch's `key_padding_mask`.
    ///
    /// # Errors
    /// When the shapes do not fit, there is no key, or the padding is not of type u8.
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        padding: Option<&Tensor>,
        tape: &Tape,
    ) -> Result<Tensor> {
        let attention = self.check(query, key, value, padding)?;
        let q = self.q_proj.forward(query, tape)?;
        let (k, v) = (self.k_proj.forward(key, tape)?, self.v_proj.forward(value, tape)?);
        let ys = if tape.uses_kernels(query.device()) {
            op::attend(attention, &q, &k, &v, padding, tape)?
        } else {
            portable::attend(attention, &q, &k, &v, padding)?
        };
        self.out_proj.forward(&ys, tape)
    }

    /// The sizes of an attention of these shapes.
    fn check(&self, query: &Tensor, key: &Tensor, value: &Tensor, padding: Option<&Tensor>) -> Result<Attention> {
        let embed = self.q_proj.weight().dim(0)?;
        let fits = |xs: &Tensor| matches!(xs.dims(), [batch, _, last] if *last == embed && *batch == query.dims()[0]);
        let alike = key.dims() == value.dims();
        if !(fits(query) && fits(key) && alike) || key.dim(1)? == 0 {
            bail!(
                "attention: queries, keys and values of shapes {:?}, {:?} and {:?}, and the layer takes (batch, queries, {embed}) and twice (batch, keys, {embed}), with at least one key",
                query.dims(),
                key.dims(),
                value.dims()
            );
        }
        let (batch, keys) = (key.dim(0)?, key.dim(1)?);
        if let Some(padding) = padding
            && (padding.dims() != [batch, keys] || padding.dtype() != DType::U8)
        {
            let (dtype, shape) = (padding.dtype(), padding.dims());
            bail!("attention: padding of {dtype:?} and shape {shape:?}, and the layer takes u8 and ({batch}, {keys})");
        }
        let (heads, causal) = (self.heads, self.causal);
        Ok(Attention { heads, dim: embed / heads, queries: query.dim(1)?, keys, causal })
    }
}

impl Layer for MultiHeadAttention {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        if tape.uses_kernels(xs.device()) { on_graph(self, xs, tape) } else { self.attend(xs, xs, xs, None, tape) }
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
