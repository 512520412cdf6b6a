//! Networks over tokens: to classify a text, or to foretell each of its tokens from those before.

use crate::data::Target;
use crate::grad::Tape;
use crate::nn::{
    Activation, AttentionConfig, Embedding, EmbeddingBagConfig, EmbeddingConfig, Layer, LayerNorm, LayerNormConfig,
    MultiHeadAttention, Positions, RecurrentConfig, Sequential, embedding_bag, embedding_with, layer_norm, linear,
    lstm, multi_head_attention, positions,
};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

/// The numbers that stand for a token.
const EMBED: usize = 64;

/// The units of the LSTM.
const HIDDEN: usize = 128;

/// The blocks of the transformer.
const BLOCKS: usize = 2;

/// What a network over tokens is built for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    /// How many a record has.
    length: usize,
    /// How many ids there are; the last one is the filler.
    vocabulary: usize,
    /// What is to be said.
    target: Target,
}

impl Tokens {
    /// Checks that there is a token beside the filler.
    pub(super) fn new(length: usize, vocabulary: usize, target: Target) -> Result<Self> {
        if vocabulary < 2 || length == 0 {
            let reason =
                format!("texts of {length} tokens out of {vocabulary}, and it takes one token beside the filler");
            return Err(Error::Model { reason });
        }
        Ok(Self { length, vocabulary, target })
    }

    /// How many logits: the classes, or the tokens that can come next, of which the filler is none.
    fn outputs(self) -> usize {
        match self.target {
            Target::Class(classes) => classes,
            Target::NextToken => self.vocabulary - 1,
        }
    }

    /// The filler, where it counts for nothing; to a language model it is the beginning of a record.
    fn padding(self) -> Option<u32> {
        matches!(self.target, Target::Class(_)).then_some((self.vocabulary - 1) as u32)
    }

    fn embedding(self, vb: VarBuilder<'_>) -> candle_core::Result<Embedding> {
        embedding_with(self.vocabulary, EMBED, EmbeddingConfig { padding_index: self.padding() }, vb)
    }

    /// Logits from one row of `width` numbers a token: for each of them, or for their mean.
    fn classified(
        self,
        network: impl Layer + 'static,
        width: usize,
        vb: VarBuilder<'_>,
    ) -> candle_core::Result<Sequential> {
        let network = match self.padding() {
            Some(padding) => Sequential::new().add(Averaged { network, padding }),
            None => Sequential::new().add(network),
        };
        Ok(network.add(linear(width, self.outputs(), vb.pp("output"))?))
    }
}

/// The mean embedding of a text's tokens, and one linear layer.
pub(super) fn bag(tokens: Tokens, vb: VarBuilder<'_>) -> Result<Sequential> {
    let Some(padding) = tokens.padding() else {
        let reason = "bag has no order of tokens and so no next one; choose --model lstm or transformer".into();
        return Err(Error::Model { reason });
    };
    let config = EmbeddingBagConfig { padding_index: Some(padding), ..Default::default() };
    let bag = embedding_bag(tokens.vocabulary, EMBED, config, vb.pp("embedding"))?;
    Ok(Sequential::new().add(bag).add(linear(EMBED, tokens.outputs(), vb.pp("output"))?))
}

/// An LSTM over the tokens. A text is classified by the mean of its hidden states.
pub(super) fn recurrent(tokens: Tokens, vb: VarBuilder<'_>) -> Result<Sequential> {
    let network = Sequential::new().add(tokens.embedding(vb.pp("embedding"))?).add(lstm(
        EMBED,
        HIDDEN,
        RecurrentConfig::default(),
        vb.pp("lstm"),
    )?);
    Ok(tokens.classified(network, HIDDEN, vb)?)
}

/// Blocks of attention over the tokens (Vaswani et al. 2017), normalised before each part, and after the last. A text is
/// classified by the mean of its outputs, and the tokens after a token are hidden from it only where they are to be foretold.
pub(super) fn transformer(tokens: Tokens, vb: VarBuilder<'_>) -> Result<Sequential> {
    let norm = |vb: VarBuilder<'_>| layer_norm(EMBED, LayerNormConfig::default(), vb);
    let block = |vb: VarBuilder<'_>| -> candle_core::Result<Block> {
        let causal = tokens.target == Target::NextToken;
        let config = AttentionConfig { heads: 4, causal, bias: true };
        Ok(Block {
            before_attention: norm(vb.pp("attention_norm"))?,
            attention: multi_head_attention(EMBED, config, vb.pp("attention"))?,
            mixing: Sequential::new()
                .add(norm(vb.pp("mixing_norm"))?)
                .add(linear(EMBED, 4 * EMBED, vb.pp("mixing_in"))?)
                .add(Activation::Gelu)
                .add(linear(4 * EMBED, EMBED, vb.pp("mixing_out"))?),
        })
    };
    let network = Transformer {
        embedding: tokens.embedding(vb.pp("embedding"))?,
        positions: positions(tokens.length, EMBED, vb.pp("positions"))?,
        blocks: (0..BLOCKS).map(|n| block(vb.pp(format!("block{n}")))).collect::<candle_core::Result<_>>()?,
        norm: norm(vb.pp("norm"))?,
        padding: tokens.padding(),
    };
    Ok(tokens.classified(network, EMBED, vb)?)
}

struct Transformer {
    embedding: Embedding,
    positions: Positions,
    blocks: Vec<Block>,
    norm: LayerNorm,
    padding: Option<u32>,
}

struct Block {
    before_attention: LayerNorm,
    attention: MultiHeadAttention,
    mixing: Sequential,
}

impl Layer for Transformer {
    fn forward(&self, ids: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
        let padding = self.padding.map(|padding| ids.eq(padding)).transpose()?;
        let mut xs = self.positions.forward(&self.embedding.forward(ids, tape)?, tape)?;
        for block in &self.blocks {
            let normed = block.before_attention.forward(&xs, tape)?;
            xs = (xs + block.attention.attend(&normed, &normed, &normed, padding.as_ref(), tape)?)?;
            xs = (&xs + block.mixing.forward(&xs, tape)?)?;
        }
        self.norm.forward(&xs, tape)
    }
}

/// The mean of a network's outputs `(batch, length, ..)` over the tokens of each text, without its filler; zeros for a text
/// without tokens.
struct Averaged<L> {
    network: L,
    padding: u32,
}

impl<L: Layer> Layer for Averaged<L> {
    fn forward(&self, ids: &Tensor, tape: &Tape) -> candle_core::Result<Tensor> {
        let outputs = self.network.forward(ids, tape)?;
        let kept = ids.ne(self.padding)?.to_dtype(DType::F64)?;
        let counts = kept.sum_keepdim(1)?.maximum(1.0)?;
        let shares = kept.broadcast_div(&counts)?.to_dtype(outputs.dtype())?;
        outputs.broadcast_mul(&shares.unsqueeze(2)?)?.sum(1)
    }
}
