//! Layers with per-example gradients, under the names, configurations and parameter paths of candle-nn.
//!
//! A layer's `forward` takes the [`Tape`]: during training it leaves there what its per-example rule needs, and with
//! [`Tape::off`] it only computes. Operations without parameters (`reshape`, softmax, ..) may be candle's own.

mod activation;
mod attention;
mod conv;
mod cross_entropy;
mod embedding;
mod embedding_bag;
mod frozen;
mod linear;
mod lora;
mod mean;
mod norm;
mod parameters;
mod pool;
mod positions;
mod residual;
mod rnn;

pub use activation::Activation;
pub use attention::{AttentionConfig, MultiHeadAttention, multi_head_attention, split_in_proj};
pub use conv::{
    Conv, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvConfig, Padding, conv1d, conv1d_no_bias, conv2d,
    conv2d_no_bias,
};
pub use cross_entropy::cross_entropy;
pub use embedding::{Embedding, EmbeddingConfig, embedding, embedding_with};
pub use embedding_bag::{BagMode, EmbeddingBag, EmbeddingBagConfig, embedding_bag};
pub use linear::{Linear, linear, linear_no_bias};
pub use lora::{LoraLinear, lora_linear};
pub use mean::Mean;
pub use norm::{
    GroupNorm, InstanceNorm, InstanceNormConfig, LayerNorm, LayerNormConfig, RmsNorm, group_norm, instance_norm,
    layer_norm, layer_norm_no_bias, rms_norm,
};
pub use parameters::Parameters;
pub use pool::{AvgPool2d, MaxPool2d};
pub use positions::{Positions, positions};
pub use residual::Residual;
pub use rnn::{Gru, Last, Lstm, Nonlinearity, RecurrentConfig, Rnn, gru, lstm, rnn};

use crate::grad::Tape;
use candle_core::{Result, Tensor};

/// Something that maps tensors to tensors, example by example, and records what it must.
pub trait Layer: Send + Sync {
    /// The output for `xs`, whose first dimension is the batch.
    ///
    /// # Errors
    /// When the shape does not fit.
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor>;
}

/// The operand that ties a layer's operation to autograd's graph: the first parameter, unless it is frozen and the second is
/// trained.
fn trained_or_first<'a>(first: &'a Tensor, second: Option<&'a Tensor>) -> &'a Tensor {
    match second {
        Some(second) if second.is_variable() && !first.is_variable() => second,
        _ => first,
    }
}

/// `(batch, ..)` to `(batch, product of the rest)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flatten;

impl Layer for Flatten {
    fn forward(&self, xs: &Tensor, _tape: &Tape) -> Result<Tensor> {
        xs.flatten_from(1)
    }
}

/// Layers one after another.
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Layer>>,
}

impl Sequential {
    /// No layer: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same layers and then `layer`.
    #[allow(clippy::should_implement_trait, reason = "candle-nn's name for it")]
    pub fn add(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }
}

impl Layer for Sequential {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        self.layers.iter().try_fold(xs.clone(), |xs, layer| layer.forward(&xs, tape))
    }
}
