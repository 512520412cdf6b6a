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
mod pull;
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
pub(crate) use frozen::under;
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
pub use pull::{Pull, Pullback, Pulled};
pub use residual::Residual;
pub use rnn::{Gru, Last, Lstm, Nonlinearity, RecurrentConfig, Rnn, gru, lstm, rnn};

use crate::grad::Tape;
use candle_core::{Result, Tensor, bail};
use pull::{Chain, on_graph};

/// Something that maps tensors to tensors, example by example, and records what it must.
pub trait Layer: Send + Sync {
    /// The output for `xs`, whose first dimension is the batch.
    ///
    /// # Errors
    /// When the shape does not fit.
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor>;

    /// The layer as one that needs no graph on the CPU, if it is. Layers of this crate are; a layer made of tensor operations
    /// is not, and works all the same.
    fn as_pull(&self) -> Option<&dyn Pull> {
        None
    }
}

/// `(batch, ..)` to `(batch, product of the rest)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flatten;

impl Layer for Flatten {
    fn forward(&self, xs: &Tensor, _tape: &Tape) -> Result<Tensor> {
        xs.flatten_from(1)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        Some(self)
    }
}

impl Pull for Flatten {
    fn pull(&self, xs: &Tensor, wanted: bool, _tape: &Tape) -> Result<Pulled> {
        let shape = xs.shape().clone();
        Ok(Pulled::new(xs.flatten_from(1)?, xs, wanted, move |g| Ok(Some(g.reshape(shape)?))))
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
        let (mut rest, mut ys) = (self.layers.as_slice(), xs.clone());
        while let Some((first, others)) = rest.split_first() {
            // Layers that need no graph go together, as many as follow one another.
            let pulls = rest.iter().map_while(|layer| layer.as_pull());
            let run: Vec<_> = if tape.uses_kernels(ys.device()) { pulls.collect() } else { Vec::new() };
            (ys, rest) = match run.len() {
                0 => (first.forward(&ys, tape)?, others),
                count => (on_graph(&Chain(run), &ys, tape)?, &rest[count..]),
            };
        }
        Ok(ys)
    }

    fn as_pull(&self) -> Option<&dyn Pull> {
        self.layers.iter().all(|layer| layer.as_pull().is_some()).then_some(self)
    }
}

impl Pull for Sequential {
    fn pull(&self, xs: &Tensor, wanted: bool, tape: &Tape) -> Result<Pulled> {
        let layers: Option<_> = self.layers.iter().map(|layer| layer.as_pull()).collect();
        let Some(layers) = layers else { bail!("sequential: a layer made of tensor operations needs a graph") };
        Chain(layers).pull(xs, wanted, tape)
    }
}
